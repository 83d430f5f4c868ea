// Every request waits until a server of yours has said whether it may pass: the request's path and authorization are sent there,
// and 200 lets it go on. Built for Proxy-Wasm 0.2.1, the ABI that Envoy has: the same file runs there.
//
// The ABI is written out here, so that it can be seen; with one of the Proxy-Wasm SDKs (for Go, Rust, C++, AssemblyScript) a
// filter is a few lines.
package main

import (
	"encoding/binary"
	"unsafe"
)

//go:wasmimport env proxy_get_header_map_value
func getHeader(section uint32, name *byte, nameLen uint32, value unsafe.Pointer, valueLen *uint32) uint32

//go:wasmimport env proxy_http_call
func httpCall(upstream *byte, upstreamLen uint32, head *byte, headLen uint32, body *byte, bodyLen uint32, trailers *byte, trailersLen uint32, timeoutMS uint32, call *uint32) uint32

//go:wasmimport env proxy_set_effective_context
func setContext(id uint32) uint32

//go:wasmimport env proxy_continue_stream
func continueStream(kind uint32) uint32

//go:wasmimport env proxy_send_local_response
func answer(status uint32, details *byte, detailsLen uint32, body *byte, bodyLen uint32, head *byte, headLen uint32, grpcStatus int32) uint32

const (
	requestHeaders = 0 // maps
	callHeaders    = 6
	request        = 0 // streams
	goOn, wait     = 0, 1
)

// waiting are the requests that a call is under way for, by its number.
var waiting = map[uint32]uint32{}

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(id, _, _ uint32) uint32 {
	head := pairs(":method", "GET", ":path", get(requestHeaders, ":path"), ":authority", "auth", "authorization", get(requestHeaders, "authorization"))
	upstream := "auth"
	var call uint32
	if httpCall(unsafe.StringData(upstream), uint32(len(upstream)), &head[0], uint32(len(head)), nil, 0, nil, 0, 1000, &call) != 0 {
		refuse(503, "nobody can be asked\n")
		return wait
	}
	waiting[call] = id
	return wait
}

//go:wasmexport proxy_on_http_call_response
func onCallResponse(_, call, headers, _, _ uint32) {
	id := waiting[call]
	delete(waiting, call)
	if setContext(id) != 0 {
		return // the client has gone meanwhile
	}
	switch {
	case headers == 0:
		refuse(503, "nobody has answered\n")
	case get(callHeaders, ":status") == "200":
		continueStream(request)
	default:
		refuse(403, "you may not\n")
	}
}

func refuse(status uint32, text string) {
	answer(status, nil, 0, unsafe.StringData(text), uint32(len(text)), nil, 0, -1)
}

func get(section uint32, name string) string {
	var value *byte
	var n uint32
	if getHeader(section, unsafe.StringData(name), uint32(len(name)), unsafe.Pointer(&value), &n) != 0 || n == 0 {
		return ""
	}
	text := string(unsafe.Slice(value, n))
	delete(lent, value)
	return text
}

// pairs serialises a map as the ABI has it: a count, the lengths, then names and values, each with a NUL.
func pairs(list ...string) []byte {
	out := binary.LittleEndian.AppendUint32(nil, uint32(len(list)/2))
	for _, s := range list {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(s)))
	}
	for _, s := range list {
		out = append(append(out, s...), 0)
	}
	return out
}

// lent is memory that the host writes what it gives into, until it has been read.
var lent = map[*byte][]byte{}

//go:wasmexport proxy_on_memory_allocate
func allocate(n uint32) *byte {
	b := make([]byte, n)
	lent[&b[0]] = b
	return &b[0]
}

//go:wasmexport proxy_abi_version_0_2_1
func version() {}

//go:wasmexport proxy_on_context_create
func onCreate(_, _ uint32) {}

func main() {}
