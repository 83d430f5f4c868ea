package importer

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weirproxy/weir/core/config"
)

// Envoy imports documents of Envoy and of Istio: bootstraps, answers of discovery services, config dumps, single listeners,
// clusters and route configurations, WasmPlugins and EnvoyFilters. All documents are one configuration together. The error is
// a *config.Problems.
func Envoy(docs []config.Foreign) (*Result, error) {
	e := &envoy{run: newRun(docs), routed: map[string]bool{}, upstreamUses: map[string][]use{}, routeConfigs: map[string]config.Foreign{}, extensions: map[string]config.Foreign{}}
	for _, d := range docs {
		e.document(d)
	}
	if len(docs) == 0 {
		e.problems.Add(&config.Problem{Message: "there is nothing to import"})
	}
	if e.problems.Err() != nil {
		return nil, e.problems.Err()
	}
	for _, c := range e.clusters {
		e.cluster(c)
	}
	for _, l := range e.listeners {
		e.listener(l)
	}
	e.plugins()
	for _, f := range e.loose {
		e.looseFilter(f)
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for n := range e.routeConfigs {
			if !e.routed[n] && !yield(n) {
				return
			}
		}
	}) {
		e.lost(e.routeConfigs[name].Pos(), "route configuration %s: no listener uses it", name)
	}
	e.tags()
	e.calls()
	return e.result()
}

// envoy is what the documents hold, by kind.
type envoy struct {
	*run
	listeners, clusters, statsTags []config.Foreign
	routeConfigs, extensions       map[string]config.Foreign
	routed                         map[string]bool // route configurations that a listener uses
	loose                          []config.Foreign
	wasmPlugins                    []wasmPlugin
	upstreamUses                   map[string][]use // of clusters, by name
	toldTimeout                    bool
}

// document sorts one document, or resource of a discovery service, by what it is.
func (e *envoy) document(v config.Foreign) {
	switch v.Kind() {
	case config.ForeignNull, config.ForeignAbsent:
		return
	case config.ForeignList:
		for _, item := range v.Items() {
			e.document(item)
		}
		return
	}
	o := e.object(v)
	kind := e.typeOf(o)
	switch {
	case o.has("apiVersion") || o.has("kind"):
		e.resource(o)
	case kind == "Resource":
		e.document(o.get("resource"))
	case kind == "Listener", kind == "" && (o.has("filter_chains") || o.has("address")):
		e.listeners = append(e.listeners, v)
	case kind == "Cluster", kind == "" && (o.has("load_assignment") || o.has("lb_policy") || o.has("connect_timeout")):
		e.clusters = append(e.clusters, v)
	case kind == "RouteConfiguration", kind == "" && o.has("virtual_hosts"):
		e.routeConfigs[o.text("name")] = v
	case kind == "TypedExtensionConfig":
		e.extensions[o.text("name")] = v
	case o.has("resources"):
		for _, r := range o.list("resources") {
			e.document(r)
		}
		o.ignore("version_info", "type_url", "nonce", "control_plane", "canary")
		o.rest()
	case o.has("configs"):
		for _, c := range o.list("configs") {
			e.dump(c)
		}
	case o.has("static_resources") || o.has("admin") || o.has("stats_config") || o.has("dynamic_resources") || o.has("node"):
		e.bootstrap(o)
	case o.has("typed_config"):
		e.loose = append(e.loose, v)
	case o.has("http_filters"): // a piece of a connection manager, as documents show it
		e.loose = append(e.loose, o.list("http_filters")...)
		o.rest()
	default:
		e.fail(v.Pos(), "not known: an Envoy bootstrap, an answer of a discovery service, a listener, a cluster, a route configuration, an HTTP filter, an Istio WasmPlugin or EnvoyFilter is expected")
	}
}

// typeOf is the last name of a message's type.
func (e *envoy) typeOf(o *object) string {
	t := o.text("@type")
	return t[strings.LastIndexAny(t, "./")+1:]
}

func (e *envoy) bootstrap(o *object) {
	s := o.object("static_resources")
	e.listeners = append(e.listeners, s.list("listeners")...)
	e.clusters = append(e.clusters, s.list("clusters")...)
	s.lost("secrets", "name certificates and keys as files")
	s.rest()
	stats := o.object("stats_config")
	e.statsTags = append(e.statsTags, stats.list("stats_tags")...)
	stats.ignore("use_all_default_tags")
	stats.rest()
	e.admin(o.object("admin"))
	o.lost("dynamic_resources", "weir takes no configuration from a control plane: import what it answers, or a config dump")
	o.ignore("@type", "node", "layered_runtime", "overload_manager", "default_regex_engine", "enable_dispatcher_stats")
	o.rest()
}

func (e *envoy) admin(o *object) {
	if o.v.Kind() != config.ForeignObject {
		return
	}
	address, ok := e.address(o.object("address"))
	o.ignore("access_log_path", "access_log", "profile_path", "ignore_global_conn_limit")
	o.rest()
	if !ok {
		return
	}
	for _, local := range []string{"127.0.0.1:", "[::1]:", "localhost:"} {
		if strings.HasPrefix(address, local) {
			e.out.admin = address
			e.did(o.pos(), "admin on %s; weir's pages are others: /metrics /routes /upstreams /filters", address)
			return
		}
	}
	e.lost(o.pos(), "admin on %s: an address that others reach needs a token: admin: {address: …, token: …}", address)
}

// address gives host:port.
func (e *envoy) address(o *object) (string, bool) {
	if p := o.object("pipe"); p.v.Kind() == config.ForeignObject {
		p.ignore("mode")
		return "unix:" + p.text("path"), true
	}
	s := o.object("socket_address")
	s.ignore("protocol", "ipv4_compat", "resolver_name")
	host, port := s.text("address"), s.text("port_value")
	s.lost("named_port", "ports are numbers")
	s.rest()
	o.rest()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port, s.v.Kind() == config.ForeignObject && port != ""
}

// dump reads a part of what /config_dump gives.
func (e *envoy) dump(v config.Foreign) {
	o := e.object(v)
	switch e.typeOf(o) {
	case "BootstrapConfigDump":
		e.bootstrap(o.object("bootstrap"))
	case "ListenersConfigDump":
		e.dumped(o, "static_listeners", "listener")
		for _, d := range o.list("dynamic_listeners") {
			if s := e.object(d).object("active_state"); s.has("listener") {
				e.document(s.get("listener"))
			}
		}
	case "ClustersConfigDump":
		e.dumped(o, "static_clusters", "cluster")
		e.dumped(o, "dynamic_active_clusters", "cluster")
	case "RoutesConfigDump":
		// The static ones stand in their listeners.
		e.dumped(o, "dynamic_route_configs", "route_config")
	case "EcdsConfigDump":
		e.dumped(o, "ecds_filters", "ecds_filter")
	case "ScopedRoutesConfigDump", "SecretsConfigDump", "EndpointsConfigDump":
		e.lost(v.Pos(), "%s", e.typeOf(o))
	default:
		e.lost(v.Pos(), "a part of a config dump that is not known: %s", o.text("@type"))
	}
}

func (e *envoy) dumped(o *object, list, item string) {
	for _, d := range o.list(list) {
		v := e.object(d).get(item)
		// A bootstrap in the same dump has the static ones, too.
		same := func(o config.Foreign) bool {
			return o.Get("name").Text() == v.Get("name").Text() && v.Get("name").Text() != ""
		}
		if slices.ContainsFunc(e.listeners, same) && item == "listener" || slices.ContainsFunc(e.clusters, same) && item == "cluster" {
			continue
		}
		if v.Kind() != config.ForeignAbsent {
			e.document(v)
		}
	}
}

// resource sorts an object of Kubernetes.
func (e *envoy) resource(o *object) {
	switch kind := o.text("kind"); kind {
	case "List":
		for _, item := range o.list("items") {
			e.document(item)
		}
	case "WasmPlugin":
		e.wasmPlugin(o)
	case "EnvoyFilter":
		e.envoyFilter(o)
	default:
		e.lost(o.pos(), "%s %s: of Kubernetes' kinds WasmPlugin and EnvoyFilter are read", kind, o.object("metadata").text("name"))
	}
}

// plugins puts Istio's in the order in which it runs them: by phase, and in one by priority.
func (e *envoy) plugins() {
	slices.SortStableFunc(e.wasmPlugins, func(a, b wasmPlugin) int {
		return cmp.Or(cmp.Compare(a.phase, b.phase), cmp.Compare(b.priority, a.priority))
	})
	for _, p := range e.wasmPlugins {
		if f := e.filter(p.filter); f != nil {
			e.did(f.pos, "plugin %s is the filter %s", p.name, f.name)
			if len(e.out.routes) > 0 {
				e.look(f.pos, "filter %s: put it on the routes that it is for: wasm: [%s]", f.name, f.name)
			}
		}
	}
}

// looseFilter reads a filter that stands alone.
func (e *envoy) looseFilter(v config.Foreign) {
	o := e.object(v)
	if f, ok := e.httpFilter(o); f != nil && ok {
		if f = e.filter(f); f != nil {
			e.did(v.Pos(), "filter %s", f.name)
		}
	}
}

// calls leaves word of what is not told by the source: whom a filter asks.
func (e *envoy) calls() {
	for _, f := range e.out.filters {
		if slices.ContainsFunc(f.comments, func(c string) bool { return strings.HasPrefix(c, "calls:") }) {
			continue
		}
		text := f.config.text
		if f.config.kind == treePayload {
			text = string(appendJSON(nil, f.config.v))
		}
		var named []string
		for _, u := range e.out.upstreams {
			if strings.Contains(text, `"`+u.name+`"`) {
				named = append(named, u.name)
			}
		}
		if len(named) > 0 {
			f.comments = append(f.comments, "calls: "+flowList(named)+" # its configuration names these; without this line it may ask none")
			e.look(f.pos, "filter %s: its configuration names %s; if it asks there, say calls: %s", f.name, strings.Join(named, ", "), flowList(named))
			continue
		}
		f.comments = append(f.comments, "calls: [name] # the upstreams that it may ask, by the names of their clusters; without this line none")
	}
}
