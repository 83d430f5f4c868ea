package proxyabi

import (
	"errors"
	"io"
	"unsafe"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
)

var (
	errStopped  = fault.New(fault.GuestFailed, "filter failed too often and is stopped for a while")
	errStarting = fault.New(fault.GuestBusy, "no instance of the filter is ready")
	errFallen   = fault.New(fault.GuestFailed, "the filter's instance died while it served another request")
	errSpent    = fault.New(fault.GuestFailed, "the filter has spent its cpu_total on the request")
	errReset    = fault.New(fault.FilterReset, "reset by a filter")
)

// Request implements filter.Filter.
func (f *Filter) Request(x *exchange.Exchange, slot int) (filter.Verdict, error) {
	sh, trial, err := f.p.vm.pick(hintOf(x))
	if err != nil {
		return filter.Continue, err
	}
	return f.request(sh, x, slot, trial)
}

// hintOf spreads exchanges over shards: the requests of one connection of HTTP/2, too.
func hintOf(x *exchange.Exchange) uint64 {
	return uint64(uintptr(unsafe.Pointer(x))) * 0x9e3779b97f4a7c15 >> 40
}

// request takes x to a shard, whose mutex is held, and unlocks it.
func (f *Filter) request(sh *shard, x *exchange.Exchange, slot int, trial bool) (filter.Verdict, error) {
	st, err := sh.begin(f, x, slot, trial)
	if err == nil {
		err = st.forward()
	}
	v := st.verdict(err)
	if v == filter.Continue && err == nil {
		st.request.open, st.method, st.version = false, x.Request.Method, x.Request.Version
		x.Reroute = x.Reroute || st.rerouted && !st.pinned
	}
	sh.mu.Unlock()
	if v != filter.Continue {
		err = nil
	}
	if v == filter.Reply {
		st.answer.Make(x)
	}
	return v, err
}

// forward takes the request's head to the guest, and as much of its body as it takes to know how long that will be.
func (st *stream) forward() error {
	sh, x, h := st.sh, st.x, &st.request
	ends := x.Request.Body.Empty()
	h.open = true
	holds, err := st.head(h, sh.fn.requestHeaders, mapRequestHeaders, ends)
	if err != nil || ends || sh.fn.requestBody == nil && sh.fn.requestTrailers == nil {
		return err
	}
	return h.insert(&x.Request.Body, holds)
}

// Response implements filter.Filter.
func (f *Filter) Response(x *exchange.Exchange, slot int, _ bool) (filter.Verdict, error) {
	st, ok := x.Slots[slot].(*stream)
	if !ok {
		return filter.Continue, nil
	}
	sh := st.sh
	sh.mu.Lock()
	if st.failed {
		sh.mu.Unlock()
		return filter.Continue, nil // what becomes of it was decided when it failed
	}
	// What the guest has answered is what comes by now.
	st.reply.set = false
	err := st.backward()
	v := st.verdict(err)
	if v == filter.Continue && err == nil {
		st.response.open = false
	}
	sh.mu.Unlock()
	if v == filter.Reply {
		st.answer.Make(x)
		return filter.Respond, nil // it is not asked about an answer that it gives in place of another
	}
	if v != filter.Continue {
		err = nil
	}
	return v, err
}

// backward is forward for the answer.
func (st *stream) backward() error {
	sh, x, h := st.sh, st.x, &st.response
	r := &x.Response
	ends := r.Body.Empty() || string(x.Request.Method) == "HEAD" || r.Status == 204 || r.Status == 304
	upgrade := r.Status == 101 && !r.Local
	h.open = true
	holds, err := st.head(h, sh.fn.responseHeaders, mapResponseHeaders, ends || upgrade)
	if err != nil || ends || upgrade || sh.fn.responseBody == nil && sh.fn.responseTrailers == nil {
		return err
	}
	return h.insert(&r.Body, holds)
}

// head calls the guest with a header section. holds says that the section waits for what the guest does with the body.
func (st *stream) head(h *half, fn *wasm.Func, kind int, ends bool) (holds bool, err error) {
	if fn == nil {
		return false, st.alive()
	}
	f := st.view(kind)
	end := uint64(0)
	if ends {
		end = 1
	}
	act, err := st.call(h, fn, uint64(f.count()), end)
	if err != nil {
		return false, err
	}
	switch {
	case act == actionContinue:
	case act == actionEnd:
		if !ends {
			h.message().Replace(nil)
		}
	case act == actionStop && st.root.plugin.o.StopIteration && !ends && h.takesBody():
		return true, nil
	default:
		return false, h.park()
	}
	return false, nil
}

// call calls the guest for a half of the stream, by whose own goroutine. sh.mu is held.
func (st *stream) call(h *half, fn *wasm.Func, args ...uint64) (uint32, error) {
	if err := st.alive(); err != nil {
		return 0, err
	}
	sh := st.sh
	budget := min(sh.vm.o.CPU, sh.vm.o.CPUTotal-st.cpu)
	if sh.canary {
		budget = sh.vm.o.Start // what is called for the first time may be slow
	} else if budget <= 0 {
		sh.vm.failures.Add(abi.FailedBudget)
		st.over = errSpent
		return 0, errSpent
	}
	if h != nil {
		h.resume = false
	}
	before := sh.entered
	sh.entered = h
	var all [3]uint64
	all[0] = uint64(st.id)
	act, err := sh.enter(&st.scope, fn, budget, all[:1+copy(all[1:], args)]...)
	sh.entered = before
	if err != nil {
		err = fault.Wrap(fault.GuestFailed, err)
		st.over = err
		report(st.root.plugin.journal, err, st.x.RequestID)
		return 0, err
	}
	return act, st.said()
}

// alive says why the guest can't be called for the stream any more.
func (st *stream) alive() error {
	switch {
	case st.over != nil:
		return st.over
	case st.sh.dead != nil:
		st.over = errFallen
		return errFallen
	}
	return nil
}

// said gives what a guest has decided by calling the host: an answer, or the stream's end.
func (st *stream) said() error {
	switch {
	case st.closed:
		return errReset
	case st.reply.set:
		return &st.answer
	}
	return nil
}

// verdict makes a filter's verdict of an error.
func (st *stream) verdict(err error) filter.Verdict {
	if err == nil {
		return filter.Continue
	}
	var answer *filter.Answer // errors.As has it escape
	switch {
	case err == errReset:
		return filter.Reset
	case errors.As(err, &answer) && answer == &st.answer:
		return filter.Reply
	case fault.KindOf(err).Source() == fault.Guest:
		st.failed = true
	}
	return filter.Continue
}

// begin opens a stream. sh.mu is held. What it gives is not nil.
func (sh *shard) begin(f *Filter, x *exchange.Exchange, slot int, trial bool) (*stream, error) {
	st := sh.free
	if st == nil {
		st = newStream(sh)
	} else {
		sh.free = st.next
		st.next = nil
	}
	st.f, st.x, st.slot, st.trial = f, x, slot, trial
	st.answer.Slot = slot
	x.Slots[slot] = st
	sh.add(&st.scope)
	sh.streams.Add(1)
	sh.vm.open.Add(1)
	if st.root = sh.rootOf(f.p); st.root == nil {
		st.root = sh.nobody(f.p)
		st.over = errStarting
		return st, errStarting
	}
	if sh.fn.begins != nil {
		if _, err := st.call(nil, sh.fn.begins, uint64(st.root.id)); err != nil {
			return st, err
		}
	}
	return st, nil
}

// nobody stands for the root of a plugin that a shard does not have.
func (sh *shard) nobody(p *Plugin) *root {
	r := &root{sh: sh, plugin: p}
	r.root = r
	return r
}

// Release implements exchange.State: the exchange is over, and has been recorded.
func (st *stream) Release(x *exchange.Exchange) {
	if st.awaits {
		x.Forget(st)
	}
	sh := st.sh
	vm := sh.vm
	sh.mu.Lock()
	if sh.dead == nil && st.root.id != 0 {
		sh.final = st
		for _, fn := range sh.fn.ends {
			if _, err := sh.enter(&st.scope, fn, vm.o.CPU, uint64(st.id)); err != nil {
				report(st.root.plugin.journal, err, x.RequestID)
				break
			}
		}
		sh.final = nil
	}
	sh.scopes.remove(st.id)
	if st.trial {
		if vm.breaker.Settled(sh.dead == nil && !st.failed) {
			vm.tell((*abi.Journal).Back)
		}
	}
	dead := sh.dead != nil
	worn := !dead && (sh.worn || sh.in.Memory().Size() > vm.o.Memory/4*3)
	st.reset()
	left := sh.streams.Add(-1)
	if !dead && !sh.retired {
		sh.keep(st, int(left))
	}
	retired := sh.retired || dead
	vm.open.Add(-1)
	if size := int64(sh.in.Memory().Size()); !dead && size != sh.size.Load() {
		sh.size.Store(size)
		vm.failures.Grown(size)
	}
	if worn && !sh.retired && !sh.canary {
		vm.retire(sh)
	}
	sh.mu.Unlock()
	if retired && left == 0 {
		vm.ask()
	}
}

// warmStreams is how many streams of a shard keep their buffers for the next exchange: after a crowd, the others would hold
// what it needed for ever.
const warmStreams = 256

// keep puts a stream, reset, by for another exchange. others are open.
func (sh *shard) keep(st *stream, others int) {
	if others >= warmStreams {
		st.shed()
	}
	st.next = sh.free
	sh.free = st
}

// newStream makes one for the shard's own use, again and again.
func newStream(sh *shard) *stream {
	st := &stream{sh: sh}
	st.stream = st
	st.request.st, st.response.st = st, st
	st.response.response = true
	st.request.wake, st.response.wake = make(chan struct{}, 1), make(chan struct{}, 1)
	st.answer.Make = st.make
	return st
}

// message is the body that a half's message has now.
func (h *half) message() *exchange.Body {
	if h.response {
		return &h.st.x.Response.Body
	}
	return &h.st.x.Request.Body
}

func (h *half) takesBody() bool {
	fn := &h.st.sh.fn
	if h.response {
		return fn.responseBody != nil
	}
	return fn.requestBody != nil
}

var _ io.Reader = (*half)(nil)
