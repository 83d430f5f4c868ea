package proxy

import (
	"slices"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/limit"
	"github.com/weirproxy/weir/core/plan"
)

var errLimit = fault.New(fault.LimitExceeded, "limit exceeded")

func (w *walk) early() error { return w.limit(w.rt.Early) }
func (w *walk) late() error  { return w.limit(w.rt.Late) }

// charge is a limit that the exchange has been charged to. With another key it is another.
type charge struct {
	rule uint64
	key  limit.Key
}

// limit charges the request to every rule that it has not been charged to yet, or to none if one refuses.
func (w *walk) limit(rules plan.Limits) error {
	if len(rules) == 0 {
		return nil
	}
	var charges [plan.MaxLimits]limit.Charge
	var from [plan.MaxLimits]int
	n := 0
	for i := range rules {
		c := limit.Charge{Rule: rules[i].Rule, Key: rules[i].Key(w.x)}
		if !slices.Contains(w.paid, charge{c.Rule.ID, c.Key}) {
			charges[n], from[n] = c, i
			n++
		}
	}
	if n == 0 {
		return nil
	}
	now := time.Now().UnixNano()
	d, i := w.p.Shared.Counters.TakeAll(charges[:n], now)
	w.quota(&d, now)
	if !d.Allowed {
		rule := &rules[from[i]]
		w.x.Record.Rule = rule.Rule.Name
		rule.Refused.Inc()
		return errLimit
	}
	if len(w.rt.Chain) > 0 { // a filter may want another route
		for _, c := range charges[:n] {
			w.paid = append(w.paid, charge{c.Rule.ID, c.Key})
		}
	}
	return nil
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
