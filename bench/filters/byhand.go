package main

import "github.com/weirproxy/weir/core/wasm/asm"

// hand is a guest written in instructions.
type hand struct {
	asm.Module
	heap int32
}

const room = 4 << 10 // where the host writes to

func (h *hand) text(s string) []byte {
	at := 16 + h.heap
	h.Data(at, []byte(s))
	h.heap += int32(len(s)) + 8
	return asm.Cat(asm.Const32(at), asm.Const32(int32(len(s))))
}

func (h *hand) open() {
	h.Memory(1, 1)
	h.Export("memory", 2, 0)
}

func i32s(n int) []byte {
	t := make([]byte, n)
	for i := range t {
		t[i] = asm.I32
	}
	return t
}

var num = asm.Const32

// tagHTTP is the header-only filter for http-wasm.
func tagHTTP() []byte {
	h := &hand{}
	get := h.Import("http_handler", "get_header_values", i32s(5), asm.T(asm.I64))
	set := h.Import("http_handler", "set_header_value", i32s(5), nil)
	add := h.Import("http_handler", "add_header_value", i32s(5), nil)
	h.open()
	h.Export("handle_request", 0, h.Func(nil, asm.T(asm.I64), asm.T(asm.I32),
		num(0), h.text("x-one"), num(room), num(1024), asm.Call(get), asm.Op(0xa7), asm.Tee(0), asm.If(asm.None,
			num(0), h.text("x-tag"), num(room), asm.Get(0), num(1), asm.Sub32, asm.Call(set)),
		num(1), h.text("x-tag"), h.text("weir"), asm.Call(add), asm.Const64(1)))
	h.Export("handle_response", 0, h.Func(i32s(2), nil, nil))
	return h.Bytes()
}

// tagProxy is the header-only filter for Proxy-Wasm, with all callbacks that one has.
func tagProxy() []byte {
	const size = room - 4
	h := &hand{}
	get := h.Import("env", "proxy_get_header_map_value", i32s(5), i32s(1))
	set := h.Import("env", "proxy_replace_header_map_value", i32s(5), i32s(1))
	add := h.Import("env", "proxy_add_header_map_value", i32s(5), i32s(1))
	h.open()
	on := func(name string, params, results int, code ...[]byte) {
		h.Export(name, 0, h.Func(i32s(params), i32s(results), nil, code...))
	}
	on("proxy_abi_version_0_2_1", 0, 0)
	on("proxy_on_memory_allocate", 1, 1, num(room))
	on("proxy_on_context_create", 2, 0)
	on("proxy_on_request_headers", 3, 1,
		num(0), h.text("x-one"), num(size-4), num(size), asm.Call(get), asm.Eqz32, asm.If(asm.None,
			num(0), h.text("x-tag"), num(size-4), asm.Load(0x28, 2, 0), num(size), asm.Load(0x28, 2, 0), asm.Call(set), asm.Drop), num(0))
	on("proxy_on_response_headers", 3, 1, num(2), h.text("x-tag"), h.text("weir"), asm.Call(add), asm.Drop, num(0))
	on("proxy_on_done", 1, 1, num(1))
	on("proxy_on_log", 1, 0)
	on("proxy_on_delete", 1, 0)
	return h.Bytes()
}
