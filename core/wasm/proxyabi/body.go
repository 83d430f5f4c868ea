package proxyabi

import (
	"io"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// body is what a half does with the bytes that pass it. It stands between the message's body and whoever pulls it: bytes come
// from under, the guest sees and changes them, and they go on or are held back. Only the goroutine that pulls touches it, but
// for data, own and inside, which the shard's mutex guards.
type body struct {
	between bool          // h stands in a body's way
	under   exchange.Body // what comes
	inside  bool          // the guest may see and change data: in a callback for it, or parked in one
	data    []byte        // of the chunk under way, or all that is held back
	held    bool          // data is held back, in own
	excess  bool          // the guest has tried to make it larger than may be held
	own     []byte        // backs data that is held back or was changed
	out     []byte        // may go on
	says    int64         // the length that the message's head said; −1: none
	fixed   int64         // the length that it says now, when it has gone on; −1: none
	came    int64         // bytes that have come
	passed  int64         // bytes that have gone on
	told    bool          // the guest knows that the body has ended
	eof     bool          // nothing comes after out
	err     error         // sticky: how it ended
	wake    chan struct{} // room for one; ends a parked half's sleep
}

var (
	errRequestLimit  = fault.New(fault.BodyTooLarge, "request body larger than the filter's body_limit")
	errResponseLimit = fault.New(fault.FilterLimit, "response body larger than the filter's body_limit")
	errResized       = fault.New(fault.GuestFailed, "a filter changed a body's length after its head had gone on: it must remove content-length before")
)

// insert puts h into the way of a body whose message's head is about to go on. Where that says how long the body is, or where
// the guest has asked for it (holds), the head waits until the guest has let something of the body pass: so its length can be
// told right, and the guest may still change the head. sh.mu is held, and released meanwhile.
func (h *half) insert(b *exchange.Body, holds bool) error {
	sh := h.st.sh
	length := b.Length
	h.between = true
	b.Through(&h.under, h, -1)
	h.says, h.fixed = length, -1
	if !holds && (length < 0 || h.unsized) && !h.under.Whole() {
		return nil
	}
	sh.mu.Unlock()
	defer sh.mu.Lock()
	buf := pool.Acquire(pool.Medium)
	defer pool.Release(buf)
	if err := h.step(buf); err != nil {
		b.Fail(err) // also for who goes on without the filter
		return err
	}
	same := h.came == int64(len(h.out))
	h.keep()
	trailer := h.trailer().Len() > 0
	switch {
	case h.eof && !trailer:
		b.Length = int64(len(h.out))
	case length >= 0 && !h.unsized && same && !trailer:
		b.Length = length
	}
	h.fixed = b.Length
	return nil
}

// keep makes out the half's own: the buffer that it lies in is given back.
func (h *half) keep() {
	if len(h.out) > 0 && !within(h.own, h.out) {
		h.own = append(h.own[:0], h.out...)
		h.out = h.own
	}
}

// within reports whether p lies in b's memory.
func within(b, p []byte) bool {
	return cap(b) > 0 && cap(p) > 0 && &b[:cap(b)][cap(b)-1] == &p[:cap(p)][cap(p)-1]
}

// Read implements exchange.Source.
func (h *half) Read(p []byte) (int, error) {
	for len(h.out) == 0 {
		if h.eof && h.err == nil {
			h.err = io.EOF
		}
		if h.err != nil {
			return 0, h.err
		}
		if err := h.step(p); err != nil {
			return 0, err
		}
	}
	n := copy(p, h.out)
	h.out = h.out[n:]
	if len(h.out) == 0 && h.eof {
		h.err = io.EOF
		return n, io.EOF
	}
	return n, nil
}

// Whole implements exchange.Source.
func (h *half) Whole() bool { return h.eof || h.err != nil }

// step pulls until something may go on or all has ended. sh.mu is not held.
func (h *half) step(buf []byte) error {
	for {
		q, err := h.under.Next(buf)
		if err != nil && err != io.EOF {
			h.err = err
			return err
		}
		last := err == io.EOF || h.under.Empty()
		h.came += int64(len(q))
		sh := h.st.sh
		sh.mu.Lock()
		err = h.take(q, last)
		h.inside = false
		sh.mu.Unlock()
		if err != nil {
			h.err = err
			return err
		}
		if !h.eof && (h.says >= 0 && h.came >= h.says || h.fixed >= 0 && h.passed+int64(len(h.out)) == h.fixed) {
			// The last bytes wait for the end: who has them all would take a message for whole that is found wrong only then.
			h.keep()
			continue
		}
		if len(h.out) > 0 || h.eof {
			return h.measure()
		}
	}
}

// measure keeps what goes on to the length that was said.
func (h *half) measure() error {
	h.passed += int64(len(h.out))
	if h.fixed >= 0 && (h.passed > h.fixed || h.eof && h.passed < h.fixed) {
		h.err = errResized
		return errResized
	}
	return nil
}

// take shows the guest a chunk, and what came before it if that is held back. sh.mu is held.
func (h *half) take(q []byte, last bool) error {
	if err := h.st.alive(); err != nil {
		return h.fail(q, last, err)
	}
	switch {
	case h.held:
		h.own = append(h.own, q...)
		h.data = h.own
	default:
		h.data = q
	}
	trailer := last && h.trailer().Len() > 0
	act, err := h.show(len(q), last, trailer)
	if err == nil && h.excess {
		err = h.tooLarge()
	}
	if err == nil {
		err = h.act(act, last && !trailer)
	}
	if err == nil && trailer {
		err = h.trail()
	}
	if err == nil && h.excess { // while it was parked, or with the trailers
		err = h.tooLarge()
	}
	if err != nil {
		return h.fail(nil, last, err)
	}
	if last {
		h.pass()
		h.eof = true
	}
	return nil
}

// show calls the guest with what data is. n bytes of it are new.
func (h *half) show(n int, last, trailer bool) (uint32, error) {
	fn := h.callback()
	if fn == nil || n == 0 && (!last || h.told || trailer) {
		return actionContinue, h.st.said()
	}
	end := uint64(0)
	if last && !trailer {
		end, h.told, h.tail = 1, true, true // at the end the guest may add trailer fields
	}
	h.inside = true
	return h.st.call(h, fn, uint64(len(h.data)), end)
}

// act does what the guest has answered of data.
func (h *half) act(act uint32, ends bool) error {
	switch {
	case act == actionContinue || h.resume:
		h.pass()
		return nil
	case act >= actionStopAll: // what is more than the last action is the last, as with Envoy
		h.data, h.held, h.own = nil, false, h.own[:0] // the guest has taken it
	default:
		if err := h.hold(); err != nil {
			return err
		}
	}
	if !ends {
		return nil
	}
	if err := h.park(); err != nil {
		return err
	}
	h.pass()
	return nil
}

// trail shows the guest the trailer section. What was held back of the body goes on with it.
func (h *half) trail() error {
	fn := h.st.sh.fn.requestTrailers
	kind := mapRequestTrailers
	if h.response {
		fn, kind = h.st.sh.fn.responseTrailers, mapResponseTrailers
	}
	if fn == nil {
		return nil
	}
	h.tail = true
	f := h.st.view(kind)
	act, err := h.st.call(h, fn, uint64(f.count()))
	if err != nil {
		return err
	}
	if act != actionContinue && !h.resume {
		return h.park()
	}
	return nil
}

// pass lets data go on. A part of it may be let go already.
func (h *half) pass() {
	if len(h.out) > 0 && len(h.data) > 0 {
		h.own = append(append([]byte(nil), h.out...), h.data...)
		h.data = h.own
	}
	if len(h.data) > 0 {
		h.out = h.data
	}
	h.data, h.held = nil, false
}

// hold keeps data until the guest is asked again.
func (h *half) hold() error {
	if !within(h.own, h.data) {
		h.own = append(h.spare(), h.data...)
	}
	h.data, h.held = h.own, true
	if len(h.own) <= h.st.sh.vm.o.BodyLimit {
		return nil
	}
	return h.tooLarge()
}

// tooLarge is how a body ends that is larger than body_limit. It ends nothing but its exchange: any client can have it so, with
// a body that is just small enough before the guest puts something to it.
func (h *half) tooLarge() error {
	h.st.sh.vm.failures.Add(abi.FailedLimit)
	if h.response {
		return errResponseLimit
	}
	return errRequestLimit
}

// spare is room for data: that of own, unless it holds what was let go and waits for the body's end.
func (h *half) spare() []byte {
	if len(h.out) > 0 && within(h.own, h.out) {
		return nil
	}
	return h.own[:0]
}

// fail is what becomes of a body whose guest can't see it any more: it ends with err; or, where the filter may be skipped, all
// there is and all that comes goes on as it is.
func (h *half) fail(q []byte, last bool, err error) error {
	if fault.KindOf(err) != fault.GuestFailed || !h.st.f.site.FailOpen {
		return err
	}
	if len(q) > 0 {
		if h.held {
			h.own = append(h.own, q...)
			h.data = h.own
		} else {
			h.data = q
		}
	}
	h.pass()
	h.eof = last
	return nil
}

func (h *half) callback() *wasm.Func {
	if h.response {
		return h.st.sh.fn.responseBody
	}
	return h.st.sh.fn.requestBody
}

func (h *half) trailer() *exchange.Header {
	if h.response {
		return &h.st.x.Response.Trailer
	}
	return &h.st.x.Request.Trailer
}
