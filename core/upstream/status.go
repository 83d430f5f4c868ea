package upstream

import (
	"time"

	"github.com/weirproxy/weir/core/clock"
)

// Status is what an upstream looks like at one moment, for people.
type Status struct {
	Endpoints []EndpointStatus
	Problems  []string // names and files that can't be read at the moment
	Panics    bool     // too few endpoints are usable: health and ejections are ignored
	Set       bool     // the operator has set the endpoints
}

// EndpointStatus is one endpoint at one moment.
type EndpointStatus struct {
	Name, URL  string
	Source     Source
	Weight     int64
	Share      float64 // of its weight: below 1 during a slow start
	Priority   int     // of an SRV record
	Usable     bool    // healthy and not ejected
	Health     string  // "" if it is not checked
	Reason     string  // why the last check failed
	EjectedFor time.Duration
	Breaker    string // "" without
	InFlight   int64

	Requests, Failures, Opened int64 // as of Stats
}

// Status describes u.
func (u *Upstream) Status() Status {
	g := u.group
	now := clock.Nano()
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Status{Panics: u.Panics(), Set: g.override != nil, Endpoints: make([]EndpointStatus, len(g.members))}
	for i, m := range g.members {
		e := EndpointStatus{
			Name: m.e.Name, URL: m.t.o.URL, Source: m.t.source, Weight: m.weight, Share: g.shareAt(m, now), Priority: int(m.priority),
			Usable: m.usable(), InFlight: m.e.inFlight.Load(),
		}
		e.Requests, e.Failures, e.Opened = m.e.Stats()
		if g.o.Health != nil {
			e.Health = m.health.verdict.String()
			if m.health.err != nil {
				e.Reason = m.health.err.Error()
			}
		}
		if m.eject.until > now {
			e.EjectedFor = time.Duration(m.eject.until - now)
		}
		if m.e.Breaker != nil {
			e.Breaker = m.e.Breaker.State().String()
		}
		s.Endpoints[i] = e
	}
	for _, t := range g.targets {
		if t.err != nil {
			s.Problems = append(s.Problems, t.o.URL+": "+t.err.Error())
		}
	}
	if g.file != nil && g.file.err != "" {
		s.Problems = append(s.Problems, g.file.err) // names the file
	}
	return s
}
