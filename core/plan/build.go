package plan

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/gaissmai/bart"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/identity"
	"github.com/weirproxy/weir/core/observe"
	"github.com/weirproxy/weir/core/route"
	"github.com/weirproxy/weir/core/wire"
)

// builder is a plan on the way, with what was wrong so far.
type builder struct {
	spec      *config.Spec
	shared    *Shared
	kinds     []filter.Kind
	plan      *Plan
	problems  config.Problems
	jwt       map[string]*identity.Provider
	grants    *identity.Roles
	upstreams map[string]*Upstream
	lent      asked
	numbers   map[place]int
	lease     *observe.Lease
}

// place is what gives a filter its number: its key, and how many of that key the route has before it.
type place struct {
	key any
	nth int
}

// Build makes the plan of s with the given kinds of filters, opening files and modules but no address. On an error, which
// is a *config.Problems that holds everything that is wrong, nothing is left open. The caller owns the plan and retires it.
func Build(s *config.Spec, shared *Shared, kinds []filter.Kind) (*Plan, error) {
	b := &builder{spec: s, shared: shared, kinds: kinds, upstreams: map[string]*Upstream{}, numbers: map[place]int{}, lease: shared.Metrics.Lease()}
	b.plan = &Plan{
		Spec: s, Shared: shared, Timeouts: s.Timeouts, Connections: int64(s.Guards.Connections), closed: make(chan struct{}),
		HalfClose: s.Guards.HalfClose == config.HalfCloseServe, PerIP: s.Guards.ConnectionsPerIP,
		RequestsPerConnection: s.Guards.RequestsPerConnection, MinRate: s.Guards.MinRate,
		Limits: wire.Limits{
			HeaderBytes: int(s.Guards.HeaderBytes), Fields: s.Guards.HeaderFields, Target: wire.Defaults.Target,
			Underscores: underscores[s.Guards.Underscores], LenientLF: s.Guards.LenientLF,
			RefuseSlashes: s.Guards.EncodedSlash == config.SlashRefuse, MergeSlashes: s.Guards.DoubleSlash == config.SlashMerge,
		},
	}
	b.plan.refs.Store(1)
	shared.Plans.Add(1)
	b.owns(func() error { b.lease.Close(); return nil })
	b.listeners()
	b.plan.trusted, b.plan.Via = prefixes(s.TrustedProxies), viaOf(s.Via)
	b.providers()
	b.roles()
	b.openUpstreams()
	b.fallbacks()
	b.lent = b.asked()
	b.routes()
	if err := b.problems.Err(); err != nil {
		b.plan.close()
		return nil, err
	}
	return b.plan, nil
}

var underscores = map[string]wire.Underscores{
	config.UnderscoresDrop: wire.DropUnderscores, config.UnderscoresRefuse: wire.RefuseUnderscores, config.UnderscoresPass: wire.PassUnderscores,
}

// fail notes a problem at its place.
func (b *builder) fail(at config.Pos, format string, args ...any) {
	b.problems.Add(at.Errorf("%s", fmt.Errorf(format, args...)))
}

func (b *builder) owns(close func() error) { b.plan.closers = append(b.plan.closers, close) }

func prefixes(list []netip.Prefix) *bart.Lite {
	if len(list) == 0 {
		return nil
	}
	t := &bart.Lite{}
	for _, p := range list {
		t.Insert(p.Masked())
	}
	return t
}

func (b *builder) routes() {
	p := b.plan
	matches := make([]route.Match, len(b.spec.Routes))
	p.Routes = make([]Route, len(b.spec.Routes))
	for i := range b.spec.Routes {
		c := &b.spec.Routes[i]
		matches[i] = matchOf(&c.Match)
		matches[i].Preflights = c.CORS != nil
		b.route(c, &p.Routes[i])
	}
	p.node = &Route{Name: observe.NoRoute, Metrics: b.lease.Route(observe.NoRoute)}
	var err error
	if p.table, err = route.Compile(matches); err != nil {
		b.badMatches(matches)
	}
	p.Guarded, p.Spent = guarded(b.spec)
	p.Untrailed = slices.Concat(p.Guarded, p.Spent)
	b.accessRules()
}

// badMatches says of each match that the table refused where it stands.
func (b *builder) badMatches(all []route.Match) {
	for i := range all {
		if _, err := route.Compile(all[i : i+1]); err != nil {
			b.fail(b.spec.Routes[i].Match.Pos, "%s", strings.TrimPrefix(err.Error(), "match 0: "))
		}
	}
}

func matchOf(m *config.Match) route.Match {
	out := route.Match{Hosts: m.Hosts, Path: m.Path, Methods: m.Methods}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, route.HeaderMatch{Name: h.Name, Value: h.Value})
	}
	return out
}

func (b *builder) route(c *config.Route, r *Route) {
	r.Name, r.BodyBytes, r.Timeout = c.Name, c.BodyBytes, c.Timeout
	r.Metrics = b.lease.Route(c.Name)
	r.Allow, r.Deny = prefixes(c.IP.Allow), prefixes(c.IP.Deny)
	r.Early, r.Late = b.limits(c)
	r.Auth = b.auth(c.Auth)
	r.Require, r.Templates = b.policy(c)
	if c.StripPrefix != "" {
		r.Rewrite = &Rewrite{Strip: b.path(c.Pos, "strip_prefix", c.StripPrefix)}
	}
	if c.Rewrite != nil {
		r.Rewrite = &Rewrite{Path: b.path(c.Rewrite.Pos, "rewrite.path", c.Rewrite.Path)}
	}
	switch c.Host {
	case config.HostPreserve, "":
	case config.HostUpstream:
		r.HostOwn = true
	default:
		r.Host = []byte(c.Host)
	}
	r.CORS = b.cors(c.CORS)
	r.Methods = allowed(c.Match.Methods)
	r.Upstream, r.Split = b.upstreams[c.Upstream], b.split(c.Split)
	r.Mirror = b.mirror(c)
	r.Respond = respond(c)
	b.chain(c, r)
}

// path brings a path of the configuration into the form that requests' paths have.
func (b *builder) path(at config.Pos, key, path string) string {
	out, err := route.Normal(path)
	if err != nil {
		b.fail(at, "%s: %w", key, err)
	}
	return out
}

// allowed is the methods of a route as Allow lists them; of one that takes all, those that servers know.
func allowed(methods []string) []byte {
	if len(methods) == 0 {
		return CommonMethods
	}
	list := slices.Clone(methods)
	if slices.Contains(list, "GET") && !slices.Contains(list, "HEAD") {
		list = append(list, "HEAD")
	}
	return joined(list)
}

// CommonMethods is what Allow says where no route tells.
var CommonMethods = []byte("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")

// split makes the choice between upstreams; nil if there is none.
func (b *builder) split(shares []config.Share) *Split {
	s := &Split{}
	for i := range shares {
		c := &shares[i]
		u := b.upstreams[c.Upstream]
		if u == nil {
			continue // it has failed to open, and said so
		}
		if c.Weight > 0 {
			s.total += uint64(c.Weight)
			s.shares = append(s.shares, share{u, s.total})
		}
	}
	if s.total == 0 {
		return nil
	}
	return s
}

// fallbacks gives upstreams what stands in for them. That none goes in a circle the configuration has seen to.
func (b *builder) fallbacks() {
	for i := range b.spec.Upstreams {
		c := &b.spec.Upstreams[i]
		u := b.upstreams[c.Name]
		if u == nil || c.Breaker == nil || c.Breaker.Fallback == nil {
			continue
		}
		f := c.Breaker.Fallback
		u.Fallback = &Fallback{Upstream: b.upstreams[f.Upstream]}
		if f.Respond != nil {
			u.Fallback.Respond = fixed(f.Respond)
		}
	}
}

// chain builds the route's filters, kind by kind, into the order of slots.
func (b *builder) chain(c *config.Route, r *Route) {
	var slots [filter.Slots][]Placed
	seen := map[any]int{}
	for _, k := range b.kinds {
		placed, err := k.Build(filter.Place{Spec: b.spec, Route: c, Upstreams: b.lent})
		for _, f := range placed {
			if f.Answer != nil {
				r.Answers = append(r.Answers, f.Answer)
				continue
			}
			b.owns(f.Filter.Close)
			key := keyOf(&f)
			number := b.number(place{key, seen[key]})
			seen[key]++
			slots[f.Slot] = append(slots[f.Slot], Placed{Placed: f, Number: number, Metrics: b.lease.Filter(f.Name, filterOptions(f.Filter))})
		}
		b.problems.Add(err)
	}
	for s, list := range slots {
		r.Chain = append(r.Chain, list...)
		r.Ends[s] = len(r.Chain)
	}
	if len(r.Chain) > exchange.MaxSlots {
		b.fail(c.Pos, "%d filters on one route; at most %d are possible", len(r.Chain), exchange.MaxSlots)
	}
}

// number gives the number of a place, a new one at its first time.
func (b *builder) number(p place) int {
	n, ok := b.numbers[p]
	if !ok {
		n = len(b.numbers) + 1
		b.numbers[p] = n
	}
	return n
}

// keyOf is what makes f the same filter on another route.
func keyOf(f *filter.Placed) any {
	switch {
	case f.Key != nil:
		return f.Key
	case reflect.ValueOf(f.Filter).Comparable():
		return f.Filter
	}
	return new(int) // like no other
}

func filterOptions(f filter.Filter) observe.FilterOptions {
	o := observe.FilterOptions{Phases: Phases[:], Kinds: fault.Names()}
	if m, ok := f.(filter.Measured); ok {
		o.Instances, o.Memory, o.Stopped = m.Instances, m.Memory, m.Stopped
	}
	if t, ok := f.(filter.Timed); ok {
		o.Calls, o.CPU = t.PhaseNames(), t.Spread
	}
	return o
}

func respond(c *config.Route) *Respond {
	switch {
	case c.Redirect != nil:
		return &Respond{Status: c.Redirect.Status, Header: []exchange.Field{field("Location", c.Redirect.To)}}
	case c.Respond != nil:
		return fixed(c.Respond)
	}
	return nil
}

func fixed(c *config.Respond) *Respond {
	out := &Respond{Status: c.Status, Body: []byte(c.Body)}
	for _, h := range c.Headers {
		out.Header = append(out.Header, field(h.Name, h.Value))
	}
	return out
}

func field(name, value string) exchange.Field {
	return exchange.Field{Name: []byte(name), Value: []byte(value), ID: exchange.Identify([]byte(name))}
}

// guarded lists the request fields that some route sets from an identity: a client that sends one itself, on any route,
// must not be believed by an upstream. Those that may carry a credential stand apart: it has to be read first.
func guarded(s *config.Spec) (names, spent []string) {
	credentials := map[string]bool{"authorization": true, "cookie": true}
	for i := range s.JWT {
		for _, from := range s.JWT[i].From {
			if from.Kind == config.SelectHeader {
				credentials[strings.ToLower(from.Name)] = true
			}
		}
	}
	for i := range s.Routes {
		for _, set := range s.Routes[i].Headers.Request.Set {
			list := &names
			if credentials[set.Name] {
				list = &spent
			}
			if fromIdentity(&set.Value) && !slices.Contains(*list, set.Name) {
				*list = append(*list, set.Name)
			}
		}
	}
	return names, spent
}

func fromIdentity(t *config.Template) bool {
	return slices.ContainsFunc(t.Refs(), func(r config.Ref) bool {
		return r.Kind == config.RefSubject || r.Kind == config.RefClaim
	})
}
