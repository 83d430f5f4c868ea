package httpabi

import (
	"errors"
	"time"

	"github.com/weirproxy/weir/core/wasm"
)

// errorKinds names what Stats.Errors counts.
var errorKinds = [...]string{"trap", "budget", "depth", "memory", "busy", "start", "body_limit", "stopped"}

const (
	errorTrap = iota
	errorBudget
	errorDepth
	errorMemory
	errorBusy    // no instance came free in time
	errorStart   // no instance could be made
	errorLimit   // more body than body_limit
	errorStopped // not called: it failed too often
)

// Stats are figures of one filter. Calls are counted by who makes them.
type Stats struct {
	Errors       map[string]int64 // since Open, by kind; those that happened
	LinesDropped int64            // of the log
	MemoryHigh   int64            // bytes of the largest instance so far
	Stopped      bool             // it failed too often and is not called now
	Stock        wasm.StockStats
}

// Stats reads the counters.
func (f *Filter) Stats() Stats {
	s := Stats{
		Errors: map[string]int64{}, LinesDropped: f.journal.Lost(), MemoryHigh: f.memory.Load(),
		Stopped: f.breaker.Open(), Stock: f.stock.Stats(),
	}
	for i, kind := range errorKinds {
		if n := f.errors[i].Load(); n > 0 {
			s.Errors[kind] = n
		}
	}
	return s
}

// Instances implements filter.Measured.
func (f *Filter) Instances() float64 { return float64(f.stock.Stats().Live) }

// Memory implements filter.Measured. It is a bound from above: as if all instances were as large as the largest has been.
func (f *Filter) Memory() float64 { return f.Instances() * float64(f.memory.Load()) }

// trapped counts a call that did not return.
func (f *Filter) trapped(err error) {
	kind := errorTrap
	switch {
	case errors.Is(err, wasm.ErrBudget):
		kind = errorBudget
	case errors.Is(err, wasm.ErrDepth):
		kind = errorDepth
	case errors.Is(err, wasm.ErrMemory):
		kind = errorMemory
	}
	f.errors[kind].Add(1)
}

// sized notes how large an instance has become.
func (f *Filter) sized(n int64) {
	for {
		high := f.memory.Load()
		if n <= high || f.memory.CompareAndSwap(high, n) {
			return
		}
	}
}

// Defaults of Options.
const (
	defaultCPU   = 5 * time.Millisecond
	defaultTotal = 50 * time.Millisecond
	defaultStart = 2 * time.Second
	defaultWait  = time.Second
	defaultLimit = 1 << 20
	// Twice a request an instance is called. Making one anew costs 3 ms with a guest of stock Go: spread over so many
	// calls, that is 15 ns each.
	instanceUses = 200_000
)
