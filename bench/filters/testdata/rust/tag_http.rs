//! Reads a header, sets one, and adds one to the answer; for http-wasm.

mod host {
    #[link(wasm_import_module = "http_handler")]
    extern "C" {
        pub fn get_header_values(kind: u32, name: *const u8, n: usize, p: *mut u8, limit: usize) -> u64;
        pub fn set_header_value(kind: u32, name: *const u8, n: usize, v: *const u8, vn: usize);
        pub fn add_header_value(kind: u32, name: *const u8, n: usize, v: *const u8, vn: usize);
    }
}

fn get(name: &str) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(256);
    let found = unsafe { host::get_header_values(0, name.as_ptr(), name.len(), value.as_mut_ptr(), 256) };
    let n = found as u32 as usize;
    if found >> 32 == 0 || n > 256 {
        return None;
    }
    unsafe { value.set_len(n - 1) };
    Some(value)
}

#[no_mangle]
pub extern "C" fn handle_request() -> u64 {
    let (k, v) = ("x-tag", "weir");
    if let Some(own) = get("x-one") {
        unsafe { host::set_header_value(0, k.as_ptr(), k.len(), own.as_ptr(), own.len()) };
    }
    unsafe { host::add_header_value(1, k.as_ptr(), k.len(), v.as_ptr(), v.len()) };
    1
}

#[no_mangle]
pub extern "C" fn handle_response(_context: u32, _failed: u32) {}
