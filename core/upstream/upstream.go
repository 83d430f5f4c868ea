// Package upstream carries exchanges to the servers behind weir: it picks an endpoint, lends a connection, sends the
// request, streams its body and reads the answer's head. Why it is no fasthttp.HostClient: see RATIONALE.md.
package upstream

import (
	"errors"
	"sync/atomic"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

// Options name one upstream.
type Options struct {
	Name        string
	Endpoints   []EndpointOptions
	Transport   Transport
	Breaker     *BreakerOptions // nil: no breaker
	MaxInFlight int64           // 0: no limit
	Queue       QueueOptions    // of requests above MaxInFlight
	Retry       *RetryOptions   // nil: no retries
}

// Upstream is a set of endpoints that one plan names. Safe for concurrent use until Close.
type Upstream struct {
	Name string

	registry  *Registry
	endpoints []*Endpoint
	turns     []uint16 // indices into endpoints, each as often as its weight, spread evenly
	next      atomic.Uint32
	flight    *flight
	max       int64
	queue     QueueOptions
	retry     *RetryOptions
	limits    transportLimits
}

var errOpen = fault.New(fault.BreakerOpen, "every endpoint's breaker is open")

// Open builds an upstream on what the registry still holds of it. The caller closes it.
func Open(r *Registry, o Options) (*Upstream, error) {
	if len(o.Endpoints) == 0 {
		return nil, errors.New("no endpoints")
	}
	t := o.Transport.withDefaults()
	u := &Upstream{Name: o.Name, registry: r, flight: r.flight(o.Name), max: o.MaxInFlight, limits: limitsOf(t), queue: o.Queue, retry: o.Retry}
	weights := make([]int, len(o.Endpoints))
	for i, e := range o.Endpoints {
		u.endpoints = append(u.endpoints, r.endpoint(o.Name, e, t, o.Breaker))
		weights[i] = max(e.Weight, 1)
	}
	u.turns = spread(weights)
	return u, nil
}

// Close lets go of the endpoints. Calls under way end on their own.
func (u *Upstream) Close() error {
	for _, e := range u.endpoints {
		u.registry.drop(e)
	}
	u.registry.land(u.Name, u.flight)
	return nil
}

// Endpoints lists the endpoints in the order of the configuration.
func (u *Upstream) Endpoints() []*Endpoint { return u.endpoints }

// Retries counts the retries that were made to upstreams of this name.
func (u *Upstream) Retries() int64 { return u.flight.retried.Load() }

// InFlight is how many requests to upstreams of this name are under way.
func (u *Upstream) InFlight() int { return int(u.flight.n.Load()) }

// Waiting is how many are in the queue.
func (u *Upstream) Waiting() int { return int(u.flight.waiting.Load()) }

// pick takes the next turn's endpoint, or the first after it whose breaker lets a request through. not, if it is not nil,
// is taken only if there is no other.
func (u *Upstream) pick(x *exchange.Exchange, not *Endpoint) (*Endpoint, Ticket, error) {
	now := clock.Nano()
	next := u.next.Load()
	if not == nil { // a retry takes no turn, or the first tries of two would all go to one of two endpoints
		next = u.next.Add(1) - 1
	}
	turn := next % uint32(len(u.turns)) // as an int it would be negative where those have 32 bits
	first := int(u.turns[turn])
	last := -1
	for i := range u.endpoints {
		n := (first + i) % len(u.endpoints)
		e := u.endpoints[n]
		if e == not {
			last = n
			continue
		}
		if t, ok := e.allow(now); ok {
			x.Record.EndpointIndex = n
			return e, t, nil
		}
	}
	if last >= 0 {
		if t, ok := not.allow(now); ok {
			x.Record.EndpointIndex = last
			return not, t, nil
		}
	}
	return nil, Ticket{}, errOpen
}

// done ends the try that e was picked for: once for every pick, however it went. how is what the endpoint's breaker learns of
// it, kind what went wrong.
func (u *Upstream) done(e *Endpoint, t Ticket, how Outcome, _ fault.Kind, now int64) {
	if how == OutcomeFailure {
		e.failures.Add(1)
	}
	if e.Breaker != nil {
		e.Breaker.Done(t, how, now)
	}
}

// spread lays out turns so that endpoint i has weights[i] of them and no endpoint's turns are bunched (the smooth
// weighted order that nginx made common).
func spread(weights []int) []uint16 {
	total := 0
	for _, w := range weights {
		total += w
	}
	for total > 4096 {
		total = 0
		for i := range weights {
			weights[i] = max(weights[i]/2, 1)
			total += weights[i]
		}
	}
	current := make([]int, len(weights))
	turns := make([]uint16, 0, total)
	for range total {
		best := 0
		for i, w := range weights {
			current[i] += w
			if current[i] > current[best] {
				best = i
			}
		}
		current[best] -= total
		turns = append(turns, uint16(best))
	}
	return turns
}
