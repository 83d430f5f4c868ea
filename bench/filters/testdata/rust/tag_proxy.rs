//! Reads a header, sets one, and adds one to the answer; for Proxy-Wasm.

mod env {
    #[link(wasm_import_module = "env")]
    extern "C" {
        pub fn proxy_get_header_map_value(map: u32, k: *const u8, kn: usize, p: *mut *mut u8, n: *mut usize) -> u32;
        pub fn proxy_add_header_map_value(map: u32, k: *const u8, kn: usize, v: *const u8, vn: usize) -> u32;
        pub fn proxy_replace_header_map_value(map: u32, k: *const u8, kn: usize, v: *const u8, vn: usize) -> u32;
    }
}

#[no_mangle]
pub extern "C" fn proxy_abi_version_0_2_1() {}

#[no_mangle]
pub extern "C" fn proxy_on_memory_allocate(n: usize) -> *mut u8 {
    std::mem::ManuallyDrop::new(Vec::<u8>::with_capacity(n)).as_mut_ptr()
}

#[no_mangle]
pub extern "C" fn proxy_on_context_create(_id: u32, _parent: u32) {}

#[no_mangle]
pub extern "C" fn proxy_on_request_headers(_id: u32, _n: u32, _last: u32) -> u32 {
    let (mut p, mut n) = (std::ptr::null_mut(), 0);
    let (one, tag) = ("x-one", "x-tag");
    if unsafe { env::proxy_get_header_map_value(0, one.as_ptr(), one.len(), &mut p, &mut n) } == 0 && n > 0 {
        let value = unsafe { Vec::from_raw_parts(p, n, n) };
        unsafe { env::proxy_replace_header_map_value(0, tag.as_ptr(), tag.len(), value.as_ptr(), value.len()) };
    }
    0
}

#[no_mangle]
pub extern "C" fn proxy_on_response_headers(_id: u32, _n: u32, _last: u32) -> u32 {
    let (k, v) = ("x-tag", "weir");
    unsafe { env::proxy_add_header_map_value(2, k.as_ptr(), k.len(), v.as_ptr(), v.len()) };
    0
}

#[no_mangle]
pub extern "C" fn proxy_on_done(_id: u32) -> u32 {
    1
}

#[no_mangle]
pub extern "C" fn proxy_on_log(_id: u32) {}

#[no_mangle]
pub extern "C" fn proxy_on_delete(_id: u32) {}
