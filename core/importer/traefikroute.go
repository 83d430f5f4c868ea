package importer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weirproxy/weir/core/config"
)

// router is one of http.routers.
type router struct {
	pos, rulePos config.Pos
	name, rule   string
	service      string
	middlewares  []config.Foreign
	entries      []string
	priority     int64
	tls          bool
}

func (t *traefik) router(f config.ForeignField) {
	o := t.object(f.Value)
	r := &router{
		pos: f.Pos, rulePos: o.at("rule"), name: f.Name, rule: o.text("rule"), service: o.text("service"), middlewares: o.list("middlewares"),
		entries: o.texts("entryPoints"), priority: o.number("priority", 0), tls: o.has("tls"),
	}
	o.ignore("tls", "ruleSyntax", "observability")
	o.rest()
	t.routers = append(t.routers, r)
}

// local is a name without its provider: auth@file.
func local(name string) string {
	name, _, _ = strings.Cut(name, "@")
	return name
}

// routes makes routes of routers, in the order in which Traefik tries them: by priority, which is the length of the rule
// where none is given.
func (t *traefik) routes() {
	rank := func(r *router) int64 {
		if r.priority != 0 {
			return r.priority
		}
		return int64(len(r.rule))
	}
	slices.SortStableFunc(t.routers, func(a, b *router) int { return cmp.Or(cmp.Compare(rank(b), rank(a)), cmp.Compare(a.name, b.name)) })
	for _, r := range t.routers {
		t.route(r)
	}
	for _, name := range t.order {
		if _, used := t.filters[name]; !used && t.middlewares[name].Get("plugin").Kind() == config.ForeignAbsent && len(t.routers) == 0 {
			t.lost(t.middlewares[name].Pos(), "middleware %s: no router uses it", name)
		}
	}
}

// route makes routes of a router, one for each alternative of its rule.
func (t *traefik) route(r *router) {
	alternatives, err := parseRule(r.rule)
	if err != nil {
		t.lost(r.rulePos, "router %s: rule %s: %v", r.name, r.rule, err)
		return
	}
	base := &route{pos: r.pos, name: nameOf(r.name)}
	t.middlewaresOf(r, base)
	if why := t.target(r, base); why != "" {
		t.lost(r.pos, "router %s: %s", r.name, why)
		return
	}
	var all []*route
	for _, terms := range alternatives {
		x := *base
		why, wider := matchTerms(terms, &x)
		if why != "" {
			t.lost(r.rulePos, "router %s: rule %s: %s; what it took goes to the routes after it", r.name, r.rule, why)
			continue
		}
		if wider != "" {
			t.look(r.rulePos, "router %s: PathPrefix(`%s`) also took %sx; weir's %s takes %s and what is below", r.name, wider, wider, x.path, wider)
		}
		// Alternatives that differ in nothing but their hosts are one route.
		i := slices.IndexFunc(all, func(o *route) bool {
			return o.path == x.path && slices.Equal(o.methods, x.methods) && slices.Equal(o.headers, x.headers) && len(o.hosts) > 0 && len(x.hosts) > 0
		})
		if i >= 0 {
			for _, h := range x.hosts {
				if !slices.Contains(all[i].hosts, h) {
					all[i].hosts = append(all[i].hosts, h)
				}
			}
			continue
		}
		all = append(all, &x)
	}
	for _, x := range all {
		if t.run.route(x) {
			t.did(r.pos, "router %s is the route %s", r.name, x.name)
		}
	}
	if base.guarded {
		t.look(r.pos, "router %s: a middleware that is not translated may have decided who is let in: say auth: on its routes before they are served", r.name)
	}
}

// likeMiddleware is what weir has of Traefik's own middlewares.
var likeMiddleware = map[string]string{
	"addPrefix": "weir has rewrite: on a route", "basicAuth": "weir has auth: by tokens and certificates", "buffering": "weir has body_bytes: on a route",
	"circuitBreaker": "weir has breaker: on an upstream", "compress": "weir compresses nothing", "digestAuth": "weir has auth: by tokens and certificates",
	"errors": "", "forwardAuth": "who is let in was decided by a service; weir has auth: by tokens and certificates", "inFlightReq": "weir has max_in_flight: on an upstream",
	"passTLSClientCert": "weir has auth: {mtls: true}", "rateLimit": "weir has limits: on a route", "redirectRegex": "weir has redirect: on a route",
	"redirectScheme": "weir has redirect: on a route", "replacePathRegex": "weir has rewrite: on a route", "retry": "weir has retry: on an upstream",
	"stripPrefixRegex": "weir has strip_prefix: on a route", "contentType": "weir guesses no types", "grpcWeb": "weir passes gRPC on as it is",
}

var guardMiddleware = map[string]bool{"basicAuth": true, "digestAuth": true, "forwardAuth": true}

// middlewaresOf puts what a router's middlewares are with weir into its route.
func (t *traefik) middlewaresOf(r *router, x *route) {
	seen := map[string]bool{}
	var walk func(v config.Foreign)
	walk = func(v config.Foreign) {
		name := local(t.text(v))
		m, ok := t.middlewares[name]
		switch {
		case !ok:
			t.lost(v.Pos(), "router %s: middleware %s is not in the source", r.name, t.text(v))
			// Nobody knows but that it was what let people in.
			x.guarded = true
			return
		case seen[name]:
			return
		}
		seen[name] = true
		for _, f := range m.Fields() {
			switch f.Name {
			case "plugin":
				if w := t.filters[name]; w != nil {
					x.uses = append(x.uses, use{f: w})
				} else {
					x.guarded = true
				}
			case "chain":
				for _, inner := range t.object(f.Value).list("middlewares") {
					walk(inner)
				}
			default:
				t.ownMiddleware(r, name, f, x)
			}
		}
	}
	for _, v := range r.middlewares {
		walk(v)
	}
}

// ownMiddleware reads one of Traefik's own.
func (t *traefik) ownMiddleware(r *router, name string, f config.ForeignField, x *route) {
	o := t.object(f.Value)
	switch f.Name {
	case "stripPrefix":
		prefixes := o.texts("prefixes")
		o.ignore("forceSlash")
		o.rest()
		if len(prefixes) == 1 && strings.Trim(prefixes[0], "/") != "" {
			x.keys = append(x.keys, "strip_prefix: "+quote(prefixes[0]))
			return
		}
		t.lost(f.Pos, "middleware %s: stripPrefix of several prefixes: weir has one strip_prefix: on a route", name)
	case "replacePath":
		x.keys = append(x.keys, "rewrite: {path: "+quote(o.text("path"))+"}")
		o.rest()
	case "ipAllowList", "ipWhiteList":
		x.keys = append(x.keys, "ip: {allow: "+flowList(o.texts("sourceRange"))+"}")
		o.rest()
	case "headers":
		request, response := t.headers(o.get("customRequestHeaders")), t.headers(o.get("customResponseHeaders"))
		if request != "" || response != "" {
			x.keys = append(x.keys, "headers: {"+strings.Join(slices.DeleteFunc([]string{prefixed("request: ", request), prefixed("response: ", response)},
				func(s string) bool { return s == "" }), ", ")+"}")
		}
		o.rest()
	default:
		if guardMiddleware[f.Name] {
			x.guarded = true
			for i := range x.uses {
				x.uses[i].slot = "edge"
			}
		}
		t.lost(f.Pos, "router %s: middleware %s is %s: %s", r.name, name, f.Name, cmp.Or(likeMiddleware[f.Name], "weir has none like it"))
	}
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// headers makes a change of header fields: an empty value removes a field.
func (t *traefik) headers(v config.Foreign) string {
	var set, remove []string
	for _, f := range v.Fields() {
		if f.Value.Text() == "" {
			remove = append(remove, strings.ToLower(f.Name))
			continue
		}
		set = append(set, scalar(strings.ToLower(f.Name))+": "+quote(t.text(f.Value)))
	}
	var parts []string
	if len(set) > 0 {
		parts = append(parts, "set: {"+strings.Join(set, ", ")+"}")
	}
	if len(remove) > 0 {
		parts = append(parts, "remove: "+flowList(remove))
	}
	if len(parts) == 0 {
		return ""
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// target says where a router's requests go.
func (t *traefik) target(r *router, x *route) (why string) {
	if strings.HasSuffix(r.service, "@internal") {
		return "its service " + r.service + " is a part of Traefik"
	}
	name := local(r.service)
	v, ok := t.services[name]
	if !ok {
		t.service(name, config.Foreign{}, r.pos)
		x.target, x.needs = "upstream: "+quote(name), []string{name}
		return ""
	}
	o := t.object(v)
	switch {
	case o.has("weighted"):
		return t.weighted(o.object("weighted"), x)
	case o.has("mirroring"):
		m := o.object("mirroring")
		main := local(m.text("service"))
		t.service(main, t.services[main], r.pos)
		x.target, x.needs = "upstream: "+quote(main), []string{main}
		for i, v := range m.list("mirrors") {
			c := t.object(v)
			to := local(c.text("name"))
			if i > 0 {
				t.lost(v.Pos(), "service %s: one more mirror; weir has one", name)
				continue
			}
			t.service(to, t.services[to], r.pos)
			x.keys = append(x.keys, fmt.Sprintf("mirror: {upstream: %s, share: %d%%}", quote(to), c.number("percent", 100)))
			x.needs = append(x.needs, to)
		}
		m.ignore("mirrorBody", "maxBodySize", "healthCheck")
		m.rest()
		return ""
	case o.has("failover"):
		return "its service " + name + " is a failover; weir has breaker: {fallback: {upstream: …}} on an upstream"
	}
	if lb := o.object("loadBalancer"); lb.has("passHostHeader") && !lb.boolean("passHostHeader") {
		x.keys = append(x.keys, "host: upstream")
	}
	t.service(name, v, r.pos)
	x.target, x.needs = "upstream: "+quote(name), []string{name}
	return ""
}

func (t *traefik) weighted(o *object, x *route) (why string) {
	var parts []string
	for _, v := range o.list("services") {
		c := t.object(v)
		name := local(c.text("name"))
		weight := c.number("weight", 1)
		c.rest()
		t.service(name, t.services[name], v.Pos())
		if weight > 0 {
			parts = append(parts, fmt.Sprintf("{upstream: %s, weight: %d}", quote(name), weight))
			x.needs = append(x.needs, name)
		}
	}
	o.lost("sticky", "weir has balance: hash on an upstream")
	o.ignore("healthCheck")
	o.rest()
	x.target = "split: [" + strings.Join(parts, ", ") + "]"
	return ""
}

// service makes an upstream of a service, once.
func (t *traefik) service(name string, v config.Foreign, from config.Pos) {
	if t.known(name) {
		return
	}
	u := &upstream{pos: v.Pos(), name: name}
	if v.Kind() == config.ForeignAbsent {
		u.pos = from
	}
	lb := t.object(v).object("loadBalancer")
	h2 := false
	for _, s := range lb.list("servers") {
		server := t.object(s)
		url := strings.TrimRight(server.text("url"), "/")
		if rest, ok := strings.CutPrefix(url, "h2c://"); ok {
			url, h2 = "http://"+rest, true
		}
		weight := server.number("weight", 0)
		server.ignore("preservePath")
		server.rest()
		probe := &upstream{pos: s.Pos(), name: name, endpoints: []endpoint{{url, weight}}}
		if slices.ContainsFunc(u.endpoints, func(e endpoint) bool { return e.url == url }) {
			continue
		}
		if _, ok := t.accept(s.Pos(), "service "+name+": server "+url, model{upstreams: []*upstream{probe}}); ok {
			u.endpoints = append(u.endpoints, probe.endpoints[0])
		}
	}
	if h2 {
		u.keys = append(u.keys, "protocol: h2")
	}
	if c := lb.object("healthCheck"); c.v.Kind() == config.ForeignObject {
		keys := []string{"path: " + quote(c.text("path"))}
		interval, timeout := c.duration("interval"), c.duration("timeout")
		if interval > 0 {
			keys = append(keys, "interval: "+seconds(interval))
		}
		if timeout > 0 && (interval == 0 || timeout <= interval) {
			keys = append(keys, "timeout: "+seconds(timeout))
		}
		c.rest()
		u.keys = append(u.keys, "health_check: {"+strings.Join(keys, ", ")+"}")
	}
	lb.lost("sticky", "weir has balance: hash on an upstream")
	lb.lost("serversTransport", "weir has tls: and timeouts: on an upstream")
	lb.ignore("passHostHeader", "responseForwarding", "strategy")
	lb.rest()
	if len(u.endpoints) == 0 {
		t.placeholder(u, u.pos, "service %s: its servers are not in the source", name)
	}
	if t.upstream(u) {
		t.did(u.pos, "service %s is the upstream %s", name, name)
	}
}
