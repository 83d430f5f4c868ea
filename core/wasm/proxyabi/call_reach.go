package proxyabi

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
)

// reach is the upstreams that a plugin can ask, those of the newest plan that holds it, and what is under way to them. Its lock
// comes after a shard's.
type reach struct {
	told atomic.Int64 // when something was last complained about, by the monotonic clock

	mu      sync.Mutex
	members []*member
	came    chan struct{} // closed when a plan joins; nil: nobody waits for one
	out     map[*errand]struct{}
	closed  bool
	idle    sync.WaitGroup // until no errand is under way
}

// member is one plan of a plugin.
type member struct {
	u    filter.Upstreams
	idle sync.WaitGroup // until no errand uses u
}

// none are the upstreams of a plan that lends none.
type none struct{}

func (none) Find(string) (http2, ok bool) { return false, false }
func (none) Ask(name string, _ *exchange.Exchange) (filter.Call, error) {
	return nil, fault.Wrap(fault.NoEndpoint, fmt.Errorf("upstream %s may not be asked", name))
}

// Join lets the plugin ask the upstreams of a plan, those of the last that has joined and not left. leave cancels what was asked
// of them, and returns when they are used no more; it may be called twice. Calls that are made while the plugin is in no
// plan, as before the first, wait for one. Any goroutine may call, but none that a guest's call runs on.
func (p *Plugin) Join(u filter.Upstreams) (leave func()) {
	if u == nil {
		u = none{}
	}
	r, m := &p.reach, &member{u: u}
	r.mu.Lock()
	r.members = append(r.members, m)
	if r.came != nil {
		close(r.came)
		r.came = nil
	}
	r.mu.Unlock()
	return func() { r.leave(m) }
}

func (r *reach) leave(m *member) {
	r.mu.Lock()
	r.members = slices.DeleteFunc(r.members, func(o *member) bool { return o == m })
	for e := range r.out {
		if e.via == m {
			e.handle.Cancel(errCallLeft)
		}
	}
	r.mu.Unlock()
	m.idle.Wait()
}

// newest is the plan to ask; nil if there is none. r.mu is held.
func (r *reach) newest() *member {
	if n := len(r.members); n > 0 {
		return r.members[n-1]
	}
	return nil
}

// find looks an upstream up. known is false while there is no plan to look in.
func (r *reach) find(name string) (http2, ok, known bool) {
	r.mu.Lock()
	m := r.newest()
	r.mu.Unlock()
	if m == nil {
		return false, false, false
	}
	http2, ok = m.u.Find(name) // only looks into what the plan had when it was built
	return http2, ok, true
}

// begin notes an errand, unless the plugin has been closed.
func (r *reach) begin(e *errand) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	if r.out == nil {
		r.out = map[*errand]struct{}{}
	}
	r.out[e] = struct{}{}
	r.idle.Add(1)
	return true
}

func (r *reach) end(e *errand) {
	r.mu.Lock()
	delete(r.out, e)
	r.mu.Unlock()
	r.idle.Done()
}

// enter gives e the upstreams to ask, until part, when its time has come. It waits for a plan if there is none.
func (r *reach) enter(e *errand) (filter.Upstreams, error) {
	e.sleep(e.wait)
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if cause := e.y.Cause(); cause != nil {
			return nil, cause
		}
		if m := r.newest(); m != nil {
			m.idle.Add(1)
			e.via = m
			return m.u, nil
		}
		if r.came == nil {
			r.came = make(chan struct{})
		}
		came := r.came
		r.mu.Unlock()
		select {
		case <-came:
		case <-e.bell:
		}
		r.mu.Lock()
	}
}

// part ends what enter began.
func (r *reach) part(e *errand) {
	r.mu.Lock()
	m := e.via
	e.via = nil
	r.mu.Unlock()
	m.idle.Done()
}

// close cancels what is under way and waits for it; nothing begins any more. No shard's mutex is held.
func (r *reach) close() {
	r.mu.Lock()
	r.closed = true
	for e := range r.out {
		e.handle.Cancel(errCallRecalled)
	}
	r.mu.Unlock()
	r.idle.Wait()
}
