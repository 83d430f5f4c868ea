// A filter in AssemblyScript, which does what filter.c does.

// @ts-ignore: decorator
@external("env", "proxy_log")
declare function proxy_log(level: u32, p: usize, n: usize): u32;
// @ts-ignore: decorator
@external("env", "proxy_get_buffer_bytes")
declare function proxy_get_buffer_bytes(buffer: u32, start: u32, max: u32, p: usize, n: usize): u32;
// @ts-ignore: decorator
@external("env", "proxy_set_buffer_bytes")
declare function proxy_set_buffer_bytes(buffer: u32, start: u32, size: u32, p: usize, n: usize): u32;
// @ts-ignore: decorator
@external("env", "proxy_get_header_map_value")
declare function proxy_get_header_map_value(map: u32, k: usize, kn: usize, p: usize, n: usize): u32;
// @ts-ignore: decorator
@external("env", "proxy_add_header_map_value")
declare function proxy_add_header_map_value(map: u32, k: usize, kn: usize, v: usize, vn: usize): u32;
// @ts-ignore: decorator
@external("env", "proxy_replace_header_map_value")
declare function proxy_replace_header_map_value(map: u32, k: usize, kn: usize, v: usize, vn: usize): u32;
// @ts-ignore: decorator
@external("env", "proxy_remove_header_map_value")
declare function proxy_remove_header_map_value(map: u32, k: usize, kn: usize): u32;
// @ts-ignore: decorator
@external("env", "proxy_continue_stream")
declare function proxy_continue_stream(stream: u32): u32;
// @ts-ignore: decorator
@external("env", "proxy_clear_route_cache")
declare function proxy_clear_route_cache(): u32; // of 0.1.0, which modules of this language still import
// @ts-ignore: decorator
@external("env", "proxy_send_local_response")
declare function proxy_send_local_response(status: u32, d: usize, dn: usize, b: usize, bn: usize, h: usize, hn: usize, grpc: i32): u32;
// @ts-ignore: decorator
@external("env", "proxy_http_call")
declare function proxy_http_call(u: usize, un: usize, h: usize, hn: usize, b: usize, bn: usize, t: usize, tn: usize, ms: u32, token: usize): u32;
// @ts-ignore: decorator
@external("env", "proxy_define_metric")
declare function proxy_define_metric(kind: u32, p: usize, n: usize, id: usize): u32;
// @ts-ignore: decorator
@external("env", "proxy_increment_metric")
declare function proxy_increment_metric(id: u32, by: i64): u32;
// @ts-ignore: decorator
@external("env", "proxy_set_effective_context")
declare function proxy_set_effective_context(id: u32): u32;

const out = memory.data(16);
let tag: ArrayBuffer = new ArrayBuffer(0);
let metric: u32 = 0;
const replacing = new Set<u32>();
const waiting = new Map<u32, u32>();

function bytes(text: string): ArrayBuffer {
  return String.UTF8.encode(text);
}

function at(b: ArrayBuffer): usize {
  return changetype<usize>(b);
}

function log(level: u32, text: string): void {
  const b = bytes(text);
  proxy_log(level, at(b), b.byteLength);
}

function need(what: string, status: u32): void {
  if (status == 0) return;
  log(5, "WRONG: " + what + " gives " + status.toString());
  unreachable();
}

// taken is what the host has put where out says.
function taken(): ArrayBuffer {
  const p = load<u32>(out),
    n = load<u32>(out, 4);
  const b = new ArrayBuffer(n);
  memory.copy(at(b), p, n);
  return b;
}

function header(map: u32, name: string): string | null {
  const k = bytes(name);
  const status = proxy_get_header_map_value(map, at(k), k.byteLength, out, out + 4);
  if (status == 1) return null;
  need(name, status);
  return String.UTF8.decode(taken());
}

function set(map: u32, name: string, value: ArrayBuffer): void {
  const k = bytes(name);
  need(name, proxy_replace_header_map_value(map, at(k), k.byteLength, at(value), value.byteLength));
}

function serialize(pairs: string[][]): ArrayBuffer {
  let size = 4;
  for (let i = 0; i < pairs.length; i++) size += 8 + String.UTF8.byteLength(pairs[i][0]) + 1 + String.UTF8.byteLength(pairs[i][1]) + 1;
  const b = new ArrayBuffer(size);
  let p = at(b);
  store<u32>(p, pairs.length);
  p += 4;
  let text = p + 8 * pairs.length;
  for (let i = 0; i < pairs.length; i++) {
    for (let j = 0; j < 2; j++) {
      const part = bytes(pairs[i][j]);
      store<u32>(p, part.byteLength);
      p += 4;
      memory.copy(text, at(part), part.byteLength);
      text += part.byteLength + 1;
    }
  }
  return b;
}

function refuse(why: string): u32 {
  const details = bytes("gate"),
    body = bytes(why),
    map = serialize([["x-reason", "gate"]]);
  need("local response", proxy_send_local_response(403, at(details), details.byteLength, at(body), body.byteLength, at(map), map.byteLength, -1));
  return 1;
}

export function proxy_abi_version_0_2_1(): void {}

export function proxy_on_memory_allocate(n: usize): usize {
  return heap.alloc(n);
}

export function proxy_on_context_create(id: u32, parent: u32): void {}

export function proxy_on_configure(id: u32, size: u32): u32 {
  if (size > 0) {
    need("configuration", proxy_get_buffer_bytes(7, 0, size, out, out + 4));
    tag = taken();
  }
  const name = bytes("gate_as_requests");
  need("define metric", proxy_define_metric(0, at(name), name.byteLength, out));
  metric = load<u32>(out);
  log(2, "configured with " + String.UTF8.decode(tag));
  return 1;
}

export function proxy_on_request_headers(id: u32, count: u32, last: u32): u32 {
  need("count", proxy_increment_metric(metric, 1));
  if (header(0, "x-client") == "bad") return refuse("no");
  set(0, "x-tag", tag);
  need("clear route cache", proxy_clear_route_cache());
  if (header(0, "x-replace") !== null) {
    replacing.add(id);
    const k = bytes("content-length");
    need("remove", proxy_remove_header_map_value(0, at(k), k.byteLength));
  }
  if (header(0, "x-ask") === null) return 0;
  const up = bytes("web"),
    map = serialize([
      [":method", "GET"],
      [":path", "/check"],
      [":authority", "web.test"],
    ]);
  need("call", proxy_http_call(at(up), up.byteLength, at(map), map.byteLength, 0, 0, 0, 0, 5000, out));
  waiting.set(load<u32>(out), id);
  return 1;
}

export function proxy_on_request_body(id: u32, size: u32, last: u32): u32 {
  if (!replacing.has(id)) return 0;
  if (!last) return 1;
  need("body", proxy_get_buffer_bytes(0, 0, size, out, out + 4));
  const b = bytes("[" + String.UTF8.decode(taken()) + "]");
  need("replace", proxy_set_buffer_bytes(0, 0, size, at(b), b.byteLength));
  return 0;
}

export function proxy_on_http_call_response(root: u32, token: u32, headers: u32, size: u32, trailers: u32): void {
  if (!waiting.has(token)) return;
  const id = waiting.get(token);
  waiting.delete(token);
  const good = header(6, ":status") == "200";
  let answer = new ArrayBuffer(0);
  if (good) {
    need("answer", proxy_get_buffer_bytes(4, 0, size, out, out + 4));
    answer = taken();
  }
  if (proxy_set_effective_context(id) != 0) return;
  if (!good) {
    refuse("refused");
    return;
  }
  set(0, "x-checked", answer);
  need("continue", proxy_continue_stream(0));
}

export function proxy_on_response_headers(id: u32, count: u32, last: u32): u32 {
  const k = bytes("x-filter"),
    v = bytes("as");
  need("mark", proxy_add_header_map_value(2, at(k), k.byteLength, at(v), v.byteLength));
  return 0;
}

export function proxy_on_log(id: u32): void {
  const status = header(2, ":status");
  log(2, "answered " + (status === null ? "" : status));
}

export function proxy_on_delete(id: u32): void {
  replacing.delete(id);
}
