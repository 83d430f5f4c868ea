package plan

import (
	"encoding/json"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/route"
)

// Confusable reports whether a lenient server could read x's path, which is in weir's own form, as one that another route
// guards by rules of its own, or as one that climbs: "/admin%2Fusers", "/public//..%20/admin". rt is x's route. Such a
// request would be judged by one route's rules and served as another's.
func (p *Plan) Confusable(x *exchange.Exchange, rt *Route) bool {
	if !p.guarded || route.Plain(x.Request.Path) {
		return false
	}
	path := x.Request.Path
	defer func() { x.Request.Path = path }()
	room := x.Scratch[:0]
	for range 2 { // the second time for a server behind a server
		lax, ok := route.AppendLax(room, x.Request.Path)
		if !ok {
			return true
		}
		x.Request.Path = lax
		if i := p.table.Find(&x.Request, nil); i >= 0 {
			if other := &p.Routes[i]; other.access != 0 && other.access != rt.access {
				return true
			}
		}
		if route.Plain(lax) {
			break
		}
		room = lax[len(lax):]
	}
	return false
}

// accessRules numbers the routes by whom they let in: 0 is everybody, and two of a number let the same in.
func (b *builder) accessRules() {
	seen := map[string]int{}
	for i := range b.spec.Routes {
		rules := accessOf(&b.spec.Routes[i])
		if rules == "" {
			continue
		}
		if seen[rules] == 0 {
			seen[rules] = len(seen) + 1
		}
		b.plan.Routes[i].access = seen[rules]
		b.plan.guarded = true
	}
}

// accessOf is equal for routes that let the same requests in; "" lets everybody. A Wasm filter may be there to refuse.
func accessOf(c *config.Route) string {
	if !c.Auth.Identifies() && c.Require == nil && len(c.IP.Allow)+len(c.IP.Deny)+len(c.Wasm) == 0 {
		return ""
	}
	text, err := json.Marshal([]any{c.Auth, c.Require, c.IP, c.Wasm})
	if err != nil {
		return c.Name // rules like no other's
	}
	var v any
	_ = json.Unmarshal(text, &v)
	dropPositions(v)
	text, _ = json.Marshal(v)
	return string(text)
}

func dropPositions(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "Pos")
		for _, inner := range v {
			dropPositions(inner)
		}
	case []any:
		for _, inner := range v {
			dropPositions(inner)
		}
	}
}
