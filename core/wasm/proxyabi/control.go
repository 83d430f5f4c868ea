package proxyabi

import "github.com/weirproxy/weir/core/wasm"

var streamFunctions = []wasm.HostFunc{
	function("proxy_continue_stream", "i", continueStream),
	function("proxy_close_stream", "i", closeStream),
	function("proxy_continue_request", "", func(sh *shard, _ []uint64) status { return sh.proceed(streamRequest) }),
	function("proxy_continue_response", "", func(sh *shard, _ []uint64) status { return sh.proceed(streamResponse) }),
	function("proxy_send_local_response", "iiiiiiii", sendLocalResponse),
}

func continueStream(sh *shard, a []uint64) status {
	if u32(a[0]) >= streamKinds {
		return statusBadArgument
	}
	return sh.proceed(u32(a[0]))
}

// proceed lets a half of the effective stream go on. It takes effect when the callback has returned.
func (sh *shard) proceed(kind uint32) status {
	st := sh.stream()
	if st == nil {
		return statusOK
	}
	switch kind {
	case streamRequest:
		st.request.resumes()
	case streamResponse:
		st.response.resumes()
	}
	return statusOK
}

func (h *half) resumes() {
	if h.parked || h.st.sh.entered == h {
		h.resume = true
		h.st.wake()
	}
}

func closeStream(sh *shard, a []uint64) status {
	if u32(a[0]) >= streamKinds {
		return statusBadArgument
	}
	if st := sh.stream(); st != nil && sh.final != st && u32(a[0]) <= streamResponse {
		st.closed = true
		st.wake()
	}
	return statusOK
}

// Bounds of an answer that a guest gives.
const (
	maxReplyHead = 64 << 10
	maxReplyBody = 16 << 20
	maxDetails   = 256
)

// sendLocalResponse keeps the answer until the callback has returned: the goroutine that serves the exchange makes it then.
func sendLocalResponse(sh *shard, a []uint64) status {
	details, ok1 := sh.read(a[1], a[2])
	body, ok2 := sh.read(a[3], a[4])
	head, ok3 := sh.read(a[5], a[6])
	if !ok1 || !ok2 || !ok3 {
		return statusInvalidMemory
	}
	st := sh.stream()
	code := u32(a[0])
	if st == nil || sh.final == st || st.reply.set || len(head) > maxReplyHead || len(body) > maxReplyBody {
		return statusOK
	}
	if code < 200 || code > 599 {
		code = 500
	}
	if st.request.served() || st.response.served() {
		st.reply.keep(code, details[:min(len(details), maxDetails)], body, head, int32(u32(a[7])))
		st.wake()
	}
	return statusOK
}

// served reports whether the goroutine of the half makes the call under way or sleeps: it will see what is left for it.
func (h *half) served() bool { return h.st.at(h) }

// wake has whoever sleeps for the stream look again, once the guest call under way has returned: a guest may let thousands go,
// and their waking is no work of its own.
func (st *stream) wake() {
	if st.request.parked || st.response.parked {
		st.sh.wakes = append(st.sh.wakes, st)
	}
}

// rouse does what wake has put off. sh.mu is held.
func (sh *shard) rouse() {
	for i, st := range sh.wakes {
		st.Abort()
		sh.wakes[i] = nil
	}
	sh.wakes = sh.wakes[:0]
}
