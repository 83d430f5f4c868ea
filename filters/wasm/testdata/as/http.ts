// A filter in AssemblyScript for the other ABI, http-wasm.

// @ts-ignore: decorator
@external("http_handler", "get_config")
declare function get_config(p: usize, limit: u32): u32;
// @ts-ignore: decorator
@external("http_handler", "log")
declare function host_log(level: i32, p: usize, n: usize): void;
// @ts-ignore: decorator
@external("http_handler", "get_header_values")
declare function get_header_values(kind: u32, name: usize, n: usize, p: usize, limit: u32): u64;
// @ts-ignore: decorator
@external("http_handler", "set_header_value")
declare function set_header_value(kind: u32, name: usize, n: usize, v: usize, vn: usize): void;
// @ts-ignore: decorator
@external("http_handler", "read_body")
declare function read_body(kind: u32, p: usize, limit: u32): u64;
// @ts-ignore: decorator
@external("http_handler", "write_body")
declare function write_body(kind: u32, p: usize, n: usize): void;
// @ts-ignore: decorator
@external("http_handler", "set_status_code")
declare function set_status_code(status: u32): void;

const size: u32 = 1 << 16;
const place = memory.data(1 << 16);
const names = new Map<string, ArrayBuffer>(); // nothing that a request makes is ever freed: so it makes nothing twice

function bytes(text: string): ArrayBuffer {
  if (!names.has(text)) names.set(text, String.UTF8.encode(text));
  return names.get(text);
}

function set(kind: u32, name: string, value: usize, n: usize): void {
  const k = bytes(name);
  set_header_value(kind, changetype<usize>(k), k.byteLength, value, n);
}

function has(name: string, value: string | null): bool {
  const k = bytes(name);
  const found = get_header_values(0, changetype<usize>(k), k.byteLength, place, size);
  if (found >> 32 == 0) return false;
  if (value === null) return true;
  const v = bytes(value);
  return <u32>found - 1 == <u32>v.byteLength && memory.compare(place, changetype<usize>(v), v.byteLength) == 0;
}

export function handle_request(): u64 {
  if (has("x-client", "bad")) {
    const word = bytes("refused"),
      reason = bytes("gate"),
      no = bytes("no");
    host_log(0, changetype<usize>(word), word.byteLength);
    set_status_code(403);
    set(1, "x-reason", changetype<usize>(reason), reason.byteLength);
    write_body(1, changetype<usize>(no), no.byteLength);
    return 0;
  }
  set(0, "x-tag", place, get_config(place, size));
  if (has("x-replace", null)) {
    let n: u32 = 1;
    store<u8>(place, 0x5b);
    for (let got: u64 = 0; got >> 32 == 0 && n < size - 1; n += <u32>got) got = read_body(0, place + n, size - 1 - n);
    store<u8>(place + n, 0x5d);
    write_body(0, place, n + 1);
  }
  return 1;
}

export function handle_response(context: u32, failed: u32): void {
  const v = bytes("as");
  set(1, "x-filter", changetype<usize>(v), v.byteLength);
}
