package wasm

import (
	"context"
	"time"
)

// enqueue puts the calling goroutine in line. s.mu is held.
func (s *Stock) enqueue(wait time.Duration) *waiter {
	w := s.free
	if w == nil {
		w = &waiter{ready: make(chan struct{}, 1), timer: time.NewTimer(wait)}
	} else {
		s.free = w.next
		w.timer.Reset(wait)
	}
	w.prev, w.next, w.in, w.err, w.queued = s.last, nil, nil, nil, true
	if s.last != nil {
		s.last.next = w
	} else {
		s.first = w
	}
	s.last = w
	return w
}

// dequeue takes the first in line out. s.mu is held.
func (s *Stock) dequeue() *waiter {
	w := s.first
	s.unlink(w)
	return w
}

func (s *Stock) unlink(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		s.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		s.last = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
}

// give ends a waiter's wait. Neither an instance nor an error is leave to make one.
func (w *waiter) give(in *Instance, err error) {
	w.in, w.err = in, err
	w.ready <- struct{}{}
}

// await sleeps until w is given something, its timer fires or ctx ends.
func (s *Stock) await(ctx context.Context, w *waiter) (*Instance, error) {
	var cause error
	select {
	case <-w.ready:
	case <-w.timer.C:
		cause = ErrBusy
	case <-ctx.Done():
		cause = ctx.Err()
	}
	s.mu.Lock()
	if w.queued {
		s.unlink(w)
	} else if cause != nil {
		// Given something at the last moment: take it.
		<-w.ready
		cause = nil
	}
	in, err := w.in, w.err
	w.timer.Stop()
	w.in, w.err, w.next = nil, nil, s.free
	s.free = w
	s.mu.Unlock()
	switch {
	case cause != nil:
		s.nTimeouts.Add(1)
		return nil, cause
	case err != nil:
		return nil, err
	case in != nil:
		s.nUse.Add(1)
		return in, nil
	}
	return s.make(ctx)
}
