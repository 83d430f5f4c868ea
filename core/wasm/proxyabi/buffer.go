package proxyabi

import (
	"slices"

	"github.com/weirproxy/weir/core/wasm"
)

var bufferFunctions = []wasm.HostFunc{
	function("proxy_get_buffer_status", "iii", getBufferStatus),
	function("proxy_get_buffer_bytes", "iiiii", getBufferBytes),
	function("proxy_set_buffer_bytes", "iiiii", setBufferBytes),
	function("proxy_get_configuration", "ii", getConfiguration),
}

// bufferOf gives what a guest sees under a buffer's number; ok is false while there is none. h is the half whose body it is,
// nil if it can't be changed.
func (sh *shard) bufferOf(kind uint32) (data []byte, h *half, ok bool) {
	switch kind {
	case bufferRequestBody, bufferResponseBody:
		st := sh.stream()
		if st == nil {
			return nil, nil, false
		}
		h = &st.request
		if kind == bufferResponseBody {
			h = &st.response
		}
		if !st.at(h) || !h.inside {
			return nil, nil, false
		}
		return h.data, h, true
	case bufferCallBody, bufferGrpcMessage, bufferForeign:
		if sh.message == nil {
			return nil, nil, false
		}
		return sh.message.body, nil, true
	case bufferVMConfig:
		return sh.vm.o.Config, nil, true
	case bufferPluginConfig:
		if r := sh.root(); r != nil {
			return r.plugin.o.Config, nil, true
		}
	}
	return nil, nil, false
}

func getBufferStatus(sh *shard, a []uint64) status {
	kind := u32(a[0])
	if kind >= buffers {
		return statusBadArgument
	}
	data, _, ok := sh.bufferOf(kind)
	if !ok {
		return statusNotFound
	}
	size, flags := a[1], a[2]
	if st := sh.put32(size, uint32(len(data))); st != statusOK {
		return st
	}
	return sh.put32(flags, 0)
}

// getBufferBytes gives what there is of a range. One that goes past what 32 bits count ends where the buffer does: Envoy answers
// BadArgument, but the Rust SDK, whose users ask for all with usize::MAX, panics on that.
func getBufferBytes(sh *shard, a []uint64) status {
	kind, start, most := u32(a[0]), u32(a[1]), u32(a[2])
	if kind >= buffers {
		return statusBadArgument
	}
	data, _, ok := sh.bufferOf(kind)
	if !ok {
		return statusNotFound
	}
	from := min(int64(start), int64(len(data)))
	return sh.give(a[3], a[4], data[from:min(from+int64(most), int64(len(data)))])
}

// setBufferBytes puts data in the place of a part of a body: all of it, what stands before, after, or in the middle. A body
// that is not the guest's to change at the moment stays as it is, and one that would be too large ends when the guest has
// returned.
func setBufferBytes(sh *shard, a []uint64) status {
	kind, start, size := u32(a[0]), u32(a[1]), u32(a[2])
	p, ok := sh.read(a[3], a[4])
	switch {
	case kind >= buffers:
		return statusBadArgument
	case !ok:
		return statusInvalidMemory
	}
	data, h, _ := sh.bufferOf(kind)
	if h == nil {
		return statusOK
	}
	from := int(min(int64(start), int64(len(data))))
	to := int(min(int64(start)+int64(size), int64(len(data))))
	if len(data)-(to-from)+len(p) > max(sh.vm.o.BodyLimit, len(data)) {
		h.excess = true
		return statusOK
	}
	if !within(h.own, data) {
		h.own = append(h.spare(), data...)
	} else {
		h.own = data
	}
	h.own = slices.Replace(h.own, from, max(from, to), p...)
	h.data = h.own
	return statusOK
}

func getConfiguration(sh *shard, a []uint64) status {
	r := sh.root()
	switch {
	case r == nil:
		return sh.give(a[0], a[1], nil)
	case sh.starting:
		return sh.give(a[0], a[1], sh.vm.o.Config)
	}
	return sh.give(a[0], a[1], r.plugin.o.Config)
}
