package wasm_test

import (
	"encoding/binary"
	"strings"

	"github.com/weirproxy/weir/core/wasm/asm"
)

// proxyImports are the functions of Proxy-Wasm that guests of these tests may call, by the types of their parameters: i is
// i32, I is i64. All give a status.
var proxyImports = map[string]string{
	"proxy_log": "iii", "proxy_get_log_level": "i", "proxy_get_current_time_nanoseconds": "i", "proxy_set_tick_period_milliseconds": "i",
	"proxy_get_buffer_status": "iii", "proxy_get_buffer_bytes": "iiiii", "proxy_set_buffer_bytes": "iiiii", "proxy_get_header_map_size": "ii",
	"proxy_get_header_map_pairs": "iii", "proxy_set_header_map_pairs": "iii", "proxy_get_header_map_value": "iiiii",
	"proxy_add_header_map_value": "iiiii", "proxy_replace_header_map_value": "iiiii", "proxy_remove_header_map_value": "iii",
	"proxy_continue_stream": "i", "proxy_close_stream": "i", "proxy_send_local_response": "iiiiiiii", "proxy_http_call": "iiiiiiiiii",
	"proxy_grpc_call": "iiiiiiiiiiii", "proxy_grpc_stream": "iiiiiiiii", "proxy_grpc_send": "iiii", "proxy_grpc_cancel": "i",
	"proxy_grpc_close": "i", "proxy_get_status": "iii", "proxy_set_shared_data": "iiiii", "proxy_get_shared_data": "iiiii",
	"proxy_register_shared_queue": "iii", "proxy_resolve_shared_queue": "iiiii", "proxy_enqueue_shared_queue": "iii",
	"proxy_dequeue_shared_queue": "iii", "proxy_define_metric": "iiii", "proxy_record_metric": "iI", "proxy_increment_metric": "iI",
	"proxy_get_metric": "ii", "proxy_get_property": "iiii", "proxy_set_property": "iiii", "proxy_call_foreign_function": "iiiiii",
	"proxy_set_effective_context": "i", "proxy_done": "",
}

// httpImports are those of http-wasm; what stands behind the colon is the result.
var httpImports = map[string]string{
	"enable_features": "i:i", "get_config": "ii:i", "log": "iii:", "log_enabled": "i:i", "get_method": "ii:i", "set_method": "ii:",
	"get_uri": "ii:i", "set_uri": "ii:", "get_protocol_version": "ii:i", "get_source_addr": "ii:i", "get_header_names": "iii:I",
	"get_header_values": "iiiii:I", "set_header_value": "iiiii:", "add_header_value": "iiiii:", "remove_header": "iii:",
	"read_body": "iii:I", "write_body": "iii:", "get_status_code": ":i", "set_status_code": "i:",
}

// callbacks of Proxy-Wasm: the number of parameters, and the result that lets things go on; −1 is none.
var callbacks = map[string][2]int{
	"proxy_on_context_create": {2, -1}, "proxy_on_vm_start": {2, 1}, "proxy_on_configure": {2, 1}, "proxy_on_tick": {1, -1},
	"proxy_on_queue_ready": {2, -1}, "proxy_on_request_headers": {3, 0}, "proxy_on_request_body": {3, 0}, "proxy_on_request_trailers": {2, 0},
	"proxy_on_response_headers": {3, 0}, "proxy_on_response_body": {3, 0}, "proxy_on_response_trailers": {2, 0},
	"proxy_on_http_call_response": {5, -1}, "proxy_on_done": {1, 1}, "proxy_on_log": {1, -1}, "proxy_on_delete": {1, -1},
}

// writing is a guest of either ABI being written by hand. Texts lie from textAt on; outAt is for results of host functions, and
// what the host gives lies from heapAt on.
type writing struct {
	m     asm.Module
	at    map[string]uint32
	types map[string]string
	data  []byte
	done  map[string]bool
	proxy bool
	alloc [][]byte // of the allocator; none: what lies at heapAt, again and again
}

const (
	outAt  = 1 << 10
	textAt = 4 << 10
	heapAt = 64 << 10
	pages  = 4
)

func typesOf(s string) (t []byte) {
	for _, c := range s {
		if c == 'I' {
			t = append(t, asm.I64)
		} else {
			t = append(t, asm.I32)
		}
	}
	return t
}

// proxyGuest begins a guest of Proxy-Wasm.
func proxyGuest() *writing {
	w := &writing{at: map[string]uint32{}, types: proxyImports, done: map[string]bool{}, proxy: true}
	for name, params := range proxyImports {
		w.at[name] = w.m.Import("env", name, typesOf(params), asm.T(asm.I32))
	}
	w.m.Memory(pages, 1024)
	w.m.Export("memory", 2, 0)
	w.m.Export("proxy_abi_version_0_2_1", 0, w.m.Func(nil, nil, nil))
	return w
}

// httpGuest begins a guest of http-wasm.
func httpGuest() *writing {
	w := &writing{at: map[string]uint32{}, types: httpImports, done: map[string]bool{}}
	for name, types := range httpImports {
		params, results, _ := strings.Cut(types, ":")
		w.at[name] = w.m.Import("http_handler", name, typesOf(params), typesOf(results))
	}
	w.m.Memory(pages, 1024)
	w.m.Export("memory", 2, 0)
	return w
}

func num(v int) []byte { return asm.Const32(int32(v)) }

// text puts s into memory, and gives its place and length as arguments.
func (w *writing) text(s string) []byte {
	at := textAt + len(w.data)
	w.data = append(w.data, s...)
	return asm.Cat(num(at), num(len(s)))
}

// ask calls a host function and keeps its result; host drops it.
func (w *writing) ask(name string, args ...[]byte) []byte {
	at, ok := w.at[name]
	if !ok {
		panic("no host function " + name)
	}
	return asm.Cat(asm.Cat(args...), asm.Call(at))
}

func (w *writing) host(name string, args ...[]byte) []byte {
	if w.proxy || !strings.HasSuffix(w.types[name], ":") {
		return asm.Cat(w.ask(name, args...), asm.Drop)
	}
	return w.ask(name, args...)
}

// global makes a variable.
func (w *writing) global(v int) uint32 { return w.m.Global(asm.I32, true, num(v)) }

// on gives a callback, or handle_request and handle_response. Its code leaves the result, if there is one. Local 5 is free, but
// for http-wasm local 2.
func (w *writing) on(name string, code ...[]byte) *writing {
	params, results, locals := "", "", asm.T(asm.I32, asm.I32)
	switch c, ok := callbacks[name]; {
	case ok:
		if params = strings.Repeat("i", c[0]); c[1] >= 0 {
			results = "i"
		}
		locals = append(locals, asm.T(asm.I32, asm.I32, asm.I32, asm.I32)...)
	case name == "handle_request":
		results = "I"
	case name == "handle_response":
		params = "ii"
	default:
		panic("no callback " + name)
	}
	w.done[name] = true
	w.m.Export(name, 0, w.m.Func(typesOf(params), typesOf(results), locals, code...))
	return w
}

// bytes ends the guest.
func (w *writing) bytes() []byte {
	switch {
	case w.proxy:
		code := w.alloc
		if code == nil {
			code = [][]byte{num(heapAt)}
		}
		w.m.Export("proxy_on_memory_allocate", 0, w.m.Func(asm.T(asm.I32), asm.T(asm.I32), asm.T(asm.I32), code...))
	default:
		if !w.done["handle_request"] {
			w.on("handle_request", asm.Const64(1))
		}
		if !w.done["handle_response"] {
			w.on("handle_response")
		}
	}
	if len(w.data) > 0 {
		w.m.Data(textAt, w.data)
	}
	return w.m.Bytes()
}

// forever never ends.
func forever() []byte { return asm.Loop(asm.None, asm.Br(0)) }

// times repeats code n times, counting in a global.
func (w *writing) times(n int, code ...[]byte) []byte {
	i := w.global(0)
	return asm.Cat(num(0), asm.GlobalSet(i), asm.Loop(asm.None, asm.Cat(code...),
		asm.GlobalGet(i), num(1), asm.Add32, asm.GlobalSet(i), asm.GlobalGet(i), num(n), asm.LtU32, asm.BrIf(0)))
}

// ifBody runs code if the message whose header section is at hand has a body: what a node tries a filter with has none.
func ifBody(code ...[]byte) []byte {
	return asm.Cat(asm.Get(2), asm.Eqz32, asm.If(asm.None, asm.Cat(code...)))
}

// ifField runs code if the request has a field of a name. For http-wasm.
func (w *writing) ifField(name string, code ...[]byte) []byte {
	return asm.Cat(w.ask("get_header_values", num(0), w.text(name), num(outAt), num(0)), asm.Eqz64, asm.Eqz32, asm.If(asm.None, asm.Cat(code...)))
}

// pairs is a serialized map of Proxy-Wasm.
func pairs(kv ...string) string {
	var b []byte
	u32 := func(n int) { b = binary.LittleEndian.AppendUint32(b, uint32(n)) }
	u32(len(kv) / 2)
	for _, s := range kv {
		u32(len(s))
	}
	for _, s := range kv {
		b = append(append(b, s...), 0)
	}
	return string(b)
}
