package config

import (
	"slices"
	"time"
)

// Queue holds requests above max_in_flight.
type Queue struct {
	Pos  Pos
	Max  int
	Wait time.Duration
}

// Retry repeats requests that failed, where that can do no harm.
type Retry struct {
	Pos     Pos
	Retries int      // beyond the first try
	On      []string // RetryConnect, RetryReset or a status: "502", "503", "504"
	Ratio   float64  // of the requests of the last seconds that may be retries
}

// The words of Retry.On that are no status.
const (
	RetryConnect = "connect"
	RetryReset   = "reset"
)

var queueKeys = []key[Queue]{
	{"max", now, func(d *decoder, v value, q *Queue) { q.Max = d.positive(v) }},
	{"wait", now, func(d *decoder, v value, q *Queue) { q.Wait = d.positiveDuration(v) }},
}

func (d *decoder) queue(v value) *Queue {
	q := &Queue{Pos: v.pos, Max: 100, Wait: time.Second}
	readObject(d, v, queueKeys, q)
	return q
}

var retryKeys = []key[Retry]{
	{"retries", now, func(d *decoder, v value, r *Retry) { r.Retries = int(d.integer(v, 1, 10)) }},
	{"on", now, func(d *decoder, v value, r *Retry) { r.On = d.retryOn(v) }},
	{"ratio", now, func(d *decoder, v value, r *Retry) { r.Ratio = d.positiveFraction(v) }},
}

var retryWords = []word{{RetryConnect, now}, {RetryReset, now}, {"502", now}, {"503", now}, {"504", now}}

func (d *decoder) retry(v value) *Retry {
	r := &Retry{Pos: v.pos, Retries: 1, On: []string{RetryConnect, RetryReset}, Ratio: 0.2}
	readObject(d, v, retryKeys, r)
	return r
}

func (d *decoder) retryOn(v value) []string {
	items := d.items(v)
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "the list is empty: nothing would be retried")
	}
	var out []string
	for _, item := range items {
		s := d.numberChoice(item, integer, retryWords)
		if s == "" {
			continue
		}
		if slices.Contains(out, s) {
			d.fail(item.pos, "%q stands in the list twice", s)
			continue
		}
		out = append(out, s)
	}
	return out
}
