package exchange

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weirproxy/weir/core/coretest/alloc"
)

// parked is a filter that waits.
type parked struct {
	woken  chan struct{}
	aborts atomic.Int64
	reads  atomic.Int64
}

func newParked() *parked { return &parked{woken: make(chan struct{}, 1)} }

func (p *parked) AbortRead() { p.reads.Add(1) }
func (p *parked) Abort() {
	p.aborts.Add(1)
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

func TestAwait(t *testing.T) {
	x := Acquire()
	defer func() { Release(x) }()
	all := []*parked{newParked(), newParked(), newParked()}
	for _, p := range all {
		x.Await(p)
	}
	x.Forget(all[1])
	x.Forget(newParked()) // of nobody's
	x.Handle().Cancel(errFirst)
	x.Handle().Cancel(errSecond)
	for i, want := range []int64{1, 0, 1} {
		if got := all[i].aborts.Load(); got != want {
			t.Errorf("%d: woken %d times, want %d", i, got, want)
		}
	}
	// Who comes late is told at once.
	late := newParked()
	x.Await(late)
	if late.aborts.Load() != 1 {
		t.Error("not told that it is over")
	}
	for _, p := range append(all, late) {
		x.Forget(p)
	}
	if len(x.waits) != 0 {
		t.Errorf("%d forgotten by nobody", len(x.waits))
	}
	// The same again, in a new life; one is awaited twice and forgotten once.
	Release(x)
	x = Acquire()
	x.Await(all[1])
	x.Await(all[1])
	x.Forget(all[1])
	x.Cancel(errFirst)
	if got := all[1].aborts.Load(); got != 1 {
		t.Errorf("woken %d times", got)
	}
	x.Forget(all[1])
}

// TestAwaitHammer: whoever waits while an exchange is cancelled is woken, and nobody after Forget.
func TestAwaitHammer(t *testing.T) {
	const rounds = 2000
	for range rounds {
		x := Acquire()
		h := x.Handle()
		var cancels sync.WaitGroup
		for range 2 {
			cancels.Go(func() { h.Cancel(errFirst) })
		}
		first, second := newParked(), newParked()
		x.Await(first)
		x.Await(second)
		x.Forget(second)
		told := second.aborts.Load()
		<-first.woken // it comes for certain, before or after
		x.Forget(first)
		cancels.Wait()
		if second.aborts.Load() != told {
			t.Fatal("called after Forget")
		}
		if x.Cause() != errFirst {
			t.Fatal(x.Cause())
		}
		Release(x)
		if h.Cancel(errSecond) {
			t.Fatal("a handle of another life")
		}
	}
}

func TestAwaitAllocatesNothing(t *testing.T) {
	x := Acquire()
	defer Release(x)
	p := newParked()
	alloc.Floor(t, func() {
		x.Await(p)
		x.Forget(p)
	})
}

// Who waits with the request's body is told that nobody wants it any more, once, and also if it comes late.
func TestAwaitUnread(t *testing.T) {
	x := Acquire()
	early, late, next := newParked(), newParked(), newParked()
	x.Await(early)
	x.AbortClientRead()
	x.Await(late)
	for _, p := range []*parked{early, late} {
		if p.reads.Load() != 1 || p.aborts.Load() != 0 {
			t.Error(p.reads.Load(), p.aborts.Load())
		}
		x.Forget(p)
	}
	Release(x)
	x = Acquire()
	x.Await(next)
	if next.reads.Load() != 0 {
		t.Error("told of another exchange")
	}
	x.Forget(next)
	Release(x)
}
