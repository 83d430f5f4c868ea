package upstream

import (
	"fmt"
	"sync"
	"time"

	"github.com/weirproxy/weir/core/clock"
)

// Registry keeps what must outlive a plan: endpoints with their connections and breakers, and the count of requests in
// flight. They are found again by what they mean, and dropped when no plan names them any more.
type Registry struct {
	mu        sync.Mutex
	endpoints map[string]*Endpoint
	flights   map[string]*flight
	tell      func(upstream, endpoint string, s BreakerState)
	stop      chan struct{}
	done      chan struct{}
}

// NewRegistry starts an empty one; Close ends its goroutine. tell, if not nil, hears within a second of every breaker that
// has changed its state; it is called by that goroutine.
func NewRegistry(tell func(upstream, endpoint string, s BreakerState)) *Registry {
	r := &Registry{
		tell:      tell,
		endpoints: map[string]*Endpoint{}, flights: map[string]*flight{},
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	go r.sweep()
	return r
}

// Close closes all idle connections and ends the registry.
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
		f(e.upstream, e)
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
				r.watch(e)
			})
		}
	}
}

func (r *Registry) watch(e *Endpoint) {
	if e.Breaker == nil || r.tell == nil {
		return
	}
	if s := e.Breaker.State(); s != e.told {
		e.told = s
		r.tell(e.upstream, e.Name, s)
	}
}

func (r *Registry) endpoint(name string, o EndpointOptions, t Transport, b *BreakerOptions) *Endpoint {
	policy := "none"
	if b != nil {
		policy = fmt.Sprintf("%+v", b.WithDefaults())
	}
	key := fmt.Sprintf("%s|%s|%s|%s|%+v|%s", name, o.Address, o.Host, o.TLSKey, t, policy)
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.endpoints[key]
	if e == nil {
		e = &Endpoint{Name: o.Address, Host: []byte(o.Host), options: o, transport: t, key: key, upstream: name}
		if b != nil {
			e.Breaker = NewBreaker(*b)
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
	if last {
		e.close()
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
