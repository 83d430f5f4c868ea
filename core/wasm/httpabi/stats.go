package httpabi

import (
	"time"

	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
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
		Errors: f.failures.Counts(), LinesDropped: f.journal.Lost(), MemoryHigh: f.failures.High(),
		Stopped: f.breaker.Open(), Stock: f.stock.Stats(),
	}
	return s
}

// Instances implements filter.Measured.
func (f *Filter) Instances() float64 { return float64(f.stock.Stats().Live) }

// Memory implements filter.Measured. It is a bound from above: as if all instances were as large as the largest has been.
func (f *Filter) Memory() float64 { return f.Instances() * float64(f.failures.High()) }

// Stopped implements filter.Measured.
func (f *Filter) Stopped() float64 { return f.breaker.Gauge() }

// Status is all of filter.Status that the filter itself knows: where its module came from and where it is used does its
// owner. Any goroutine may call.
func (f *Filter) Status() filter.Status {
	s := f.Stats()
	st := filter.Status{
		Name: f.o.Name, ABI: "http-wasm", Config: filter.ConfigMark(string(f.o.Config)), State: filter.StateServing,
		Instances: filter.Instances{
			Live: s.Stock.Live, Max: int64(f.o.Instances), Made: s.Stock.Made,
			Discarded: s.Stock.Discards, Recycled: s.Stock.Recycled, FailedStarts: s.Stock.Fails,
		},
		Use:    &filter.Use{InUse: s.Stock.InUse, Waited: s.Stock.Waits, TimedOut: s.Stock.Timeouts},
		Memory: filter.Memory{Now: int64(f.Memory()), High: s.MemoryHigh, Cap: int64(f.o.Memory)},
		Budget: filter.Budget{Call: f.o.CPU, Stream: f.o.CPUTotal, Start: f.o.Start},
		Phases: f.Snapshot(), Failures: s.Errors, Dropped: s.LinesDropped, Last: f.failures.Last(),
		Links: abi.Links(f.module.Links()),
	}
	if left, stopped := f.breaker.Stopped(); stopped {
		until := time.Now().Add(left)
		st.State, st.Until = filter.StateStopped, &until
		if st.Last != nil {
			st.Reason = st.Last.Error
		}
	}
	return st
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
