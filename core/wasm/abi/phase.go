package abi

import (
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/metric"
)

// Phase is why a guest is called. The first ones are Proxy-Wasm's, the last two http-wasm's.
type Phase uint8

const (
	PhaseStart Phase = iota // the start section, _initialize or _start, on_vm_start
	PhaseConfigure
	PhaseRequestHeaders
	PhaseRequestBody
	PhaseRequestTrailers
	PhaseResponseHeaders
	PhaseResponseBody
	PhaseResponseTrailers
	PhaseTick
	PhaseCallResponse // HTTP and gRPC
	PhaseQueue
	PhaseDone // done, log and delete
	PhaseHandleRequest
	PhaseHandleResponse
	phases
)

// phaseNames are the labels and what status pages say.
var phaseNames = [phases]string{
	"start", "configure", "request_headers", "request_body", "request_trailers", "response_headers", "response_body",
	"response_trailers", "tick", "call_response", "queue", "done", "handle_request", "handle_response",
}

func (p Phase) String() string { return phaseNames[p] }

// Phases knows what the calls of one filter have cost, phase by phase, over all of its instances. What never happens takes
// no memory. Any goroutine may use it; the zero value is ready. It is a filter.Timed.
type Phases struct {
	spreads [phases]atomic.Pointer[metric.Spread]
}

// Observe counts one call and the CPU time it took: the difference of two readings of wasm.Instance.CPU, which reads no
// clock.
func (p *Phases) Observe(ph Phase, cpu time.Duration) {
	s := p.spreads[ph].Load()
	if s == nil {
		s = p.first(ph)
	}
	s.Observe(cpu)
}

// first makes the spread of a phase that has not been before.
func (p *Phases) first(ph Phase) *metric.Spread {
	p.spreads[ph].CompareAndSwap(nil, metric.NewSpread())
	return p.spreads[ph].Load()
}

// PhaseNames implements filter.Timed.
func (p *Phases) PhaseNames() []string { return phaseNames[:] }

// Spread implements filter.Timed.
func (p *Phases) Spread(i int) *metric.Spread { return p.spreads[i].Load() }

// Snapshot is what has been counted so far of the phases that have been.
func (p *Phases) Snapshot() []filter.Phase {
	list := []filter.Phase{}
	for i := range p.spreads {
		d := p.spreads[i].Load().Read()
		if n := d.Count(); n > 0 {
			list = append(list, filter.Phase{Phase: phaseNames[i], Calls: n, P50: d.Quantile(.5), P99: d.Quantile(.99), CPU: d.Sum()})
		}
	}
	return list
}
