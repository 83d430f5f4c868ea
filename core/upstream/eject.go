package upstream

import "time"

// EjectionOptions say when an endpoint that fails is taken out of rotation. They are comparable.
type EjectionOptions struct {
	ConsecutiveFailures int           // the same outcomes as the breaker's; 5
	For                 time.Duration // times the number of ejections in a row, which counts up to ten; 30 s

	// Max is the fraction of the endpoints that may be out at once, rounded down. Below 1 the last usable one stays, too.
	// 0 is none.
	Max float64
}

func (o EjectionOptions) withDefaults() EjectionOptions {
	if o.ConsecutiveFailures <= 0 {
		o.ConsecutiveFailures = 5
	}
	o.ConsecutiveFailures = min(o.ConsecutiveFailures, 1<<28)
	if o.For <= 0 {
		o.For = 30 * time.Second
	}
	o.For = min(o.For, 366*24*time.Hour)
	return o
}

// ejection is what one has done so far.
type ejection struct {
	until int64 // 0: it is in
	last  int64 // how long it was out
	back  int64 // when it was taken back
	row   int64 // ejections in a row: with less time in between than it had been out
}

const maxEjectionRow = 10

// mayEject is how many endpoints may be out at once.
func (g *group) mayEject() int {
	return int(g.o.Ejection.Max*float64(len(g.members)) + 1e-9)
}

// returnEjected takes back those whose time is over, and, when there are fewer endpoints than before, as many more as it
// takes. g.mu is held.
func (g *group) returnEjected(now int64) (changed bool) {
	if g.o.Ejection == nil {
		return false
	}
	out := 0
	for _, m := range g.members {
		if m.eject.until == 0 {
			continue
		}
		if now >= m.eject.until {
			g.takeBack(m, now)
			changed = true
			continue
		}
		out++
	}
	for ; out > g.mayEject(); out-- {
		var first *member
		for _, m := range g.members {
			if m.eject.until != 0 && (first == nil || m.eject.until < first.eject.until) {
				first = m
			}
		}
		g.takeBack(first, now)
		changed = true
	}
	return changed
}

func (g *group) takeBack(m *member, now int64) {
	m.eject.until, m.eject.back = 0, now
	m.e.streak.Store(0)
	g.startSlowly(m, now)
	g.tell(m.e.Name, "endpoint taken back", nil, false)
}

// ejectFailing takes those out that have failed too often in a row, as far as allowed. g.mu is held.
func (g *group) ejectFailing(now int64) (changed bool) {
	o := g.o.Ejection
	if o == nil {
		return false
	}
	out, usable := 0, 0
	for _, m := range g.members {
		if m.eject.until != 0 {
			out++
		}
		if m.usable() {
			usable++
		}
	}
	for _, m := range g.members {
		if m.eject.until != 0 || m.e.streak.Load() < int32(o.ConsecutiveFailures) {
			continue
		}
		if out >= g.mayEject() || o.Max < 1 && m.usable() && usable == 1 {
			continue
		}
		if m.usable() {
			usable--
		}
		out++
		j := &m.eject
		if now-j.back >= j.last {
			j.row = 0
		}
		j.row = min(j.row+1, maxEjectionRow)
		j.last = int64(o.For) * j.row
		j.until = now + j.last
		changed = true
		g.tell(m.e.Name, "endpoint ejected for "+time.Duration(j.last).String(), nil, true)
	}
	return changed
}

// inheritEjection goes on with what k, the same endpoint in the group before, has done, if the policy is the same.
func (g *group) inheritEjection(m, k *member, before *group) {
	if a, b := g.o.Ejection, before.o.Ejection; a != nil && b != nil && *a == *b {
		m.eject = k.eject
	}
}
