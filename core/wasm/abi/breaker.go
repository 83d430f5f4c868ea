package abi

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/clock"
)

// When a filter is left alone: after so many failures within the window, for a pause that doubles with every trial that
// fails too.
const (
	breakAfter = 5
	breakIn    = 10 * time.Second
	pauseFirst = time.Second
	pauseMost  = time.Minute
)

// Breaker stops calls of a filter that keeps failing, so that a broken guest does not cost an instance a request. While
// nothing fails it costs one atomic load. Its methods may be called concurrently.
// The zero value is ready.
type Breaker struct {
	now   func() int64 // nil: clock.Nano; tests have their own
	until atomic.Int64 // when a trial may be made; 0: closed

	mu    sync.Mutex
	at    [breakAfter]int64 // when the last failures were
	n     int
	pause time.Duration
	trial bool // one is under way
}

func (b *Breaker) clock() int64 {
	if b.now != nil {
		return b.now()
	}
	return clock.Nano()
}

// Allow reports whether a call may be made, and whether it is the one trial of a filter that was stopped.
func (b *Breaker) Allow() (ok, trial bool) {
	if b.until.Load() == 0 {
		return true, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	until := b.until.Load()
	if until == 0 {
		return true, false
	}
	if b.trial || b.clock() < until {
		return false, false
	}
	b.trial = true
	return true, true
}

// Failed notes a failure. It gives for how long calls are stopped from now on, 0 if that is nothing new.
func (b *Breaker) Failed(trial bool) (stopped time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	if trial {
		b.trial = false
		b.pause = min(max(2*b.pause, pauseFirst), pauseMost)
		b.until.Store(now + int64(b.pause))
		return b.pause
	}
	b.at[b.n%breakAfter] = now
	b.n++
	oldest := b.at[b.n%breakAfter]
	if b.until.Load() == 0 && oldest > 0 && now-oldest <= int64(breakIn) {
		b.pause = pauseFirst
		b.until.Store(now + int64(b.pause))
		return b.pause
	}
	return 0
}

// Settled ends a trial: ok if the filter worked, else nothing was learned and another may be made. It reports whether calls are
// stopped no more.
func (b *Breaker) Settled(ok bool) (back bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trial = false
	if ok {
		b.at = [breakAfter]int64{}
		b.n = 0
		b.until.Store(0)
	}
	return ok
}

// Open reports whether calls are stopped.
func (b *Breaker) Open() bool { return b.until.Load() != 0 }

// Gauge is Open as a metric has it.
func (b *Breaker) Gauge() float64 {
	if b.Open() {
		return 1
	}
	return 0
}

// Stopped is for how much longer calls are stopped; zero if the next one is a trial. It reports false if they are not.
func (b *Breaker) Stopped() (left time.Duration, ok bool) {
	until := b.until.Load()
	return max(time.Duration(until-b.clock()), 0), until != 0
}

// Retry makes the next call a trial, now.
func (b *Breaker) Retry() { b.until.Store(1) }
