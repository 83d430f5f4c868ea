package upstream

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/clock"
)

// group is what the endpoints of one upstream are at the moment, and what is done to know it: names are resolved, a file is
// read, endpoints are checked, ejected and taken back. Plans whose configuration of the upstream is the same share one. A
// group in which nothing can change by itself has no goroutine.
type group struct {
	r    *Registry
	o    Options
	key  string
	refs int // guarded by the Registry

	set     atomic.Pointer[set]
	next    atomic.Uint32 // turn
	ready   atomic.Bool
	wake    chan struct{}
	settled chan struct{} // closed when every name has been asked for
	ctx     context.Context
	cancel  func()
	workers sync.WaitGroup

	mu       sync.Mutex // guards what follows
	closed   bool
	running  bool
	waiting  int // names that have not been asked for yet
	file     *watch
	override []*target // nil: the configuration's
	targets  []*target // in effect
	members  []*member // in the order of targets
	byKey    map[string]*member
	ramp     int64 // when weights change next; 0: they do not
	checking int   // health checks under way
	looking  int   // lookups under way
	table    *table
}

// member is an endpoint of one group.
type member struct {
	e        *Endpoint
	t        *target
	weight   int64
	priority uint16
	since    int64 // of its slow start; 0: it has its full share
	eject    ejection
	health   health
}

// usable reports whether m is healthy and not ejected, as far as is known.
func (m *member) usable() bool {
	return m.eject.until == 0 && m.health.verdict != unhealthy && !m.health.waits
}

// maxEndpoints bounds the endpoints of an upstream, and with them its metrics: what a name or file has beyond is ignored.
const maxEndpoints = 1000

func (o Options) withDefaults() Options {
	if o.Resolve <= 0 {
		o.Resolve = 30 * time.Second
	}
	if o.Health != nil {
		h := o.Health.withDefaults()
		o.Health = &h
	}
	if o.Ejection != nil {
		e := o.Ejection.withDefaults()
		o.Ejection = &e
	}
	o.Endpoints = slices.Clone(o.Endpoints)
	for i := range o.Endpoints {
		o.Endpoints[i].complete()
	}
	return o
}

// groupKey is what a group is found again by: all that it does.
func (o *Options) groupKey() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s|%s|%s|%v|%d|%v|%v|%v|%+v", o.Name, o.File, o.ParseKey, o.Resolve, o.Balance, o.Hash, o.SlowStart, o.PanicThreshold, o.Transport)
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		fmt.Fprintf(&b, "|%s %s %t %s %d %s", e.URL, e.Address, e.SRV, e.Host, e.Weight, e.TLSKey)
	}
	if o.Health != nil {
		fmt.Fprintf(&b, "|health %+v", *o.Health)
	}
	if o.Ejection != nil {
		fmt.Fprintf(&b, "|ejection %+v", *o.Ejection)
	}
	if o.Breaker != nil {
		fmt.Fprintf(&b, "|breaker %+v", o.Breaker.WithDefaults())
	}
	return b.String()
}

// open gives the group of o, which leave gives back: the one there is, or a new one that begins with what is known.
func (r *Registry) open(o Options) (*group, error) {
	key := o.groupKey()
	r.opening.Lock()
	defer r.opening.Unlock()
	r.mu.Lock()
	g, before, override := r.groups[key], r.newest[o.Name], r.overrides[o.Name]
	if g != nil {
		g.refs++
		r.newest[o.Name] = g
	}
	r.mu.Unlock()
	if g != nil {
		return g, nil
	}
	g, err := newGroup(r, o, key, before, override)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	g.refs = 1
	r.groups[key], r.newest[o.Name] = g, g
	return g, nil
}

// leave gives a group back; the last one ends it. What the operator has set goes with the upstream's last group.
func (r *Registry) leave(g *group) {
	r.opening.Lock()
	r.mu.Lock()
	g.refs--
	last := g.refs == 0
	if last {
		delete(r.groups, g.key)
		if r.newest[g.o.Name] == g {
			delete(r.newest, g.o.Name)
			for other := range maps.Values(r.groups) {
				if other.o.Name == g.o.Name {
					r.newest[g.o.Name] = other
				}
			}
		}
		if r.newest[g.o.Name] == nil {
			delete(r.overrides, g.o.Name)
		}
	}
	r.mu.Unlock()
	r.opening.Unlock()
	if last {
		g.close()
	}
}

// newGroup makes a group that knows what before, the last one of that name or nil, has found out.
func newGroup(r *Registry, o Options, key string, before *group, override []Target) (*group, error) {
	g := &group{r: r, o: o, key: key, wake: make(chan struct{}, 1), settled: make(chan struct{}), byKey: map[string]*member{}}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	if before != nil {
		before.mu.Lock()
		defer before.mu.Unlock()
	}
	if o.File != "" {
		if err := g.openFile(before); err != nil {
			g.cancel()
			return nil, err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if override != nil {
		if list, err := parseTargets(&o, override); err != nil {
			g.tell("", "the endpoints set by the operator do not fit the new configuration, which is used instead", err, true)
		} else {
			g.override = list
		}
	}
	g.aim(before)
	for _, t := range g.targets {
		if t.named && !t.asked {
			g.waiting++
		}
	}
	if g.waiting == 0 || r.o.Offline {
		close(g.settled)
	}
	g.change(clock.Nano(), before)
	return g, nil
}

func (g *group) close() {
	g.mu.Lock()
	g.closed = true
	members := g.members
	g.members, g.byKey = nil, nil
	g.mu.Unlock()
	g.cancel()
	g.workers.Wait()
	for _, m := range members {
		g.r.drop(m.e)
	}
}

// change brings members and set in line with what is known by now. g.mu is held.
func (g *group) change(now int64, before *group) {
	gone := g.compose(now, before)
	g.returnEjected(now)
	g.publish(now)
	for _, e := range gone {
		g.r.drop(e)
	}
	if !g.running && !g.closed && !g.r.o.Offline && g.moves() {
		g.running = true
		g.workers.Go(g.run)
	}
	g.kick()
}

// moves reports whether something can change by itself.
func (g *group) moves() bool {
	return g.o.Health != nil || g.o.Ejection != nil || g.o.SlowStart > 0 || g.file != nil ||
		slices.ContainsFunc(g.targets, func(t *target) bool { return t.named })
}

// kick makes run look at once. It never waits.
func (g *group) kick() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run does what is due until the group is closed.
func (g *group) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-g.wake:
		case <-timer.C:
		}
		now := clock.Nano()
		if next := g.step(now); next != never {
			timer.Reset(time.Duration(next - now))
		}
	}
}

const never = math.MaxInt64

// step does what is due at now and says when something is again. What may take time is done by goroutines that come back
// with what they have found.
func (g *group) step(now int64) (next int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return never
	}
	changed := g.returnEjected(now)
	changed = g.ejectFailing(now) || changed
	changed = g.recover(now) || changed
	if changed || g.ramp != 0 && now >= g.ramp {
		g.publish(now)
	}
	if !g.r.o.Offline {
		g.startLookups(now)
		g.startReading(now)
		g.startChecks(now)
	}
	return g.nextDue()
}

// recover starts endpoints slowly whose breaker has closed again.
func (g *group) recover(now int64) (changed bool) {
	for _, m := range g.members {
		if m.e.recovered.Load() && m.e.recovered.Swap(false) {
			m.since, changed = now, true
		}
	}
	return changed
}

func (g *group) nextDue() int64 {
	next := int64(never)
	at := func(due int64) { next = min(next, due) }
	if g.ramp != 0 {
		at(g.ramp)
	}
	if f := g.file; f != nil && !f.busy {
		at(f.due)
	}
	for _, t := range g.targets {
		if t.named && !t.busy && g.looking < maxLookups {
			at(t.due)
		}
	}
	for _, m := range g.members {
		if m.eject.until != 0 {
			at(m.eject.until)
		}
		if g.o.Health != nil && !m.health.busy && g.checking < maxChecks {
			at(m.health.due)
		}
	}
	return next
}

// tell reports an event. g.mu is held, or g is not in use yet.
func (g *group) tell(endpoint, text string, err error, bad bool) {
	g.r.event(Event{Upstream: g.o.Name, Endpoint: endpoint, Text: text, Err: err, Bad: bad})
}

// jitter is d, a fifth more or less, so that what was started together does not go on together.
func jitter(d time.Duration) int64 {
	return int64(d) + rand.Int64N(max(int64(d)*2/5, 1)) - int64(d)/5
}
