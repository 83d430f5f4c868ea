package proxy

import (
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/limit"
	"github.com/weirproxy/weir/core/plan"
)

var errLimit = fault.New(fault.LimitExceeded, "limit exceeded")

func (w *walk) early() error { return w.limit(w.rt.Early) }
func (w *walk) late() error  { return w.limit(w.rt.Late) }

// limit charges the request to every rule, or to none if one refuses.
func (w *walk) limit(rules plan.Limits) error {
	if len(rules) == 0 {
		return nil
	}
	var charges [plan.MaxLimits]limit.Charge
	for i := range rules {
		charges[i] = limit.Charge{Rule: rules[i].Rule, Key: rules[i].Key(w.x)}
	}
	now := time.Now().UnixNano()
	d, i := w.p.Shared.Counters.TakeAll(charges[:len(rules)], now)
	w.quota(&d, now)
	if d.Allowed {
		return nil
	}
	w.x.Record.Rule = rules[i].Rule.Name
	rules[i].Refused.Inc()
	return errLimit
}

// quota keeps what the client is told: the decision with the least left.
func (w *walk) quota(d *limit.Decision, now int64) {
	q := &w.x.Quota
	if q.Set && d.Allowed && q.Remaining <= d.Remaining {
		return
	}
	*q = exchange.Quota{
		Set: true, Limit: d.Limit, Remaining: d.Remaining, Reset: up(now + int64(d.Reset)),
	}
	if !d.Allowed {
		q.Retry = max(up(int64(d.RetryAfter)), 1)
	}
}

// up rounds nanoseconds up to seconds.
func up(ns int64) int64 { return (ns + int64(time.Second) - 1) / int64(time.Second) }
