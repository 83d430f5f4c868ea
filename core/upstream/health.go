package upstream

import (
	"context"
	"time"

	"github.com/weirproxy/weir/core/clock"
)

// HealthOptions say how endpoints are asked whether they can be used. They are comparable.
type HealthOptions struct {
	Path      string
	Interval  time.Duration // a fifth more or less; 5 s
	Timeout   time.Duration // of connecting and answering together; 1 s
	Healthy   int           // good answers in a row that make an unhealthy endpoint healthy; 2
	Unhealthy int           // bad ones that make it unhealthy; 3
}

func (o HealthOptions) withDefaults() HealthOptions {
	o.Interval = orDefault(max(o.Interval, 0), 5*time.Second)
	o.Timeout = orDefault(max(o.Timeout, 0), time.Second)
	o.Healthy = orDefault(max(o.Healthy, 0), 2)
	o.Unhealthy = orDefault(max(o.Unhealthy, 0), 3)
	return o
}

type verdict uint8

const (
	unknown verdict = iota // used like a healthy one
	healthy
	unhealthy
)

func (v verdict) String() string { return [...]string{"unknown", "healthy", "unhealthy"}[v] }

// health is what checks have found out about an endpoint.
type health struct {
	verdict verdict
	runs    int   // answers in a row that speak against the verdict
	due     int64 // of the next check
	busy    bool
	waits   bool  // it has joined others and gets no requests before its first good answer
	doubted bool  // the verdict is of another policy: one good answer changes it
	err     error // of the last bad answer
}

const (
	// maxChecks bounds the checks of one upstream that are under way.
	maxChecks = 64
	// checkSoon is the interval, at most, until something is known.
	checkSoon = time.Second
)

// startChecks checks whoever is due. g.mu is held.
func (g *group) startChecks(now int64) {
	if g.o.Health == nil {
		return
	}
	for _, m := range g.members {
		if m.health.busy || now < m.health.due || g.checking == maxChecks {
			continue
		}
		m.health.busy = true
		g.checking++
		g.workers.Go(func() {
			ctx, cancel := context.WithTimeout(g.ctx, g.o.Health.Timeout)
			err := m.e.check(ctx, g.o.Health.Path)
			cancel()
			g.checked(m, err)
		})
	}
}

// checked takes the result of a check.
func (g *group) checked(m *member, err error) {
	now := clock.Nano()
	g.mu.Lock()
	g.checking--
	m.health.busy = false
	if !g.closed && g.byKey[m.e.key] == m && g.judge(m, err, now) {
		g.publish(now)
	}
	g.mu.Unlock()
	g.kick()
}

// judge counts an answer, a good one if err is nil, and reports whether it changes anything. g.mu is held.
func (g *group) judge(m *member, err error, now int64) (changed bool) {
	h, o := &m.health, g.o.Health
	h.due = now + jitter(o.Interval)
	if exhausted(err) {
		return false
	}
	h.err = err
	was := h.verdict
	switch {
	case err == nil && was != unhealthy:
		h.verdict, h.runs = healthy, 0
	case err == nil:
		if h.runs++; h.runs >= o.Healthy || h.doubted {
			h.verdict, h.runs = healthy, 0
			g.startSlowly(m, now)
		}
	case was == unhealthy:
		h.runs = 0
	default:
		if h.runs++; h.runs >= o.Unhealthy {
			h.verdict, h.runs = unhealthy, 0
		}
	}
	h.doubted = false
	if h.verdict == unknown {
		h.due = now + jitter(min(o.Interval, checkSoon))
	}
	if h.waits && h.verdict == healthy {
		h.waits = false
		g.startSlowly(m, now)
	}
	if h.verdict == was {
		return false
	}
	if h.verdict == unhealthy {
		g.tell(m.e.Name, "endpoint unhealthy", err, true)
	} else if was == unhealthy {
		g.tell(m.e.Name, "endpoint healthy again", nil, false)
	}
	return true
}

// inheritHealth goes on with what is known of k, the same endpoint in the group before. The verdict of another policy
// stands until one good answer, or as many bad ones as it takes: what fails must not get requests because of a reload.
func (g *group) inheritHealth(m, k *member, before *group) {
	a, b := g.o.Health, before.o.Health
	if a == nil || b == nil {
		return
	}
	if *a == *b {
		m.health = k.health
		m.health.busy = false
		return
	}
	m.health.verdict, m.health.waits, m.health.doubted = k.health.verdict, k.health.waits, true
}
