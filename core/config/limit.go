package config

import "github.com/weirproxy/weir/core/unit"

// Limit is one bound on how often a route is used.
type Limit struct {
	Pos   Pos
	Name  string // its key when it was given none
	Key   Selector
	Rate  unit.Rate // never 0; without Burst a sliding window, or a calendar day when Rate.Daily
	Burst int       // 0: none
	Scope string    // ScopeRoute or ScopeGlobal
	Store string    // StoreLocal
}

// The words of a limit.
const (
	ScopeRoute  = "route"  // each route counts for itself
	ScopeGlobal = "global" // all limits of this name count together
	StoreLocal  = "local"
)

// NeedsIdentity says that the limit can only run when it is known who is calling.
func (l *Limit) NeedsIdentity() bool {
	return l.Key.Kind == SelectSubject || l.Key.Kind == SelectClaim || l.Key.Kind == SelectRole
}

var limitKeys = []key[Limit]{
	{"name", now, func(d *decoder, v value, l *Limit) { l.Name = d.text(v) }},
	{"key", now, func(d *decoder, v value, l *Limit) { l.Key = d.selector(v, limitSelectors) }},
	{"rate", now, func(d *decoder, v value, l *Limit) { l.Rate = d.rate(v) }},
	{"rates", later, nil},
	{"burst", now, func(d *decoder, v value, l *Limit) { l.Burst = d.positive(v) }},
	{"scope", now, func(d *decoder, v value, l *Limit) { l.Scope = d.choice(v, scopes) }},
	{"store", now, func(d *decoder, v value, l *Limit) { l.Store = d.choice(v, stores) }},
	{"on_store_error", later, nil},
	{"tier", later, names[Limit]("default")},
}

var limitSelectors = []selectorForm{
	{SelectIP, false, now},
	{SelectSubject, false, now},
	{SelectRoute, false, now},
	{SelectHeader, true, now},
	{SelectClaim, true, now},
	{SelectRole, false, later},
	{SelectCookie, true, later},
	{SelectQuery, true, later},
	{SelectPath, true, later},
}

var scopes = []word{{ScopeRoute, now}, {ScopeGlobal, now}}

var stores = []word{{StoreLocal, now}, {"redis", later}}

func (d *decoder) limits(v value) []Limit {
	items := d.items(v)
	out := make([]Limit, len(items))
	first := map[string]int{}
	for i, item := range items {
		l := &out[i]
		*l = Limit{Pos: item.pos, Scope: ScopeRoute, Store: StoreLocal}
		readObject(d, item, limitKeys, l)
		d.checkLimit(item, l)
		if l.Name == "" {
			l.Name = l.Key.String()
		}
		if at, dup := first[l.Name]; dup && l.Name != "" {
			d.fail(item.pos, "limits[%d] is called %q already; another name tells them apart", at, l.Name)
			continue
		}
		first[l.Name] = i
	}
	return out
}

func (d *decoder) checkLimit(v value, l *Limit) {
	if v.kind != object || v.has("tier") {
		return
	}
	if !v.has("key") {
		d.fail(v.pos, "the key %q is missing", "key")
	}
	if !v.has("rate") && !v.has("rates") {
		d.fail(v.pos, "the key %q is missing", "rate")
	}
	if l.Rate.Daily() && l.Burst > 0 {
		d.fail(v.pos, "a rate of /d counts calendar days and has no burst; a second limit bounds bursts")
	}
}
