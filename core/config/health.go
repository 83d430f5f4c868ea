package config

import "time"

// HealthCheck asks every endpoint by itself whether it can be used.
type HealthCheck struct {
	Pos                Pos
	Path               string
	Interval, Timeout  time.Duration
	Healthy, Unhealthy int // answers in a row that change the state; 2xx and 3xx are healthy
}

// Ejection takes an endpoint that fails out of rotation for a time.
type Ejection struct {
	Pos                 Pos
	ConsecutiveFailures int
	For                 time.Duration // times the number of ejections in a row
	Max                 float64       // fraction of the endpoints that may be out at once
}

var healthCheckKeys = []key[HealthCheck]{
	{"path", must, func(d *decoder, v value, h *HealthCheck) { h.Path = d.absolutePath(v) }},
	{"interval", now, func(d *decoder, v value, h *HealthCheck) { h.Interval = d.positiveDuration(v) }},
	{"timeout", now, func(d *decoder, v value, h *HealthCheck) { h.Timeout = d.positiveDuration(v) }},
	{"healthy", now, func(d *decoder, v value, h *HealthCheck) { h.Healthy = d.positive(v) }},
	{"unhealthy", now, func(d *decoder, v value, h *HealthCheck) { h.Unhealthy = d.positive(v) }},
}

func (d *decoder) healthCheck(v value) *HealthCheck {
	h := &HealthCheck{Pos: v.pos, Interval: 5 * time.Second, Timeout: time.Second, Healthy: 2, Unhealthy: 3}
	readObject(d, v, healthCheckKeys, h)
	switch {
	case h.Interval <= 0 || h.Timeout <= h.Interval:
	case v.has("timeout"):
		d.fail(d.at(v, "timeout"), "wants at most the interval, %v: checks would overtake each other", h.Interval)
	default:
		h.Timeout = h.Interval
	}
	return h
}

var ejectionKeys = []key[Ejection]{
	{"consecutive_failures", now, func(d *decoder, v value, e *Ejection) { e.ConsecutiveFailures = d.positive(v) }},
	{"for", now, func(d *decoder, v value, e *Ejection) { e.For = d.positiveDuration(v) }},
	{"max", now, func(d *decoder, v value, e *Ejection) { e.Max = d.positiveFraction(v) }},
}

func (d *decoder) ejection(v value) *Ejection {
	e := &Ejection{Pos: v.pos, ConsecutiveFailures: 5, For: 30 * time.Second, Max: 0.5}
	readObject(d, v, ejectionKeys, e)
	return e
}
