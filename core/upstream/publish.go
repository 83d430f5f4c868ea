package upstream

import (
	"cmp"
	"slices"
	"time"
)

// slowFrom is the share that a slow start begins with, rampSteps in how many steps it grows to the whole.
const (
	slowFrom  = 0.1
	rampSteps = 20
)

// publish puts a new set in place, made of what is known at now. g.mu is held.
func (g *group) publish(now int64) {
	s, old := g.build(now), g.set.Load()
	g.set.Store(s)
	if old != nil && old.panics != s.panics {
		if s.panics {
			g.tell("", "too few endpoints are usable: health and ejections are ignored", nil, true)
		} else {
			g.tell("", "enough endpoints are usable again", nil, false)
		}
	}
	for _, m := range g.members {
		m.e.usable.Store(m.usable())
		if m.usable() && (g.o.Health == nil || m.health.verdict == healthy) {
			g.ready.Store(true)
		}
	}
}

func (g *group) build(now int64) *set {
	s := &set{all: make([]*Endpoint, len(g.members))}
	for i, m := range g.members {
		s.all[i] = m.e
	}
	front, later := g.tiers()
	usable := 0
	for _, m := range front {
		if m.usable() {
			usable++
		}
	}
	s.panics = len(front) > 0 && float64(usable) < g.o.PanicThreshold*float64(len(front))
	if g.o.Balance == BalanceHash {
		// Sorted, so that the table does not depend on the order in which names are resolved.
		slices.SortFunc(front, func(a, b *member) int { return cmp.Compare(a.e.Name, b.e.Name) })
	}
	g.ramp = 0
	weights := make([]int64, len(front))
	for i, m := range front {
		share := g.share(m, now)
		c := entry{e: m.e, weight: max(int64(float64(m.weight*100)*share), 1)}
		if s.panics || m.usable() {
			c.accept = max(uint32(acceptAll*share), 1)
			weights[i] = c.weight
		}
		s.entries = append(s.entries, c)
	}
	s.turns = spread(weights)
	slices.SortStableFunc(later, func(a, b *member) int { return cmp.Compare(a.priority, b.priority) })
	for _, m := range later {
		if m.usable() {
			s.standby = append(s.standby, m.e)
		}
	}
	if g.o.Balance == BalanceHash && len(front) > 0 {
		s.table = g.hashTable(front)
	}
	return s
}

// hashTable is of all of front, usable or not: one that fails must not move the keys of others.
func (g *group) hashTable(front []*member) *table {
	names, weights := make([]string, len(front)), make([]int64, len(front))
	for i, m := range front {
		names[i], weights[i] = m.e.Name, m.weight
	}
	if !g.table.is(names, weights) {
		g.table = newTable(names, weights)
	}
	return g.table
}

// share is shareAt, and notes when it will be another. g.mu is held.
func (g *group) share(m *member, now int64) float64 {
	share := g.shareAt(m, now)
	if share == 1 {
		m.since = 0
		return 1
	}
	g.ramp = now + max(int64(g.o.SlowStart/rampSteps), int64(10*time.Millisecond))
	return share
}

// shareAt is the part of its weight that m gets at now: from slowFrom it grows to the whole in SlowStart.
func (g *group) shareAt(m *member, now int64) float64 {
	if m.since == 0 || g.o.SlowStart == 0 {
		return 1
	}
	past := float64(now-m.since) / float64(g.o.SlowStart)
	return min(slowFrom+(1-slowFrom)*max(past, 0), 1)
}

// tiers gives the members that requests are for, and those that stand by. Only SRV records have priorities: of each
// name's it is the first in which not too few are usable, else the first with any (RFC 2782).
func (g *group) tiers() (front, later []*member) {
	chosen := map[*target]uint16{}
	for _, t := range g.targets {
		if t.o.SRV {
			chosen[t] = g.priority(t)
		}
	}
	for _, m := range g.members {
		switch p, ok := chosen[m.t]; {
		case m.health.waits && m.health.verdict == unknown: // takes no part yet
		case ok && m.priority != p:
			later = append(later, m)
		default:
			front = append(front, m)
		}
	}
	return front, later
}

func (g *group) priority(t *target) uint16 {
	type tier struct{ usable, all int }
	tiers := map[uint16]*tier{}
	var order []uint16
	for _, m := range g.members {
		if m.t != t {
			continue
		}
		c := tiers[m.priority]
		if c == nil {
			c = &tier{}
			tiers[m.priority] = c
			order = append(order, m.priority)
		}
		c.all++
		if m.usable() {
			c.usable++
		}
	}
	slices.Sort(order)
	for _, p := range order {
		if c := tiers[p]; c.usable > 0 && float64(c.usable) >= g.o.PanicThreshold*float64(c.all) {
			return p
		}
	}
	for _, p := range order {
		if tiers[p].usable > 0 {
			return p
		}
	}
	if len(order) == 0 {
		return 0
	}
	return order[0]
}
