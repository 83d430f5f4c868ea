package observe

import (
	"slices"
	"sync"

	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/metric"
)

// Lease is what one plan (or whatever else comes and goes) counts. Series that several leases name are shared, so that a
// reload loses no count; Close drops those that no other lease names. What it gave may be used after Close: it counts on
// unseen. Any goroutine may use it.
type Lease struct {
	m    *Metrics
	mu   sync.Mutex
	held []interface{ Release() }
}

// Lease makes an empty lease.
func (m *Metrics) Lease() *Lease { return &Lease{m: m} }

// Route gives what counts requests of a route. Requests that found none are counted under NoRoute.
func (l *Lease) Route(name string) *RouteMetrics {
	return acquire(l, &l.m.routes, name, func() *RouteMetrics { return newRouteMetrics(l.m, name) })
}

// NoRoute is the route label of requests that found no route or were refused before one was looked for.
const NoRoute = "none"

// Rule gives the counter of requests that a limit refused.
func (l *Lease) Rule(route, rule string) *metric.Counter {
	return hold(l, l.m.limited.Acquire(route, rule))
}

// Mirror gives what counts the copies of a route's requests, at the index of what became of them.
func (l *Lease) Mirror(route string, outcomes []string) *metric.Indexed {
	return acquire(l, &l.m.copies, route, func() *metric.Indexed {
		return metric.NewIndexed(func(i int) *metric.Counter { return l.m.mirrored.Acquire(route, word(outcomes, i)) })
	})
}

// EndpointMetrics counts what is sent to one endpoint of an upstream. Errors are counted at their fault.Kind.
type EndpointMetrics struct {
	Requests *metric.Counter
	Errors   *metric.Indexed
}

// Endpoint gives what counts for an endpoint. breaker tells its circuit breaker's state: 0 closed, 1 half-open, 2 open;
// usable whether it is healthy and not ejected: 1, or 0. Either may be nil.
func (l *Lease) Endpoint(upstream, endpoint string, breaker, usable func() float64) *EndpointMetrics {
	if breaker != nil {
		hold(l, l.m.breaker.Acquire(breaker, upstream, endpoint))
	}
	if usable != nil {
		hold(l, l.m.usable.Acquire(usable, upstream, endpoint))
	}
	return acquire(l, &l.m.endpoints, upstream+"\x00"+endpoint, func() *EndpointMetrics {
		return &EndpointMetrics{
			Requests: l.m.tries.Acquire(upstream, endpoint),
			Errors: metric.NewIndexed(func(i int) *metric.Counter {
				return l.m.tryErrors.Acquire(upstream, endpoint, fault.Kind(i).String())
			}),
		}
	})
}

// UpstreamOptions tell what there is to say of an upstream as a whole; none is nil.
type UpstreamOptions struct {
	Panics            func() float64 // 1 if so few endpoints are usable that all are used, or 0
	InFlight, Waiting func() float64 // requests that are with it, and those in its queue
	Retries           func() float64 // so far
}

// Upstream shows what o tells of an upstream.
func (l *Lease) Upstream(name string, o UpstreamOptions) {
	hold(l, l.m.panics.Acquire(o.Panics, name))
	hold(l, l.m.inFlight.Acquire(o.InFlight, name))
	hold(l, l.m.waiting.Acquire(o.Waiting, name))
	hold(l, l.m.retries.Acquire(o.Retries, name))
}

// Release is for the lease.
func (e *EndpointMetrics) Release() {
	e.Requests.Release()
	e.Errors.Release()
}

// FilterMetrics counts what one filter does. Calls are counted at the index of their phase, Errors at that of their kind, in
// the lists that Filter was given.
type FilterMetrics struct {
	Calls, Errors      *metric.Indexed
	Traps, BudgetStops *metric.Counter
}

// FilterOptions names what FilterMetrics counts by index, and tells gauges; nil ones are left out.
type FilterOptions struct {
	Phases, Kinds     []string // at most metric.MaxIndex each
	Instances, Memory func() float64
	Stopped           func() float64 // 1: it is not called for a while

	// CPU is what the calls of a phase of Calls have taken, nil as long as there were none.
	Calls []string
	CPU   func(call int) *metric.Spread
}

// Filter gives what counts for a filter. Leases that name one filter give the same lists.
func (l *Lease) Filter(name string, o FilterOptions) *FilterMetrics {
	if o.Instances != nil {
		hold(l, l.m.instances.Acquire(o.Instances, name))
	}
	if o.Memory != nil {
		hold(l, l.m.memory.Acquire(o.Memory, name))
	}
	if o.Stopped != nil {
		hold(l, l.m.stopped.Acquire(o.Stopped, name))
	}
	for i, call := range o.Calls {
		hold(l, l.m.filterCPU.Acquire(func() *metric.Spread { return o.CPU(i) }, name, call))
	}
	return acquire(l, &l.m.filtered, name, func() *FilterMetrics {
		return &FilterMetrics{
			Calls:       metric.NewIndexed(func(i int) *metric.Counter { return l.m.calls.Acquire(name, word(o.Phases, i)) }),
			Errors:      metric.NewIndexed(func(i int) *metric.Counter { return l.m.filterErrors.Acquire(name, word(o.Kinds, i)) }),
			Traps:       l.m.traps.Acquire(name),
			BudgetStops: l.m.stops.Acquire(name),
		}
	})
}

// Release is for the lease.
func (f *FilterMetrics) Release() {
	f.Calls.Release()
	f.Errors.Release()
	f.Traps.Release()
	f.BudgetStops.Release()
}

func word(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "other"
}

// Connections makes count the answer for a listener's connections in a state, such as active and idle.
func (l *Lease) Connections(listener, state string, count func() float64) {
	hold(l, l.m.connections.Acquire(count, listener, state))
}

// Log makes w's dropped lines known under a log's name: access, audit, process.
func (l *Lease) Log(name string, w *Writer) {
	hold(l, l.m.dropped.Acquire(func() float64 { return float64(w.Dropped()) }, name))
}

// Close gives everything back. A second Close does nothing.
func (l *Lease) Close() {
	l.mu.Lock()
	held := l.held
	l.held = nil
	l.mu.Unlock()
	for _, h := range slices.Backward(held) {
		h.Release()
	}
}

func hold[T interface{ Release() }](l *Lease, v T) T {
	l.mu.Lock()
	l.held = append(l.held, v)
	l.mu.Unlock()
	return v
}

// shelf keeps what several leases share and counts who holds it. The series beneath are counted too, but not all of
// them exist from the start: without the shelf, a new plan's handle would not yet hold those that only the old one has
// touched, and they would begin again at zero.
type shelf map[string]*shared

type shared struct {
	value interface{ Release() }
	refs  int
}

func acquire[T interface{ Release() }](l *Lease, s *shelf, key string, build func() T) T {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if *s == nil {
		*s = shelf{}
	}
	e := (*s)[key]
	if e == nil {
		e = &shared{value: build()}
		(*s)[key] = e
	}
	e.refs++
	hold(l, release(func() {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		if e.refs--; e.refs == 0 {
			delete(*s, key)
			e.value.Release()
		}
	}))
	return e.value.(T)
}

type release func()

func (r release) Release() { r() }
