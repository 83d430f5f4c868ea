//! A filter in Rust, which does what filter.c does, as strict about statuses as Rust's SDK: what is not expected panics.

use std::collections::HashMap;
use std::sync::Mutex;

mod env {
    #[link(wasm_import_module = "env")]
    extern "C" {
        pub fn proxy_log(level: u32, p: *const u8, n: usize) -> u32;
        pub fn proxy_get_buffer_bytes(buffer: u32, start: usize, max: usize, p: *mut *mut u8, n: *mut usize) -> u32;
        pub fn proxy_set_buffer_bytes(buffer: u32, start: usize, size: usize, p: *const u8, n: usize) -> u32;
        pub fn proxy_get_header_map_pairs(map: u32, p: *mut *mut u8, n: *mut usize) -> u32;
        pub fn proxy_get_header_map_value(map: u32, k: *const u8, kn: usize, p: *mut *mut u8, n: *mut usize) -> u32;
        pub fn proxy_add_header_map_value(map: u32, k: *const u8, kn: usize, v: *const u8, vn: usize) -> u32;
        pub fn proxy_replace_header_map_value(map: u32, k: *const u8, kn: usize, v: *const u8, vn: usize) -> u32;
        pub fn proxy_remove_header_map_value(map: u32, k: *const u8, kn: usize) -> u32;
        pub fn proxy_continue_stream(stream: u32) -> u32;
        pub fn proxy_send_local_response(
            status: u32, details: *const u8, dn: usize, body: *const u8, bn: usize, headers: *const u8, hn: usize, grpc: i32,
        ) -> u32;
        pub fn proxy_http_call(
            up: *const u8, un: usize, headers: *const u8, hn: usize, body: *const u8, bn: usize, trailers: *const u8, tn: usize, ms: u32,
            token: *mut u32,
        ) -> u32;
        pub fn proxy_define_metric(kind: u32, p: *const u8, n: usize, id: *mut u32) -> u32;
        pub fn proxy_increment_metric(id: u32, by: i64) -> u32;
        pub fn proxy_set_effective_context(id: u32) -> u32;
        pub fn proxy_get_property(path: *const u8, pn: usize, p: *mut *mut u8, n: *mut usize) -> u32;
    }
}

fn log(level: u32, text: &str) {
    assert_eq!(unsafe { env::proxy_log(level, text.as_ptr(), text.len()) }, 0);
}

/// need panics if a status is not one of those that are expected.
fn need(what: &str, status: u32, expected: &[u32]) -> bool {
    if !expected.contains(&status) {
        panic!("{}: unexpected status {}", what, status);
    }
    status == 0
}

/// taken is what the host has put into memory that it asked us for.
unsafe fn taken(p: *mut u8, n: usize) -> Vec<u8> {
    if p.is_null() {
        return Vec::new();
    }
    Vec::from_raw_parts(p, n, n)
}

fn buffer(kind: u32, max: usize) -> Vec<u8> {
    let (mut p, mut n) = (std::ptr::null_mut(), 0);
    unsafe {
        need("get_buffer_bytes", env::proxy_get_buffer_bytes(kind, 0, max, &mut p, &mut n), &[0, 1]);
        taken(p, n)
    }
}

fn header(map: u32, name: &str) -> Option<String> {
    let (mut p, mut n) = (std::ptr::null_mut(), 0);
    unsafe {
        let status = env::proxy_get_header_map_value(map, name.as_ptr(), name.len(), &mut p, &mut n);
        need("get_header_map_value", status, &[0, 1]).then(|| String::from_utf8(taken(p, n)).unwrap())
    }
}

fn property(path: &[&str]) -> Option<String> {
    let path = path.join("\0");
    let (mut p, mut n) = (std::ptr::null_mut(), 0);
    unsafe {
        let status = env::proxy_get_property(path.as_ptr(), path.len(), &mut p, &mut n);
        need("get_property", status, &[0, 1, 3, 10]).then(|| String::from_utf8(taken(p, n)).unwrap())
    }
}

fn serialize(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = (pairs.len() as u32).to_le_bytes().to_vec();
    for (k, v) in pairs {
        out.extend((k.len() as u32).to_le_bytes());
        out.extend((v.len() as u32).to_le_bytes());
    }
    for text in pairs.iter().flat_map(|(k, v)| [k, v]) {
        out.extend(text.as_bytes());
        out.push(0);
    }
    out
}

/// pairs reads a whole map, and panics if it is not exactly as the ABI has it.
fn pairs(map: u32) -> Vec<(String, String)> {
    let (mut p, mut n) = (std::ptr::null_mut(), 0);
    let all = unsafe {
        need("get_header_map_pairs", env::proxy_get_header_map_pairs(map, &mut p, &mut n), &[0]);
        taken(p, n)
    };
    if all.is_empty() {
        return Vec::new();
    }
    let number = |i: usize| u32::from_le_bytes(all[i..i + 4].try_into().unwrap()) as usize;
    let (count, mut at) = (number(0), 4 + 8 * number(0));
    let mut next = |size: usize| {
        let text = String::from_utf8(all[at..at + size].to_vec()).unwrap();
        assert_eq!(all[at + size], 0);
        at += size + 1;
        text
    };
    let out = (0..count).map(|i| (next(number(4 + 8 * i)), next(number(8 + 8 * i)))).collect();
    assert_eq!(at, all.len());
    out
}

#[derive(Default)]
struct Filter {
    root: u32,
    tag: String,
    metric: u32,
    streams: HashMap<u32, Stream>,
    calls: HashMap<u32, u32>,
}

#[derive(Default)]
struct Stream {
    replace: bool,
}

static FILTER: Mutex<Option<Filter>> = Mutex::new(None);

fn with<T>(f: impl FnOnce(&mut Filter) -> T) -> T {
    f(FILTER.lock().unwrap().get_or_insert_with(Filter::default))
}

fn refuse(why: &str) -> u32 {
    let map = serialize(&[("x-reason", "gate")]);
    let status = unsafe {
        env::proxy_send_local_response(403, "gate".as_ptr(), 4, why.as_ptr(), why.len(), map.as_ptr(), map.len(), -1)
    };
    need("send_local_response", status, &[0]);
    1
}

#[no_mangle]
pub extern "C" fn proxy_abi_version_0_2_1() {}

#[no_mangle]
pub extern "C" fn _initialize() {
    std::panic::set_hook(Box::new(|info| log(5, &format!("WRONG: {}", info))));
}

#[no_mangle]
pub extern "C" fn proxy_on_memory_allocate(n: usize) -> *mut u8 {
    let mut v = std::mem::ManuallyDrop::new(Vec::<u8>::with_capacity(n));
    v.as_mut_ptr()
}

#[no_mangle]
pub extern "C" fn proxy_on_context_create(id: u32, parent: u32) {
    with(|f| {
        if parent == 0 {
            f.root = id;
            return;
        }
        assert_eq!(parent, f.root, "a parent that is not known");
        assert!(f.streams.insert(id, Stream::default()).is_none(), "a context twice");
    })
}

#[no_mangle]
pub extern "C" fn proxy_on_configure(id: u32, size: usize) -> u32 {
    with(|f| {
        assert_eq!(id, f.root);
        f.tag = String::from_utf8(buffer(7, size)).unwrap();
        let name = "gate_rust_requests";
        need("define_metric", unsafe { env::proxy_define_metric(0, name.as_ptr(), name.len(), &mut f.metric) }, &[0]);
        log(2, &format!("configured with {}", f.tag));
        1
    })
}

#[no_mangle]
pub extern "C" fn proxy_on_request_headers(id: u32, count: usize, _last: u32) -> u32 {
    with(|f| {
        need("increment_metric", unsafe { env::proxy_increment_metric(f.metric, 1) }, &[0, 1, 2]);
        let all = pairs(0);
        assert_eq!(all.len(), count);
        assert!(all.iter().any(|(k, _)| k == ":path"));
        if header(0, "x-client").as_deref() == Some("bad") {
            return refuse("no");
        }
        let path = property(&["request", "path"]);
        assert_eq!(path, header(0, ":path"));
        unsafe {
            let (k, v) = ("x-tag", &f.tag);
            need("replace", env::proxy_replace_header_map_value(0, k.as_ptr(), k.len(), v.as_ptr(), v.len()), &[0]);
        }
        let stream = f.streams.get_mut(&id).expect("invalid context_id");
        if header(0, "x-replace").is_some() {
            stream.replace = true;
            let k = "content-length";
            need("remove", unsafe { env::proxy_remove_header_map_value(0, k.as_ptr(), k.len()) }, &[0]);
        }
        if header(0, "x-ask").is_none() {
            return 0;
        }
        let map = serialize(&[(":method", "GET"), (":path", "/check"), (":authority", "web.test")]);
        let trailers = serialize(&[]);
        let mut token = 0;
        let status = unsafe {
            env::proxy_http_call(
                "web".as_ptr(), 3, map.as_ptr(), map.len(), std::ptr::null(), 0, trailers.as_ptr(), trailers.len(), 5000, &mut token,
            )
        };
        assert!(need("http_call", status, &[0, 2, 10]), "not called");
        assert!(f.calls.insert(token, id).is_none(), "a token twice");
        1
    })
}

#[no_mangle]
pub extern "C" fn proxy_on_request_body(id: u32, size: usize, last: u32) -> u32 {
    with(|f| {
        if !f.streams.get(&id).expect("invalid context_id").replace {
            return 0;
        }
        if last == 0 {
            return 1;
        }
        let body = buffer(0, usize::MAX);
        assert_eq!(body.len(), size);
        let body = [b"[", &body[..], b"]"].concat();
        let status = unsafe { env::proxy_set_buffer_bytes(0, 0, usize::MAX, body.as_ptr(), body.len()) };
        need("set_buffer_bytes", status, &[0]);
        0
    })
}

#[no_mangle]
pub extern "C" fn proxy_on_http_call_response(_root: u32, token: u32, headers: usize, size: usize, _trailers: usize) {
    with(|f| {
        let id = f.calls.remove(&token).expect("invalid token_id");
        assert_eq!(pairs(6).len(), headers);
        let good = header(6, ":status").as_deref() == Some("200");
        let answer = buffer(4, size);
        if !need("set_effective_context", unsafe { env::proxy_set_effective_context(id) }, &[0, 2]) {
            return;
        }
        if !good {
            refuse("refused");
            return;
        }
        let k = "x-checked";
        need("add", unsafe { env::proxy_add_header_map_value(0, k.as_ptr(), k.len(), answer.as_ptr(), answer.len()) }, &[0]);
        need("continue_stream", unsafe { env::proxy_continue_stream(0) }, &[0]);
    })
}

#[no_mangle]
pub extern "C" fn proxy_on_response_headers(id: u32, count: usize, _last: u32) -> u32 {
    with(|f| {
        assert!(f.streams.contains_key(&id), "invalid context_id");
        assert_eq!(pairs(2).len(), count);
        let (k, v) = ("x-filter", "rust");
        need("add", unsafe { env::proxy_add_header_map_value(2, k.as_ptr(), k.len(), v.as_ptr(), v.len()) }, &[0]);
        0
    })
}

#[no_mangle]
pub extern "C" fn proxy_on_done(id: u32) -> u32 {
    with(|f| assert!(id == f.root || f.streams.contains_key(&id), "invalid context_id"));
    1
}

#[no_mangle]
pub extern "C" fn proxy_on_log(id: u32) {
    with(|f| assert!(f.streams.contains_key(&id), "invalid context_id"));
    log(2, &format!("answered {}", header(2, ":status").unwrap_or_default()));
}

#[no_mangle]
pub extern "C" fn proxy_on_delete(id: u32) {
    with(|f| assert!(id == f.root || f.streams.remove(&id).is_some(), "invalid context_id"));
}
