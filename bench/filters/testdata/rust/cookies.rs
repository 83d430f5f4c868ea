//! Takes cookies and parameters apart, leaves out those that track, puts the rest together in order and tells the upstream of
//! them; for Proxy-Wasm.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

mod env {
    #[link(wasm_import_module = "env")]
    extern "C" {
        pub fn proxy_get_header_map_value(map: u32, k: *const u8, kn: usize, p: *mut *mut u8, n: *mut usize) -> u32;
        pub fn proxy_replace_header_map_value(map: u32, k: *const u8, kn: usize, v: *const u8, vn: usize) -> u32;
    }
}

fn header(name: &str) -> Option<String> {
    let (mut p, mut n) = (std::ptr::null_mut(), 0);
    let status = unsafe { env::proxy_get_header_map_value(0, name.as_ptr(), name.len(), &mut p, &mut n) };
    if status != 0 || n == 0 {
        return None;
    }
    String::from_utf8(unsafe { Vec::from_raw_parts(p, n, n) }).ok()
}

fn set(name: &str, value: &str) {
    let status = unsafe { env::proxy_replace_header_map_value(0, name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
    assert_eq!(status, 0);
}

static SEEN: Mutex<Option<HashMap<u32, u32>>> = Mutex::new(None);

#[no_mangle]
pub extern "C" fn proxy_abi_version_0_2_1() {}

#[no_mangle]
pub extern "C" fn proxy_on_memory_allocate(n: usize) -> *mut u8 {
    std::mem::ManuallyDrop::new(Vec::<u8>::with_capacity(n)).as_mut_ptr()
}

#[no_mangle]
pub extern "C" fn proxy_on_context_create(id: u32, _parent: u32) {
    SEEN.lock().unwrap().get_or_insert_with(HashMap::new).insert(id, 0);
}

fn tracks(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("_ga") || name.starts_with("utm_") || name == "_fbp" || name == "gclid"
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let pair: String = bytes.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&pair, 16).unwrap_or(b'?'));
            }
            _ => out.push(b),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[no_mangle]
pub extern "C" fn proxy_on_request_headers(id: u32, _n: u32, _last: u32) -> u32 {
    let mut dropped = 0;
    if let Some(cookies) = header("cookie") {
        let all: Vec<(&str, &str)> = cookies.split(';').filter_map(|c| c.trim().split_once('=')).collect();
        let kept: Vec<String> = all.iter().filter(|(k, _)| !tracks(k)).map(|(k, v)| format!("{}={}", k, v)).collect();
        dropped += all.len() - kept.len();
        set("cookie", &kept.join("; "));
    }
    if let Some((_, query)) = header(":path").as_deref().and_then(|p| p.split_once('?')) {
        let parameters: BTreeMap<String, String> =
            query.split('&').filter_map(|p| p.split_once('=')).map(|(k, v)| (decode(k), decode(v))).collect();
        let kept: Vec<String> = parameters.iter().filter(|(k, _)| !tracks(k)).map(|(k, v)| format!("{}={:?}", k, v)).collect();
        dropped += parameters.len() - kept.len();
        set("x-parameters", &kept.join(","));
    }
    *SEEN.lock().unwrap().as_mut().unwrap().get_mut(&id).unwrap() += dropped as u32;
    set("x-dropped", &dropped.to_string());
    0
}

#[no_mangle]
pub extern "C" fn proxy_on_delete(id: u32) {
    SEEN.lock().unwrap().as_mut().unwrap().remove(&id);
}
