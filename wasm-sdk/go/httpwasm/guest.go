package httpwasm

import "unsafe"

type pointer = unsafe.Pointer

// buffer is where the host writes. It grows to the largest value seen.
var buffer = make([]byte, 2048)

// fill calls get with the buffer, and again with a larger one if that was too small.
func fill(get func(p pointer, limit uint32) uint32) []byte {
	n := get(pointer(unsafe.SliceData(buffer)), uint32(len(buffer)))
	if int(n) > len(buffer) {
		buffer = make([]byte, n)
		n = get(pointer(unsafe.SliceData(buffer)), uint32(len(buffer)))
	}
	return buffer[:n]
}

// fillList is fill for lists: the count is in the upper half.
func fillList(get func(p pointer, limit uint32) uint64) (list []byte, count uint32) {
	r := get(pointer(unsafe.SliceData(buffer)), uint32(len(buffer)))
	if n := uint32(r); int(n) > len(buffer) {
		buffer = make([]byte, n)
		r = get(pointer(unsafe.SliceData(buffer)), uint32(len(buffer)))
	}
	return buffer[:uint32(r)], uint32(r >> 32)
}

func textOf(s string) (pointer, uint32) { return pointer(unsafe.StringData(s)), uint32(len(s)) }

func bytesOf(b []byte) (pointer, uint32) { return pointer(unsafe.SliceData(b)), uint32(len(b)) }

func handleRequest() uint64 {
	if HandleRequest == nil || HandleRequest(Request{}, Response{}) {
		return 1
	}
	return 0
}

func handleResponse(failed bool) {
	if HandleResponse != nil {
		HandleResponse(Request{}, Response{}, failed)
	}
}
