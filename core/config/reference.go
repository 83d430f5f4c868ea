package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// space is what a name is a name of.
type space uint8

const (
	upstreams space = iota
	filters
	providers
	roleNames
)

var spaceNames = [...]string{
	upstreams: "upstream",
	filters:   "wasm filter",
	providers: "jwt provider",
	roleNames: "role",
}

// mention is a name that has to exist somewhere else in the file, be it above or below.
type mention struct {
	pos   Pos
	space space
	name  string
}

func (d *decoder) declare(s space, name string) {
	if d.declared[s] == nil {
		d.declared[s] = map[string]bool{}
	}
	d.declared[s][name] = true
}

// mention reads a name and notes that it has to exist.
func (d *decoder) mention(v value, s space) string {
	name := d.text(v)
	if name != "" {
		d.mentions = append(d.mentions, mention{v.pos, s, name})
	}
	return name
}

// finish checks what only the whole file can tell, and fills in what one part gives another.
func (d *decoder) finish(v value, s *Spec) {
	for _, m := range d.mentions {
		if declared := d.declared[m.space]; !declared[m.name] {
			names := slices.Sorted(maps.Keys(declared))
			d.fail(m.pos, "there is no %s %q%s", spaceNames[m.space], m.name, suggest(m.name, names))
		}
	}
	if len(s.Routes) == 0 && !v.has("routes") {
		d.warn(v.pos, "there are no routes: every request is answered with 404")
	}
	first := map[string]Pos{}
	matches := map[string]int{}
	for i := range s.Routes {
		r := &s.Routes[i]
		if at, dup := first[r.Name]; dup {
			d.fail(r.Pos, "the name %q is taken by the route in line %d", r.Name, at.Line)
		} else {
			first[r.Name] = r.Pos
		}
		d.inherit(s, r)
		d.checkRoute(s, r)
		d.checkReach(s, i, matches)
	}
	d.checkACME(v, s)
	d.checkFallbacks(s)
	d.checkUnused(s)
	d.checkGlobals(s)
}

// checkUnused warns of filters that nobody asks for: they are not built, so nothing else would tell of their problems.
func (d *decoder) checkUnused(s *Spec) {
	used := map[string]bool{}
	for i := range s.Routes {
		for _, u := range s.Routes[i].Wasm {
			used[u.Filter] = true
		}
	}
	for i := range s.Wasm {
		if f := &s.Wasm[i]; !used[f.Name] {
			d.warn(f.Pos, "no route uses the filter %q: it is not loaded", f.Name)
		}
	}
}

// inherit fills in what a route leaves to others.
func (d *decoder) inherit(s *Spec, r *Route) {
	if r.BodyBytes < 0 {
		r.BodyBytes = s.Guards.BodyBytes
	}
	if r.Auth == nil && s.DefaultAuth != nil {
		a := *s.DefaultAuth
		r.Auth = &a
	}
	if r.Auth == nil {
		d.warn(r.Pos, "route %q has no auth; say auth: none if that is meant", r.Name)
	}
	for i := range r.Wasm {
		u := &r.Wasm[i]
		if f := s.WasmFilter(u.Filter); f != nil && !u.own {
			u.Config = f.Config
		}
	}
}

// checkRoute checks that the parts of a route go together.
func (d *decoder) checkRoute(s *Spec, r *Route) {
	segments := r.Match.Segments()
	check := func(pos Pos, t Template) {
		for _, ref := range t.Refs() {
			switch {
			case ref.Kind == RefPath && !slices.Contains(segments, ref.Name):
				d.fail(pos, "%s: the path of the route has no segment {%s}%s", ref, ref.Name, suggest(ref.Name, segments))
			case (ref.Kind == RefSubject || ref.Kind == RefClaim) && r.Auth != nil && !r.Auth.Identifies():
				d.warn(pos, "%s is always empty: the route has auth: none", ref)
			}
		}
	}
	for _, h := range r.Headers.Request.Set {
		check(h.Pos, h.Value)
	}
	for _, h := range r.Headers.Response.Set {
		check(h.Pos, h.Value)
	}
	for i := range r.Limits {
		if l := &r.Limits[i]; l.NeedsIdentity() && !r.Auth.Identifies() {
			d.warn(l.Pos, "the key %s is the same for everybody: the route knows no identity", l.Key)
		}
	}
	if r.Require == nil {
		return
	}
	if !r.Auth.Identifies() {
		d.fail(r.Require.Pos, "nobody could pass: the route has no auth to know anybody by")
	}
	for _, c := range r.Require.Claims {
		for _, t := range c.Values {
			check(c.Pos, t)
		}
	}
	for _, p := range r.Require.Permissions {
		if !slices.ContainsFunc(s.Roles, func(role Role) bool {
			return slices.Contains(role.Permissions, p) || slices.Contains(role.Permissions, "*")
		}) {
			d.warn(r.Require.Pos, "no role gives the permission %q", p)
		}
	}
}

// checkReach warns about routes that an earlier one leaves nothing for.
func (d *decoder) checkReach(s *Spec, i int, matches map[string]int) {
	m := &s.Routes[i].Match
	id := matchID(m)
	if at, dup := matches[id]; dup {
		d.warn(s.Routes[i].Pos, "the route is never reached: routes[%d] matches the same", at)
		return
	}
	if at, dup := matches[matchID(&Match{})]; dup {
		d.warn(s.Routes[i].Pos, "the route is never reached: routes[%d] matches everything", at)
	}
	matches[id] = i
}

// matchID is equal for matches that take the same requests.
func matchID(m *Match) string {
	path := m.Path
	if path == "/*" {
		path = ""
	}
	hosts, methods := slices.Clone(m.Hosts), slices.Clone(m.Methods)
	headers := make([]string, len(m.Headers))
	for i, h := range m.Headers {
		headers[i] = strconv.Quote(h.Name) + strconv.Quote(h.Value)
	}
	return fmt.Sprintf("%q %q %q %q", sorted(hosts), path, sorted(methods), sorted(headers))
}

// checkGlobals makes limits that count together agree.
func (d *decoder) checkGlobals(s *Spec) {
	first := map[string]*Limit{}
	for i := range s.Routes {
		for j := range s.Routes[i].Limits {
			l := &s.Routes[i].Limits[j]
			if l.Scope != ScopeGlobal || l.Name == "" {
				continue
			}
			f := first[l.Name]
			if f == nil {
				first[l.Name] = l
				continue
			}
			if f.Key != l.Key || f.Rate != l.Rate || f.Burst != l.Burst {
				d.fail(l.Pos, "the global limit %q in line %d has another key, rate or burst", l.Name, f.Pos.Line)
			}
		}
	}
}
