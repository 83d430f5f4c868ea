package proxyabi

import (
	"time"

	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wasm/abi"
)

var errPaused = fault.New(fault.GuestFailed, "the filter has paused the exchange for longer than pause allows")

// park sleeps until the guest wants the half to go on, answers or resets the exchange, or something ends it. sh.mu is held,
// and released meanwhile. A canary does not sleep: nothing would wake it.
func (h *half) park() error {
	st := h.st
	sh := st.sh
	if h.resume || sh.canary {
		return st.said()
	}
	if err := st.said(); err != nil {
		return err
	}
	x, most := st.x, sh.vm.o.Pause
	if !st.awaits {
		st.awaits = true
		x.Await(st)
	}
	if h.timer == nil {
		h.timer = time.NewTimer(most)
	} else {
		h.timer.Reset(most)
	}
	h.parked = true
	sh.vm.paused.Add(1)
	defer func() {
		sh.vm.paused.Add(-1)
		h.parked = false
		h.timer.Stop()
	}()
	for late := false; ; {
		if err := st.alive(); err != nil {
			return err
		}
		if err := st.said(); err != nil {
			return err
		}
		if cause := x.Cause(); cause != nil {
			return cause
		}
		switch {
		case h.resume:
			return nil
		case !h.response && st.unread.Load():
			return netio.ErrAborted
		case late:
			sh.vm.failures.Add(abi.FailedPause)
			return errPaused
		}
		sh.mu.Unlock()
		select {
		case <-h.wake:
		case <-h.timer.C:
			late = true
		}
		sh.mu.Lock()
	}
}

// rouse wakes a half that is parked. Any goroutine may call.
func (h *half) rouse() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Abort implements exchange.Link: the exchange has been cancelled.
func (st *stream) Abort() {
	st.request.rouse()
	st.response.rouse()
}

// AbortRead implements exchange.Link: nobody waits for the request's body any more.
func (st *stream) AbortRead() {
	st.unread.Store(true)
	st.request.rouse()
}
