package httpabi

import (
	"errors"
	"time"

	"github.com/weirproxy/weir/core/metric"
	"github.com/weirproxy/weir/core/wasm"
)

// Phases names what Counters.Calls counts, by index.
var Phases = []string{"request", "response"}

const (
	phaseRequest = iota
	phaseResponse
)

// Kinds names what Counters.Errors counts, by index.
var Kinds = []string{"trap", "budget", "depth", "memory", "busy", "start", "body_limit", "stopped"}

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

// Counters are where a filter counts. All of them are set.
type Counters struct {
	Calls, Errors      *metric.Indexed
	Traps, BudgetStops *metric.Counter
}

// NewCounters makes counters that nothing renders.
func NewCounters() Counters {
	own := func() *metric.Indexed {
		return metric.NewIndexed(func(int) *metric.Counter { return metric.NewCounter() })
	}
	return Counters{own(), own(), metric.NewCounter(), metric.NewCounter()}
}

// Stats are figures of one filter. Those from Counters go on counting where an earlier filter left off if the counters
// are shared.
type Stats struct {
	Requests, Responses uint64
	Errors              map[string]uint64 // by Kinds; those that happened
	LinesDropped        int64             // of the log
	MemoryHigh          int64             // bytes of the largest instance so far
	Stopped             bool              // it failed too often and is not called now
	Stock               wasm.StockStats
}

// Stats reads the counters.
func (f *Filter) Stats() Stats {
	s := Stats{
		Requests: f.o.Counters.Calls.Value(phaseRequest), Responses: f.o.Counters.Calls.Value(phaseResponse),
		Errors: map[string]uint64{}, LinesDropped: f.journal.lost.Load(), MemoryHigh: f.memory.Load(),
		Stopped: f.breaker.open(), Stock: f.stock.Stats(),
	}
	for i, kind := range Kinds {
		if n := f.o.Counters.Errors.Value(i); n > 0 {
			s.Errors[kind] = n
		}
	}
	return s
}

// Instances is the number of instances that are alive.
func (f *Filter) Instances() int64 { return f.stock.Stats().Live }

// trapped counts a call that did not return.
func (f *Filter) trapped(err error) {
	c := &f.o.Counters
	kind := errorTrap
	switch {
	case errors.Is(err, wasm.ErrBudget):
		kind = errorBudget
		c.BudgetStops.Inc()
	case errors.Is(err, wasm.ErrDepth):
		kind = errorDepth
	case errors.Is(err, wasm.ErrMemory):
		kind = errorMemory
	}
	c.Errors.Inc(kind)
	c.Traps.Inc()
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

// defaults of Options.
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
