package plan

import (
	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/limit"
	"github.com/weirproxy/weir/core/metric"
)

// MaxLimits is the most limits that one route may have at one point of its way.
const MaxLimits = 8

// Limits are the rules that a request must pass together.
type Limits []Limit

// Limit is one rule and what it counts by.
type Limit struct {
	Rule    *limit.Rule
	Refused *metric.Counter
	by      config.Selector
}

// Key is whom a request is charged to.
func (l *Limit) Key(x *exchange.Exchange) limit.Key {
	switch l.by.Kind {
	case config.SelectIP:
		return limit.KeyIP(x.Client.IP)
	case config.SelectSubject:
		if x.Identity != nil {
			return limit.KeyString(x.Identity.Provider).And(limit.KeyString(x.Identity.Subject))
		}
	case config.SelectClaim:
		if x.Identity != nil {
			if v, ok := x.Identity.Claim(l.by.Name); ok {
				return limit.KeyString(v)
			}
		}
	case config.SelectHeader:
		return limit.KeyBytes(x.Request.Header.Get(l.by.Name))
	}
	return limit.Key{}
}

// limits builds a route's rules, those that need no identity apart from the others.
func (b *builder) limits(r *config.Route) (early, late Limits) {
	for i := range r.Limits {
		c := &r.Limits[i]
		scope := "route:" + r.Name
		if c.Scope == config.ScopeGlobal {
			scope = "global"
		}
		rule, err := limit.NewRule(limit.Rule{
			Scope: scope, Name: c.Name, KeyKind: c.Key.String(), N: c.Rate.N, Per: c.Rate.Per, Burst: int64(c.Burst),
		})
		if err != nil {
			b.fail(c.Pos, "%w", err)
			continue
		}
		l := Limit{Rule: rule, Refused: b.lease.Rule(r.Name, c.Name), by: c.Key}
		if c.NeedsIdentity() {
			late = append(late, l)
		} else {
			early = append(early, l)
		}
	}
	if len(early) > MaxLimits || len(late) > MaxLimits {
		b.fail(r.Pos, "more than %d limits", MaxLimits)
	}
	return early, late
}
