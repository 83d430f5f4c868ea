package httpabi

import (
	"sync"
	"sync/atomic"
	"time"
)

// When a filter is left alone: after so many failures within the window, for a pause that doubles with every trial that
// fails too.
const (
	breakAfter = 5
	breakIn    = 10 * time.Second
	pauseFirst = time.Second
	pauseMost  = time.Minute
)

// breaker stops calls of a filter that keeps failing, so that a broken guest does not cost an instance a request. While
// nothing fails it costs one atomic load. Its methods may be called concurrently.
type breaker struct {
	now   func() int64 // clock.Nano, but in tests
	until atomic.Int64 // when a trial may be made; 0: closed

	mu    sync.Mutex
	at    [breakAfter]int64 // when the last failures were
	n     int
	pause time.Duration
	trial bool // one is under way
}

// allow reports whether a call may be made, and whether it is the one trial of a filter that was stopped.
func (b *breaker) allow() (ok, trial bool) {
	if b.until.Load() == 0 {
		return true, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	until := b.until.Load()
	if until == 0 {
		return true, false
	}
	if b.trial || b.now() < until {
		return false, false
	}
	b.trial = true
	return true, true
}

// failed notes a failure.
func (b *breaker) failed(trial bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if trial {
		b.trial = false
		b.pause = min(2*b.pause, pauseMost)
		b.until.Store(now + int64(b.pause))
		return
	}
	b.at[b.n%breakAfter] = now
	b.n++
	oldest := b.at[b.n%breakAfter]
	if b.until.Load() == 0 && oldest > 0 && now-oldest <= int64(breakIn) {
		b.pause = pauseFirst
		b.until.Store(now + int64(b.pause))
	}
}

// settled ends a trial: ok if the filter worked, else nothing was learned and another may be made.
func (b *breaker) settled(ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trial = false
	if ok {
		b.at = [breakAfter]int64{}
		b.n = 0
		b.until.Store(0)
	}
}

// open reports whether calls are stopped.
func (b *breaker) open() bool { return b.until.Load() != 0 }
