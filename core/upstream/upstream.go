// Package upstream carries exchanges to the servers behind weir: it picks an endpoint, lends a connection, sends the
// request, streams its body and reads the answer's head. Why it is no fasthttp.HostClient: see RATIONALE.md.
package upstream

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

// Options name one upstream.
type Options struct {
	Name      string
	Endpoints []EndpointOptions

	// File lists endpoints, besides Endpoints, and is read again when it changes; "" is none. It needs Parse.
	File string
	// Parse reads a list of endpoints in the form that it has in the configuration: the content of File, or what the
	// operator sets. name is for its errors. ParseKey tells what it adds, such as TLS, apart over reloads. nil: the
	// endpoints are Endpoints and can't be set.
	Parse    func(name string, doc []byte) ([]EndpointOptions, error)
	ParseKey string

	Resolve        time.Duration // how often names are resolved anew; 30 s
	Balance        Balance
	Hash           HashOn        // of BalanceHash
	SlowStart      time.Duration // over which a new or recovered endpoint gets its full share; 0: at once
	Health         *HealthOptions
	Ejection       *EjectionOptions
	PanicThreshold float64 // fraction of the endpoints that must be usable, else all are used; 0: never

	Transport   Transport
	Breaker     *BreakerOptions // nil: no breaker
	MaxInFlight int64           // 0: no limit
	Queue       QueueOptions    // of requests above MaxInFlight
	Retry       *RetryOptions   // nil: no retries
}

// Upstream is a set of endpoints that one plan names. Safe for concurrent use until Close; what was picked before is used
// and given back after it, too.
type Upstream struct {
	Name string

	registry *Registry
	group    *group
	flight   *flight
	max      int64
	queue    QueueOptions
	retry    *RetryOptions
	limits   transportLimits
}

var (
	errOpen     = fault.New(fault.BreakerOpen, "every endpoint's breaker is open")
	errUnknown  = fault.New(fault.NoEndpoint, "no endpoint is known yet: names have not been resolved")
	errUnusable = fault.New(fault.NoEndpoint, "no endpoint is healthy")
)

// Open builds an upstream on what the registry still holds of it. It waits for nothing: until the names among the endpoints
// have been resolved there may be none; see [Upstream.Settle]. The caller closes it.
func Open(r *Registry, o Options) (*Upstream, error) {
	if len(o.Endpoints) == 0 && o.File == "" {
		return nil, errors.New("no endpoints")
	}
	if len(o.Endpoints) > maxEndpoints {
		return nil, fmt.Errorf("%d endpoints; at most %d are possible", len(o.Endpoints), maxEndpoints)
	}
	o.Transport = o.Transport.withDefaults()
	g, err := r.open(o.withDefaults())
	if err != nil {
		return nil, err
	}
	return &Upstream{
		Name: o.Name, registry: r, group: g, flight: r.flight(o.Name), max: o.MaxInFlight, limits: limitsOf(o.Transport),
		queue: o.Queue, retry: o.Retry,
	}, nil
}

// Close lets go of the endpoints. Calls under way end on their own.
func (u *Upstream) Close() error {
	u.registry.leave(u.group)
	u.registry.land(u.Name, u.flight)
	return nil
}

// Settle waits until every name has been asked for once, whatever came of it, but no longer than most.
func (u *Upstream) Settle(most time.Duration) {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-u.group.settled:
	case <-t.C:
	}
}

// Ready reports whether u has had an endpoint that requests can be sent to, and that has passed a health check if it is
// checked. It stays ready when it loses all of them: that is no reason to take the whole node out of service.
func (u *Upstream) Ready() bool { return u.group.ready.Load() }

// Endpoints lists the endpoints of the moment, usable or not: in the order of the configuration, and of addresses where
// one name has several.
func (u *Upstream) Endpoints() []*Endpoint { return u.group.set.Load().all }

// Panics reports whether so few endpoints are usable that health and ejection are not looked at.
func (u *Upstream) Panics() bool { return u.group.set.Load().panics }

// Retries counts the retries that were made to upstreams of this name.
func (u *Upstream) Retries() int64 { return u.flight.retried.Load() }

// InFlight is how many requests to upstreams of this name are under way.
func (u *Upstream) InFlight() int { return int(u.flight.n.Load()) }

// Waiting is how many are in the queue.
func (u *Upstream) Waiting() int { return int(u.flight.waiting.Load()) }

// enter takes a place in flight for x, or waits for one. That all are taken is no news where none could be used: it says
// that then, and waits for nothing.
func (u *Upstream) enter(x *exchange.Exchange) error {
	if u.max > 0 && u.flight.n.Load() >= u.max {
		if err := u.shut(); err != nil {
			return err
		}
	}
	err := u.flight.enter(x, u.max, &u.queue)
	if err == errBusy {
		if shut := u.shut(); shut != nil {
			return shut
		}
	}
	return err
}

// shut says why a pick would fail; nil if it may succeed.
func (u *Upstream) shut() error {
	s := u.group.set.Load()
	if len(s.turns) == 0 {
		return s.nobody()
	}
	for i := range s.entries {
		if c := &s.entries[i]; c.accept != 0 && c.e.ready() {
			return nil
		}
	}
	for _, e := range s.standby {
		if e.ready() {
			return nil
		}
	}
	return errOpen
}

// pick chooses the endpoint for one try at x. not is the endpoint that has just failed it, nil at the first try: it is taken
// again only if no other can be. Every pick that succeeds is followed by exactly one done. It takes no lock and
// allocates nothing.
func (u *Upstream) pick(x *exchange.Exchange, not *Endpoint) (*Endpoint, Ticket, error) {
	g := u.group
	s := g.set.Load()
	if len(s.turns) == 0 {
		return nil, Ticket{}, s.nobody()
	}
	e, t := s.pick(g, x, not)
	if e == nil && not != nil {
		e, t = s.pick(g, x, nil)
	}
	if e == nil {
		return nil, Ticket{}, errOpen
	}
	return e, t, nil
}

// done ends the try that e was picked for, however it went: how is what the endpoint's breaker learns of it, kind what went
// wrong. One that was not sent is neutral and of no kind.
func (u *Upstream) done(e *Endpoint, t Ticket, how Outcome, kind fault.Kind, now int64) {
	g := u.group
	e.inFlight.Add(-1)
	if how != OutcomeNeutral || kind != fault.None {
		e.meters.Requests.Inc()
	}
	if kind.Source() == fault.Upstream {
		e.meters.Errors.Inc(int(kind))
	}
	switch how {
	case OutcomeFailure:
		e.failures.Add(1)
		if kind != fault.None {
			e.lastKind.Store(uint32(kind))
			e.broken.Add(1)
		}
		n := e.streak.Add(1)
		if o := g.o.Ejection; o != nil && n%int32(o.ConsecutiveFailures) == 0 {
			g.kick()
		}
	case OutcomeSuccess:
		if e.streak.Load() != 0 {
			e.streak.Store(0)
		}
	}
	if e.Breaker == nil {
		return
	}
	e.Breaker.Done(t, how, now)
	if t.probe && g.o.SlowStart > 0 && e.Breaker.State() == BreakerClosed {
		e.recovered.Store(true)
		g.kick()
	}
}
