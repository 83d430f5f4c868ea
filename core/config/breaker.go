package config

import (
	"slices"
	"strings"
	"time"
)

// Breaker opens for an endpoint after so many failures in a row.
type Breaker struct {
	Pos                 Pos
	ConsecutiveFailures int
	OpenFor             time.Duration
	HalfOpenRequests    int
	Fallback            *Fallback // nil: 503 while the upstream is open
}

// Fallback is what happens instead while no endpoint may be asked: every breaker is open, or none is healthy or known.
// Exactly one of its fields is set.
type Fallback struct {
	Pos      Pos
	Upstream string
	Respond  *Respond
}

var breakerKeys = []key[Breaker]{
	{"consecutive_failures", now, func(d *decoder, v value, b *Breaker) { b.ConsecutiveFailures = d.positive(v) }},
	{"open_for", now, func(d *decoder, v value, b *Breaker) { b.OpenFor = d.positiveDuration(v) }},
	{"half_open_requests", now, func(d *decoder, v value, b *Breaker) { b.HalfOpenRequests = d.positive(v) }},
	{"fallback", now, func(d *decoder, v value, b *Breaker) { b.Fallback = d.fallback(v) }},
}

var fallbackKeys = []key[Fallback]{
	{"upstream", now, func(d *decoder, v value, f *Fallback) { f.Upstream = d.mention(v, upstreams) }},
	{"respond", now, func(d *decoder, v value, f *Fallback) { f.Respond = d.respond(v) }},
}

func (d *decoder) breaker(v value) *Breaker {
	b := &Breaker{Pos: v.pos, ConsecutiveFailures: 5, OpenFor: 30 * time.Second, HalfOpenRequests: 1}
	readObject(d, v, breakerKeys, b)
	return b
}

func (d *decoder) fallback(v value) *Fallback {
	f := &Fallback{Pos: v.pos}
	readObject(d, v, fallbackKeys, f)
	if v.kind == object && v.has("upstream") == v.has("respond") {
		d.fail(v.pos, "exactly one of upstream and respond is needed")
	}
	return f
}

// checkFallbacks refuses upstreams that fall back to each other in a circle: with all of them open a request would go
// round for ever. A circle is told of once.
func (d *decoder) checkFallbacks(s *Spec) {
	next := map[string]*Fallback{}
	for i := range s.Upstreams {
		if b := s.Upstreams[i].Breaker; b != nil && b.Fallback != nil && b.Fallback.Upstream != "" {
			next[s.Upstreams[i].Name] = b.Fallback
		}
	}
	done := map[string]bool{}
	for i := range s.Upstreams {
		var way []string
		name := s.Upstreams[i].Name
		for next[name] != nil && !done[name] && !slices.Contains(way, name) {
			way = append(way, name)
			name = next[name].Upstream
		}
		switch at := slices.Index(way, name); {
		case at < 0:
		case at == len(way)-1:
			d.fail(next[name].Pos, "the upstream %q falls back to itself", name)
		default:
			d.fail(next[name].Pos, "the fallbacks go in a circle: %s → %s", strings.Join(way[at:], " → "), name)
		}
		for _, n := range way {
			done[n] = true
		}
	}
}
