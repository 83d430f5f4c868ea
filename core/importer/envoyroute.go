package importer

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/weirproxy/weir/core/config"
)

// host is a set of domains of one virtual host that are equally specific.
type host struct {
	o      *object
	name   string
	rank   int // of specificity: exact names before wildcards, long ones before short, and before "*"
	hosts  []string
	routes []config.Foreign
}

// routeConfig reads a RouteConfiguration. Envoy chooses the most specific virtual host, and then looks at no other; weir takes
// the first route that matches: so they are put in the order of Envoy's choice, and closed where one could fall through.
func (e *envoy) routeConfig(o *object, t *table) {
	o.ignore("@type", "name", "validate_clusters", "ignore_port_in_host_matching", "most_specific_header_mutations_wins")
	var all []host
	for _, v := range o.list("virtual_hosts") {
		all = append(all, e.virtualHost(e.object(v))...)
	}
	for _, k := range headerKeys {
		e.headerKey(o, k)
	}
	o.rest()
	slices.SortStableFunc(all, func(a, b host) int { return cmp.Compare(a.rank, b.rank) })
	for i, h := range all {
		closed := false
		for n, v := range h.routes {
			name := h.name
			if len(h.routes) > 1 {
				name = fmt.Sprintf("%s-%d", h.name, n+1)
			}
			// Of a virtual host that stands here several times, what is lost is told of once.
			notes := len(e.notes)
			x := e.route(e.object(v), h, name, t)
			if slices.ContainsFunc(all[:i], func(o host) bool { return o.o == h.o }) {
				e.notes = e.notes[:notes]
			}
			closed = closed || x != nil && x.path == "/*" && len(x.methods)+len(x.headers) == 0
		}
		if !closed && h.rank < rankAny && slices.ContainsFunc(all[i+1:], func(o host) bool { return o.rank > rankExact }) {
			e.run.route(&route{
				pos: h.o.pos(), name: h.name + "-else", hosts: h.hosts, path: "/*", target: "respond: {status: 404}",
				comments: []string{"Envoy looks at no other virtual host once it has chosen one."},
			})
		}
	}
}

const (
	rankExact = 0
	rankAny   = 1000
)

// virtualHost splits its domains by how specific they are.
func (e *envoy) virtualHost(o *object) []host {
	name := nameOf(o.text("name"))
	byRank := map[int][]string{}
	for _, v := range o.list("domains") {
		d := strings.ToLower(e.text(v))
		if i := strings.LastIndexByte(d, ':'); i > 0 && !strings.HasSuffix(d, "]") {
			if d[i+1:] != "*" {
				e.look(v.Pos(), "domain %s: weir does not look at the port of a host", d)
			}
			d = d[:i]
		}
		rank := rankExact
		switch {
		case d == "*":
			rank, d = rankAny, ""
		case strings.HasPrefix(d, "*."):
			rank = rankAny - len(d)
		case strings.Contains(d, "*"):
			e.lost(v.Pos(), "domain %s: weir's wildcards stand for whole names in front: *.example.com", d)
			continue
		}
		if !slices.Contains(byRank[rank], d) {
			byRank[rank] = append(byRank[rank], d)
		}
	}
	routes := o.list("routes")
	var out []host
	for rank, hosts := range byRank {
		if rank == rankAny {
			hosts = nil
		}
		out = append(out, host{o, name, rank, hosts, routes})
	}
	slices.SortFunc(out, func(a, b host) int { return cmp.Compare(a.rank, b.rank) })
	if len(out) > 0 && out[len(out)-1].rank == rankAny {
		out = out[len(out)-1:] // it takes them all
	}
	switch o.enum("require_tls") {
	case "", "NONE":
	default:
		e.lost(o.at("require_tls"), "virtual host %s: require_tls: weir serves the same routes on all listeners", name)
	}
	o.lost("cors", "weir has cors: on a route")
	o.lost("rate_limits", "weir has limits: on a route")
	o.lost("retry_policy", "weir has retry: on an upstream")
	o.lost("typed_per_filter_config", "say it on each route")
	o.ignore("include_request_attempt_count", "include_attempt_count_in_response", "@type")
	for _, k := range headerKeys {
		e.headerKey(o, k)
	}
	o.rest()
	return out
}

var headerKeys = []string{"request_headers_to_add", "request_headers_to_remove", "response_headers_to_add", "response_headers_to_remove"}

func (e *envoy) headerKey(o *object, key string) {
	o.lost(key, "weir has headers: {request: {set: …, remove: …}, response: …} on a route")
}

// route reads a route; nil if it could not be translated.
func (e *envoy) route(o *object, h host, name string, t *table) *route {
	if n := o.text("name"); n != "" {
		name = nameOf(n)
	}
	x := &route{pos: o.pos(), name: name, hosts: h.hosts, guarded: t.guarded}
	notes, told := len(e.notes), e.toldTimeout
	if why := e.fill(o, x, t); why != "" {
		e.lost(o.pos(), "route %s: %s; what it took goes to the routes after it", name, why)
	} else if e.run.route(x) {
		e.did(o.pos(), "route %s", x.name)
		return x
	}
	// There is nothing to look at.
	e.toldTimeout = told
	e.notes = append(e.notes[:notes], slices.DeleteFunc(e.notes[notes:], func(n Note) bool { return n.Level == Look })...)
	return nil
}

// fill reads a route into x; why says what it is that weir has not.
func (e *envoy) fill(o *object, x *route, t *table) (why string) {
	o.ignore("@type", "decorator", "stat_prefix")
	o.lost("tracing", "weir passes tracing fields on")
	for _, k := range headerKeys {
		e.headerKey(o, k)
	}
	if why := e.match(o.object("match"), x); why != "" {
		return why
	}
	if m := o.object("metadata"); m.v.Kind() == config.ForeignObject {
		x.metadata = e.metadata(m)
	}
	off := e.perFilter(o, x.name)
	for _, u := range t.uses {
		if !off[u.name] {
			x.uses = append(x.uses, u.use)
		}
	}
	if why = e.action(o, x); why == "" {
		o.rest()
	}
	return why
}

// perFilter reads which filters a route leaves out.
func (e *envoy) perFilter(o *object, name string) map[string]bool {
	off := map[string]bool{}
	for _, f := range o.get("typed_per_filter_config").Fields() {
		if e.object(f.Value).boolean("disabled") {
			off[f.Name] = true
			continue
		}
		e.lost(f.Pos, "route %s: configuration of filter %s for the route alone", name, f.Name)
	}
	return off
}

// metadata gives the part of a Metadata that filters read.
func (e *envoy) metadata(o *object) config.Foreign {
	v := o.get("filter_metadata")
	o.lost("typed_filter_metadata", "metadata of types of their own")
	o.rest()
	for _, f := range v.Fields() {
		if f.Value.Kind() != config.ForeignObject {
			e.wants(f.Value, "keys and values")
		}
	}
	if !plainKeys(v) {
		e.lost(v.Pos(), "metadata with ${ in a key")
		return config.Foreign{}
	}
	return v
}

var simplePath = regexp.MustCompile(`^\^?(/[A-Za-z0-9_/.~-]*?)/?\.\*\$?$`)

// match reads a RouteMatch. A condition that weir has not makes the whole route one that it has not: without it the route would
// take more than it should.
func (e *envoy) match(o *object, x *route) (why string) {
	pattern := o.object("safe_regex").text("regex")
	switch {
	case o.has("prefix"):
		p := o.text("prefix")
		x.path = strings.TrimRight(p, "/") + "/*"
		if p != "/" && p != "" && !strings.HasSuffix(p, "/") {
			e.look(o.at("prefix"), "route %s: prefix %s also took %sx; weir's %s takes %s and what is below", x.name, p, p, x.path, p)
		}
	case o.has("path_separated_prefix"):
		x.path = strings.TrimRight(o.text("path_separated_prefix"), "/") + "/*"
	case o.has("path"):
		x.path = o.text("path")
	case pattern == ".*" || pattern == "/.*" || pattern == "^/.*$":
		x.path = "/*"
	case simplePath.MatchString(pattern) && !strings.Contains(strings.TrimSuffix(strings.TrimSuffix(pattern, "$"), ".*"), "."):
		x.path = simplePath.FindStringSubmatch(pattern)[1] + "/*"
		e.look(o.at("safe_regex"), "route %s: the pattern %s is %s", x.name, pattern, x.path)
	case pattern != "":
		return "it matches by the pattern " + pattern
	default:
		return "its match is none of prefix, path, path_separated_prefix and safe_regex"
	}
	if c := o.get("case_sensitive"); c.Text() == "false" {
		e.look(c.Pos(), "route %s: weir tells capitals in paths from small letters", x.name)
	}
	for _, v := range o.list("headers") {
		if why := e.headerMatch(e.object(v), x); why != "" {
			return why
		}
	}
	for _, k := range []string{"query_parameters", "grpc", "tls_context", "dynamic_metadata", "runtime_fraction", "filter_state", "cookies"} {
		if o.has(k) {
			return "it matches by " + k
		}
	}
	o.ignore("case_sensitive", "safe_regex")
	o.rest()
	return ""
}

func (e *envoy) headerMatch(o *object, x *route) (why string) {
	name := strings.ToLower(o.text("name"))
	value, exact := "", true
	m := o.object("string_match")
	switch {
	case o.has("exact_match"):
		value = o.text("exact_match")
	case m.has("exact") && !m.boolean("ignore_case"):
		value = m.text("exact")
	default:
		exact = false
	}
	if !exact || o.boolean("invert_match") {
		return "it matches the header " + name + " by more than one value"
	}
	m.rest()
	o.rest()
	switch name {
	case ":method":
		x.methods = append(x.methods, value)
		if len(x.methods) > 1 {
			return "it matches two methods at once"
		}
	case ":authority", "host":
		if len(x.hosts) > 0 {
			return "it matches the header " + name
		}
		x.hosts = []string{strings.ToLower(value)}
	default:
		if strings.HasPrefix(name, ":") {
			return "it matches the header " + name
		}
		x.headers = append(x.headers, [2]string{name, value})
	}
	return ""
}

// action reads where a route leads.
func (e *envoy) action(o *object, x *route) (why string) {
	if d := o.object("direct_response"); d.v.Kind() == config.ForeignObject {
		body := d.object("body")
		x.target = fmt.Sprintf("respond: {status: %d", d.number("status", 200))
		if body.has("inline_string") {
			x.target += ", body: " + quote(body.text("inline_string"))
		}
		x.target += "}"
		body.rest()
		d.rest()
		return ""
	}
	if r := o.object("redirect"); r.v.Kind() == config.ForeignObject {
		return e.redirect(r, x)
	}
	r := o.object("route")
	if r.v.Kind() != config.ForeignObject {
		return "it leads nowhere that weir knows"
	}
	switch {
	case r.has("cluster"):
		name := r.text("cluster")
		x.target, x.needs = "upstream: "+quote(name), []string{name}
		x.uses = append(x.uses, e.upstreamUses[name]...)
	case r.has("weighted_clusters"):
		if why := e.split(r.object("weighted_clusters"), x); why != "" {
			return why
		}
		for _, name := range x.needs {
			if len(e.upstreamUses[name]) > 0 {
				x.guarded = true
				e.lost(r.at("weighted_clusters"), "route %s: filters of the cluster %s alone: weir's stand on routes", x.name, name)
			}
		}
	default:
		return "its upstream is chosen while a request is under way"
	}
	for _, name := range x.needs {
		e.need(r.pos(), name)
	}
	e.forward(r, x)
	r.rest()
	return ""
}

func (e *envoy) split(o *object, x *route) (why string) {
	var parts []string
	for _, v := range o.list("clusters") {
		c := e.object(v)
		name, weight := c.text("name"), c.number("weight", 1)
		c.rest()
		if name == "" {
			return "its upstream is chosen while a request is under way"
		}
		if weight == 0 {
			continue
		}
		parts = append(parts, fmt.Sprintf("{upstream: %s, weight: %d}", quote(name), weight))
		x.needs = append(x.needs, name)
	}
	o.ignore("total_weight", "runtime_key_prefix")
	o.rest()
	x.target = "split: [" + strings.Join(parts, ", ") + "]"
	return ""
}

// forward reads how a request is sent on.
func (e *envoy) forward(r *object, x *route) {
	if r.has("prefix_rewrite") {
		from, to := strings.TrimSuffix(x.path, "/*"), r.text("prefix_rewrite")
		switch {
		case !strings.HasSuffix(x.path, "/*"):
			x.keys = append(x.keys, "rewrite: {path: "+quote(to)+"}")
		case to == "/" && from != "":
			x.keys = append(x.keys, "strip_prefix: "+quote(from))
		case strings.TrimRight(to, "/") == from:
		default:
			e.lost(r.at("prefix_rewrite"), "route %s: prefix_rewrite %s: weir cuts a prefix off (strip_prefix) or replaces a whole path (rewrite)", x.name, to)
		}
	}
	switch {
	case r.has("host_rewrite_literal"):
		x.keys = append(x.keys, "host: "+quote(strings.ToLower(r.text("host_rewrite_literal"))))
	case r.boolean("auto_host_rewrite"):
		x.keys = append(x.keys, "host: upstream")
	}
	if d := r.duration("timeout"); d > 0 {
		x.keys = append(x.keys, "timeout: "+seconds(d))
	} else if !r.has("timeout") && !e.toldTimeout {
		e.toldTimeout = true
		e.look(r.pos(), "route %s, and perhaps others: Envoy ends an exchange after 15s unless told otherwise, weir does not: timeout: 15s", x.name)
	}
	r.lost("retry_policy", "weir has retry: on an upstream")
	r.lost("hash_policy", "weir has balance: hash on an upstream")
	r.lost("request_mirror_policies", "weir has mirror: {upstream: …, share: …} on a route")
	r.lost("rate_limits", "weir has limits: on a route")
	r.lost("cors", "weir has cors: on a route")
	r.ignore("idle_timeout", "upgrade_configs", "max_stream_duration", "priority", "append_x_forwarded_host")
}

// redirect reads a RedirectAction: those that name the whole target.
func (e *envoy) redirect(r *object, x *route) (why string) {
	path, host := r.text("path_redirect"), r.text("host_redirect")
	status, ok := map[string]int{"": 301, "MOVED_PERMANENTLY": 301, "FOUND": 302, "SEE_OTHER": 303, "TEMPORARY_REDIRECT": 307, "PERMANENT_REDIRECT": 308}[r.enum("response_code")]
	scheme := r.text("scheme_redirect")
	if r.boolean("https_redirect") {
		scheme = "https"
	}
	to := path
	if host != "" && path != "" {
		to = cmp.Or(scheme, "http") + "://" + host + path
		if scheme == "" {
			e.look(r.at("host_redirect"), "route %s: the redirect kept the scheme of the request, weir's says it", x.name)
		}
	}
	if !ok || path == "" || host == "" && scheme != "" {
		return "it redirects to what depends on the request; weir's redirect names the whole target"
	}
	x.target = fmt.Sprintf("redirect: {to: %s, status: %d}", quote(to), status)
	r.ignore("strip_query")
	r.rest()
	return ""
}
