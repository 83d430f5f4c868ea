//go:build wasip1

// A Proxy-Wasm filter in stock Go without any library: it reads one field of a request, replaces another, and adds one to the
// answer.
package main

import "unsafe"

const (
	requestHeaders  = 0
	responseHeaders = 2
)

//go:wasmimport env proxy_get_header_map_value
func getField(kind uint32, name unsafe.Pointer, length uint32, data, size unsafe.Pointer) uint32

//go:wasmimport env proxy_replace_header_map_value
func setField(kind uint32, name unsafe.Pointer, length uint32, value unsafe.Pointer, size uint32) uint32

//go:wasmimport env proxy_add_header_map_value
func addField(kind uint32, name unsafe.Pointer, length uint32, value unsafe.Pointer, size uint32) uint32

// room is what the host writes to: a guest is called by one goroutine at a time, and keeps nothing.
var (
	room [4 << 10]byte
	data uint32
	size uint32
)

//go:wasmexport proxy_abi_version_0_2_1
func version() {}

//go:wasmexport proxy_on_memory_allocate
func allocate(n uint32) unsafe.Pointer {
	if n > uint32(len(room)) {
		return nil
	}
	return unsafe.Pointer(&room)
}

//go:wasmexport proxy_on_context_create
func create(id, parent uint32) {}

//go:wasmexport proxy_on_request_headers
func onRequest(id, n, end uint32) uint32 {
	name := "x-one"
	if getField(requestHeaders, unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), unsafe.Pointer(&data), unsafe.Pointer(&size)) == 0 {
		tag := "x-tag"
		setField(requestHeaders, unsafe.Pointer(unsafe.StringData(tag)), uint32(len(tag)), unsafe.Pointer(&room), size)
	}
	return 0
}

//go:wasmexport proxy_on_response_headers
func onResponse(id, n, end uint32) uint32 {
	tag, value := "x-tag", "weir"
	addField(responseHeaders, unsafe.Pointer(unsafe.StringData(tag)), uint32(len(tag)), unsafe.Pointer(unsafe.StringData(value)), uint32(len(value)))
	return 0
}

//go:wasmexport proxy_on_done
func done(id uint32) uint32 { return 1 }

//go:wasmexport proxy_on_log
func log(id uint32) {}

//go:wasmexport proxy_on_delete
func gone(id uint32) {}

func main() {}
