package upstream

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/fault"
)

// Registry keeps what must outlive a plan: endpoints with their connections and breakers, what is known of their health,
// the addresses of names, what the operator has set, and the count of requests in flight. They are found again by what
// they mean, and dropped when no plan names them any more.
type Registry struct {
	o       RegistryOptions
	opening sync.Mutex // one group is made, or set by the operator, at a time; taken before mu

	mu        sync.Mutex
	endpoints map[string]*Endpoint
	flights   map[string]*flight
	groups    map[string]*group   // by key
	newest    map[string]*group   // by the upstream's name
	overrides map[string][]Target // by the upstream's name
	stop      chan struct{}
	done      chan struct{}
}

// RegistryOptions say who hears of endpoints, and how they are looked for. The zero value is a registry on its own.
type RegistryOptions struct {
	// Breaker hears within a second of every breaker that has changed its state; it is called by one goroutine.
	Breaker func(upstream, endpoint string, s BreakerState)
	// Event hears what happens to endpoints besides. It is called under a lock and must not call the registry.
	Event func(Event)
	// Meters gives what counts for a new endpoint, and what to call when the endpoint is gone. It must not call the registry.
	Meters func(e *Endpoint) (m Meters, gone func())

	Resolver *net.Resolver // nil is the system's
	FilePoll time.Duration // how often files of endpoints are read; 1 s
	Offline  bool          // resolve nothing and check nothing: for looking at a configuration
}

// Event is something that happened to the endpoints of an upstream.
type Event struct {
	Upstream, Endpoint string // Endpoint is "" if it is about several
	Text               string
	Err                error // why; or nil
	Bad                bool  // somebody should look at it
}

// NewRegistry starts an empty one; Close ends its goroutine.
func NewRegistry(o RegistryOptions) *Registry {
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.FilePoll <= 0 {
		o.FilePoll = time.Second
	}
	r := &Registry{
		o:         o,
		endpoints: map[string]*Endpoint{}, flights: map[string]*flight{},
		groups: map[string]*group{}, newest: map[string]*group{}, overrides: map[string][]Target{},
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	go r.sweep()
	return r
}

func (r *Registry) event(e Event) {
	if r.o.Event != nil {
		r.o.Event(e)
	}
}

// Close closes all idle connections and ends the registry. All upstreams have been closed.
func (r *Registry) Close() {
	close(r.stop)
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.endpoints {
		e.close()
	}
}

// Each calls f for every endpoint that a plan names, with its upstream's name.
func (r *Registry) Each(f func(upstream string, e *Endpoint)) {
	r.mu.Lock()
	all := make([]*Endpoint, 0, len(r.endpoints))
	for _, e := range r.endpoints {
		all = append(all, e)
	}
	r.mu.Unlock()
	for _, e := range all {
		f(e.Upstream, e)
	}
}

// sweep closes idle connections in time, also on endpoints that nobody asks.
func (r *Registry) sweep() {
	defer close(r.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
			now := clock.Nano()
			r.Each(func(_ string, e *Endpoint) {
				e.sweep(now)
				r.watch(e, now)
			})
		}
	}
}

// tellEvery is how often it is told that requests to an endpoint fail.
const tellEvery = 10 * time.Second

func (r *Registry) watch(e *Endpoint, now int64) {
	if n := e.broken.Load(); n != e.toldBroken && (e.toldAt == 0 || now-e.toldAt >= int64(tellEvery)) {
		r.event(Event{
			Upstream: e.Upstream, Endpoint: e.Name, Bad: true,
			Text: fmt.Sprintf("%d requests failed", n-e.toldBroken), Err: errors.New(fault.Kind(e.lastKind.Load()).String()),
		})
		e.toldBroken, e.toldAt = n, now
	}
	if e.Breaker == nil || r.o.Breaker == nil {
		return
	}
	if s := e.Breaker.State(); s != e.told {
		e.told = s
		r.o.Breaker(e.Upstream, e.Name, s)
	}
}

// endpointKey is what an endpoint is found again by.
func endpointKey(name string, o *EndpointOptions, t *Transport, b *BreakerOptions) string {
	policy := "none"
	if b != nil {
		policy = fmt.Sprintf("%+v", b.WithDefaults())
	}
	return fmt.Sprintf("%s|%s|%s|%s|%s|%+v|%s", name, o.label, o.Address, o.Host, o.TLSKey, *t, policy)
}

// endpoint gives the endpoint that key, which is o's, stands for. The caller drops it.
func (r *Registry) endpoint(name, key string, o EndpointOptions, t Transport, b *BreakerOptions) *Endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.endpoints[key]
	if e == nil {
		e = &Endpoint{Name: o.Address, Upstream: name, Host: []byte(o.Host), options: o, transport: t, key: key}
		if o.label != "" {
			e.Name = o.label
		}
		if b != nil {
			e.Breaker = NewBreaker(*b)
		}
		if r.o.Meters != nil {
			e.meters, e.gone = r.o.Meters(e)
		}
		r.endpoints[key] = e
	}
	e.refs++
	return e
}

func (r *Registry) drop(e *Endpoint) {
	r.mu.Lock()
	e.refs--
	last := e.refs == 0
	if last {
		delete(r.endpoints, e.key)
	}
	r.mu.Unlock()
	if !last {
		return
	}
	e.close()
	if e.gone != nil {
		e.gone()
	}
}

func (r *Registry) flight(name string) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[name]
	if f == nil {
		f = &flight{}
		r.flights[name] = f
	}
	f.refs++
	return f
}

func (r *Registry) land(name string, f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.refs--; f.refs == 0 {
		delete(r.flights, name)
	}
}
