package upstream

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

// QueueOptions bound the requests that wait for a place among MaxInFlight. The zero value is no queue.
type QueueOptions struct {
	Max  int           // that wait at once
	Wait time.Duration // the longest
}

var errBusy = fault.New(fault.UpstreamBusy, "max_in_flight reached")

// flight counts the requests in flight to the upstreams of one name, lets others wait, and holds what they may retry. It
// outlives plans; limits are those of the plan that a request came by.
//
// Who waits is served in the order of arrival. Once the first in line has waited for a tenth of the longest wait, the
// upstream is overloaded and no order serves all: then the newest is served first, which still has a client, and the
// oldest makes room when the queue is full. In order, all would be served just before they give up, or just after.
type flight struct {
	n       atomic.Int64
	waiting atomic.Int32
	refs    int // guarded by the Registry

	budget  budget
	retried atomic.Int64

	mu          sync.Mutex
	first, last *waiter // the oldest and the newest
}

// waiter is a request in the queue. Its fields are under the flight's lock.
type waiter struct {
	sleeper
	older, newer *waiter
	since        int64 // clock.Nano
	longest      time.Duration
	max          int64 // in flight, as the plan has it that the request came by
	place        waiterPlace
}

type waiterPlace uint8

const (
	inLine  waiterPlace = iota
	served              // has a place in flight
	dropped             // was thrown out to make room
)

var waiters = sync.Pool{New: func() any { return &waiter{sleeper: newSleeper()} }}

// target is how long w may wait before its upstream counts as overloaded.
func (w *waiter) target() time.Duration { return w.longest / 10 }

// enter takes a place in flight for x, waits for one, or refuses. max 0 is no limit. Every enter without an error is
// followed by one leave.
func (f *flight) enter(x *exchange.Exchange, max int64, q *QueueOptions) error {
	if max == 0 {
		f.n.Add(1)
		return nil
	}
	if f.waiting.Load() == 0 && f.take(max) {
		return nil
	}
	if q.Max == 0 {
		return errBusy
	}
	return f.wait(x, max, q)
}

// take takes a place if one is free.
func (f *flight) take(max int64) bool {
	if f.n.Add(1) <= max {
		return true
	}
	f.leave()
	return false
}

// leave gives a place back.
func (f *flight) leave() {
	f.n.Add(-1)
	if f.waiting.Load() > 0 {
		f.mu.Lock()
		f.serve(clock.Nano())
		f.mu.Unlock()
	}
}

// serve gives free places to those that wait, under the lock. Who gives a place back sees that somebody waits, or who
// begins to wait sees that a place was given back: both change their own number before they read the other.
func (f *flight) serve(now int64) {
	for f.first != nil {
		w := f.first
		if now-w.since > int64(w.target()) {
			w = f.last
		}
		if f.n.Add(1) > w.max {
			f.n.Add(-1)
			return
		}
		f.remove(w)
		w.place = served
		w.Abort()
	}
}

func (f *flight) wait(x *exchange.Exchange, max int64, q *QueueOptions) error {
	now := clock.Nano()
	w := waiters.Get().(*waiter)
	f.mu.Lock()
	if int(f.waiting.Load()) >= q.Max {
		oldest := f.first
		if oldest == nil || now-oldest.since <= int64(oldest.target()) {
			f.mu.Unlock()
			waiters.Put(w)
			return errBusy
		}
		f.remove(oldest)
		oldest.place = dropped
		oldest.Abort()
	}
	w.since, w.max, w.longest, w.place = now, max, q.Wait, inLine
	f.append(w)
	f.serve(now)
	f.mu.Unlock()

	w.sleep(x, q.Wait)

	f.mu.Lock()
	place := w.place
	if place == inLine {
		f.remove(w)
	}
	f.mu.Unlock()
	w.clear()
	waiters.Put(w)
	cause := x.Cause()
	switch {
	case place == served && cause == nil:
		return nil
	case place == served:
		f.leave()
	}
	if cause != nil {
		return cause
	}
	return errBusy
}

// append and remove change the line, under the lock.
func (f *flight) append(w *waiter) {
	f.waiting.Add(1)
	w.older = f.last
	if f.last != nil {
		f.last.newer = w
	} else {
		f.first = w
	}
	f.last = w
}

func (f *flight) remove(w *waiter) {
	f.waiting.Add(-1)
	if w.older != nil {
		w.older.newer = w.newer
	} else {
		f.first = w.newer
	}
	if w.newer != nil {
		w.newer.older = w.older
	} else {
		f.last = w.older
	}
	w.older, w.newer = nil, nil
}
