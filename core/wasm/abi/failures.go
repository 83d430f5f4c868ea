package abi

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
)

// Failure is what may go wrong with a filter.
type Failure uint8

const (
	FailedTrap Failure = iota
	FailedBudget
	FailedDepth
	FailedMemory
	FailedBusy    // no instance came free in time
	FailedStart   // no instance could be made
	FailedLimit   // more body than body_limit
	FailedStopped // not called: it failed too often
	FailedPause   // an exchange was paused for too long
	failures
)

var failureNames = [failures]string{"trap", "budget", "depth", "memory", "busy", "start", "body_limit", "stopped", "pause"}

// FailureOf sorts what ended a guest call.
func FailureOf(err error) Failure {
	switch {
	case errors.Is(err, wasm.ErrBudget):
		return FailedBudget
	case errors.Is(err, wasm.ErrDepth):
		return FailedDepth
	case errors.Is(err, wasm.ErrMemory):
		return FailedMemory
	}
	return FailedTrap
}

// Failures counts what goes wrong with a filter, or with instances that several share, and how large these become. Any goroutine
// may use it; the zero value is
// ready.
type Failures struct {
	n    [failures]atomic.Int64
	last atomic.Pointer[filter.Failure]
	high atomic.Int64
}

// Add counts a failure that has nothing more to tell.
func (f *Failures) Add(kind Failure) { f.n[kind].Add(1) }

// Note counts a call that did not return, or an instance that could not be made, and keeps why.
func (f *Failures) Note(kind Failure, err error) {
	f.n[kind].Add(1)
	stack := ""
	var trap *wasm.Trap
	if errors.As(err, &trap) {
		stack = trap.Stack
	}
	f.last.Store(filter.NewFailure(time.Now(), failureNames[kind], err, stack))
}

// Count is how often there was a failure of the kind.
func (f *Failures) Count(kind Failure) int64 { return f.n[kind].Load() }

// Counts gives those that there were, by name.
func (f *Failures) Counts() map[string]int64 {
	all := map[string]int64{}
	for i, name := range failureNames {
		if n := f.n[i].Load(); n > 0 {
			all[name] = n
		}
	}
	return all
}

// Last is what was noted last; nil: nothing.
func (f *Failures) Last() *filter.Failure { return f.last.Load() }

// Grown notes how large an instance has become, in bytes; High is the largest so far.
func (f *Failures) Grown(n int64) {
	for {
		high := f.high.Load()
		if n <= high || f.high.CompareAndSwap(high, n) {
			return
		}
	}
}

// High is the size of the largest instance so far, in bytes.
func (f *Failures) High() int64 { return f.high.Load() }
