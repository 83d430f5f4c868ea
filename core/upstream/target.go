package upstream

import (
	"net"
	"net/netip"
	"slices"
)

// target is one item of the list of endpoints. An address is one endpoint; a name is as many as it has addresses now.
type target struct {
	o      EndpointOptions
	source Source
	named  bool      // must be resolved
	found  []address // the endpoints that it stands for; the last that were found, if it can't be resolved any more

	// Of a name.
	asked  bool // at least once, by this group or the one before
	busy   bool
	unsure bool  // it has addresses of both families, and none could be connected to
	due    int64 // when it is asked for again
	failed int   // lookups in a row that found nothing
	err    error // of the last one
}

// address is one endpoint of a target.
type address struct {
	dial     string // what is connected to
	label    string // name and address; "" if the name is an address
	host     string // of an SRV record: the name that dial is an address of
	weight   int64  // of an SRV record; 0: the target's
	priority uint16
}

// Source says where an endpoint comes from.
type Source string

// The sources of endpoints.
const (
	FromConfiguration Source = "configuration"
	FromFile          Source = "file"
	FromOperator      Source = "operator"
)

// complete fills in what follows from the rest.
func (o *EndpointOptions) complete() {
	o.Weight = max(o.Weight, 1)
	if o.URL == "" {
		scheme := "http"
		if o.TLS != nil {
			scheme = "https"
		}
		o.URL = scheme + "://" + o.Address
	}
}

func newTargets(list []EndpointOptions, s Source) []*target {
	out := make([]*target, len(list))
	for i := range list {
		t := &target{o: list[i], source: s}
		t.o.complete()
		if t.named = t.o.SRV || isName(t.o.Address); !t.named {
			t.found = []address{{dial: t.o.Address}}
		}
		out[i] = t
	}
	return out
}

// isName reports whether address must be resolved before it can be dialed.
func isName(address string) bool {
	if _, ok := cutUnix(address); ok {
		return false
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err != nil
}

// same reports whether t and o are resolved alike.
func (t *target) same(o *target) bool {
	return t.named && o.named && t.o.Address == o.o.Address && t.o.SRV == o.o.SRV
}

// endpoint gives the options of one of t's endpoints.
func (t *target) endpoint(a *address) EndpointOptions {
	o := t.o
	o.Address, o.SRV, o.label = a.dial, false, a.label
	return o
}

// aim sets g.targets to what is in effect, and keeps the addresses that g, or the group before it, knows of names. g.mu is
// held, and before's.
func (g *group) aim(before *group) {
	old := g.targets
	g.targets = g.override
	if g.override == nil {
		g.targets = newTargets(g.o.Endpoints, FromConfiguration)
		if g.file != nil {
			g.targets = append(g.targets, newTargets(g.file.list, FromFile)...)
		}
	}
	for _, t := range g.targets {
		if i := slices.IndexFunc(old, t.same); i >= 0 {
			t.learn(old[i])
			t.due = old[i].due
		} else if before != nil {
			if i := slices.IndexFunc(before.targets, t.same); i >= 0 {
				t.learn(before.targets[i])
			}
		}
	}
}

// learn gives t what k, which is resolved alike, has found.
func (t *target) learn(k *target) {
	t.found, t.asked, t.unsure, t.err = k.found, k.asked, k.unsure, k.err
}

// compose makes g.members what g.targets stand for. Endpoints that stay keep their state; the caller drops those that are
// gone once they are no longer in use. g.mu is held, and before's.
func (g *group) compose(now int64, before *group) (gone []*Endpoint) {
	first := len(g.members) == 0 && (before == nil || len(before.members) == 0)
	byKey := make(map[string]*member, len(g.byKey))
	members := make([]*member, 0, len(g.members))
	ignored := 0
	for _, t := range g.targets {
		for i := range t.found {
			a := &t.found[i]
			o := t.endpoint(a)
			key := endpointKey(g.o.Name, &o, &g.o.Transport, g.o.Breaker)
			if byKey[key] != nil {
				continue // two names, or records, that mean the same
			}
			if len(members) == maxEndpoints {
				ignored++
				continue
			}
			m := g.byKey[key]
			if m == nil {
				m = &member{e: g.r.endpoint(g.o.Name, key, o, g.o.Transport, g.o.Breaker)}
				g.welcome(m, now, before, first)
			}
			m.t, m.weight, m.priority = t, int64(t.o.Weight), a.priority
			if a.weight > 0 {
				m.weight = a.weight
			}
			byKey[key] = m
			members = append(members, m)
		}
	}
	for key, m := range g.byKey {
		if byKey[key] == nil {
			gone = append(gone, m.e)
			g.tell(m.e.Name, "endpoint removed", nil, false)
		}
	}
	if !slices.ContainsFunc(members, func(m *member) bool { return !m.health.waits }) {
		for _, m := range members { // all are new: there is none to send requests to meanwhile
			m.health.waits = false
		}
	}
	if ignored > 0 {
		g.tell("", "more endpoints than are possible; the last ones are ignored", nil, true)
	}
	g.members, g.byKey = members, byKey
	return gone
}

// welcome gives a new member the state that it has in the group before. One that joins others starts slowly, and gets
// requests only when it has passed its first check; those that a group begins with are used at once.
func (g *group) welcome(m *member, now int64, before *group, first bool) {
	m.health.due = now
	if before != nil {
		if k := before.byKey[m.e.key]; k != nil {
			m.since = k.since
			g.inheritEjection(m, k, before)
			g.inheritHealth(m, k, before)
			return
		}
	}
	if first {
		return
	}
	g.tell(m.e.Name, "endpoint added", nil, false)
	if g.o.Health != nil {
		m.health.waits = true
		return
	}
	g.startSlowly(m, now)
}

// startSlowly begins m's ramp.
func (g *group) startSlowly(m *member, now int64) {
	if g.o.SlowStart > 0 {
		m.since = now
	}
}
