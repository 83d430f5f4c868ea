package importer

import (
	"cmp"
	"slices"

	"github.com/weirproxy/weir/core/config"
)

// listener reads a listener with its filter chains.
func (e *envoy) listener(v config.Foreign) {
	o := e.object(v)
	name := o.text("name")
	address, ok := e.address(o.object("address"))
	name = cmp.Or(name, address)
	o.ignore("@type", "per_connection_buffer_limit_bytes", "traffic_direction", "stat_prefix", "enable_reuse_port", "reuse_port", "listener_filters_timeout",
		"tcp_backlog_size", "drain_type", "continue_on_listener_filters_timeout", "bind_to_port")
	l := &listener{pos: v.Pos(), address: address}
	chains := o.list("filter_chains")
	if o.has("default_filter_chain") {
		chains = append(chains, o.get("default_filter_chain"))
	}
	http := false
	for _, c := range chains {
		http = e.chain(e.object(c), l) || http
	}
	for _, f := range o.list("listener_filters") {
		lf := e.object(f)
		typed, typeURL := e.typed(lf)
		switch kind := filterKind(typeURL, lf.text("name")); kind {
		case "tls_inspector", "http_inspector", "original_dst":
		case "proxy_protocol":
			e.lost(typed.pos(), "listener filter %s: weir has proxy_protocol: {trusted: […]} on a listener, and wants to know whom to believe", lf.text("name"))
		default:
			e.lost(f.Pos(), "listener filter %s", lf.text("name"))
		}
	}
	o.rest()
	switch {
	case !http:
		e.lost(v.Pos(), "listener %s: it has no HTTP", name)
	case !ok:
		e.lost(v.Pos(), "listener %s: it has no address of a host and a port", name)
	case l.tls && len(l.certs) == 0:
		e.lost(v.Pos(), "listener %s on %s: its certificates are not files, and without TLS it must not be served: say listeners: [{address: %q, tls: {certificates: […]}}]", name, address, address)
	case e.run.listener(l):
		e.did(v.Pos(), "listener %s on %s", name, address)
	}
}

// chain reads a filter chain; true if there is HTTP in it.
func (e *envoy) chain(o *object, l *listener) (http bool) {
	o.ignore("name", "transport_socket_connect_timeout", "metadata")
	if m := o.object("filter_chain_match"); m.v.Kind() == config.ForeignObject {
		m.ignore("transport_protocol", "application_protocols")
		if m.has("server_names") {
			e.look(m.at("server_names"), "a filter chain for some names: weir chooses certificates by name and routes by host, on all listeners alike")
		}
		m.rest()
	}
	e.downstreamTLS(o.object("transport_socket"), l)
	for _, f := range o.list("filters") {
		n := e.object(f)
		typed, typeURL := e.typed(n)
		switch kind := filterKind(typeURL, n.text("name")); kind {
		case "http_connection_manager":
			http = true
			e.manager(typed)
		case "wasm":
			e.lost(f.Pos(), "network filter %s: weir runs filters of HTTP", n.text("name"))
		default:
			e.lost(f.Pos(), "network filter %s: weir speaks HTTP", n.text("name"))
		}
		n.rest()
	}
	o.rest()
	return http
}

func (e *envoy) downstreamTLS(o *object, l *listener) {
	if o.v.Kind() != config.ForeignObject {
		return
	}
	o.ignore("name")
	t, _ := e.typed(o)
	t.ignore("@type", "require_sni", "disable_stateless_session_resumption", "full_scan_certs_on_sni_mismatch")
	if t.boolean("require_client_certificate") {
		e.lost(t.at("require_client_certificate"), "clients' certificates: weir has tls: {client_auth: {ca: …, mode: require}} on a listener")
	}
	common := t.object("common_tls_context")
	common.ignore("alpn_protocols")
	l.tls = true
	for _, c := range common.list("tls_certificates") {
		pair := e.object(c)
		cert, key := pair.object("certificate_chain").text("filename"), pair.object("private_key").text("filename")
		if cert == "" || key == "" {
			e.lost(c.Pos(), "a certificate that is not in files: weir reads certificates and keys from files")
			continue
		}
		pair.rest()
		if !slices.Contains(l.certs, [2]string{cert, key}) {
			l.certs = append(l.certs, [2]string{cert, key})
		}
	}
	common.lost("tls_certificate_sds_secret_configs", "certificates come from a control plane: weir reads them from files, and looks after them")
	if common.has("validation_context") || common.has("combined_validation_context") || common.has("validation_context_sds_secret_config") {
		e.lost(common.pos(), "clients' certificates: weir has tls: {client_auth: {ca: …}} on a listener")
	}
	if p := common.object("tls_params"); p.v.Kind() == config.ForeignObject {
		e.lost(p.pos(), "tls_params: weir has tls: {min_version: \"1.2\"}, and 1.3 as well, with ciphers of its own choice")
	}
	common.rest()
	t.rest()
	o.rest()
}

// manager reads an HttpConnectionManager: its filters in their order, and its routes with them.
func (e *envoy) manager(o *object) {
	o.ignore("@type", "stat_prefix", "codec_type", "upgrade_configs", "generate_request_id", "http_protocol_options", "http2_protocol_options",
		"http3_protocol_options", "preserve_external_request_id", "always_set_request_id_in_response", "drain_timeout", "delayed_close_timeout",
		"server_header_transformation", "skip_xff_append", "via", "route_config", "rds")
	o.lost("access_log", "weir has access_log: {output: …}, JSON of its own fields")
	o.lost("tracing", "weir passes tracing fields on")
	o.lost("local_reply_config", "weir's own answers have one form")
	o.lost("use_remote_address", "weir believes forwarding fields from trusted_proxies: only")
	o.lost("xff_num_trusted_hops", "weir believes forwarding fields from trusted_proxies: only")
	for _, k := range []string{"stream_idle_timeout", "request_timeout", "request_headers_timeout", "max_request_headers_kb", "common_http_protocol_options"} {
		o.lost(k, "weir has timeouts: and guards:, of all listeners")
	}
	for _, k := range []string{"normalize_path", "merge_slashes", "path_with_escaped_slashes_action"} {
		o.lost(k, "weir has guards: {double_slash: …, encoded_slash: …}; paths with . and .. are normalised always")
	}
	t := &table{}
	for _, f := range o.list("http_filters") {
		fo := e.object(f)
		name := fo.text("name")
		if fo.boolean("disabled") {
			e.lost(f.Pos(), "HTTP filter %s is disabled, unless a route says otherwise", name)
			continue
		}
		plugin, ok := e.httpFilter(fo)
		if plugin == nil {
			t.guarded = t.guarded || !ok
			if _, typeURL := e.typed(fo); guards[filterKind(typeURL, name)] {
				t.guarded = true
				// What ran before it runs before weir's authentication.
				for i := range t.uses {
					t.uses[i].slot = "edge"
				}
			}
			continue
		}
		filter := e.filter(plugin)
		if filter == nil {
			t.guarded = true
			continue
		}
		e.did(f.Pos(), "HTTP filter %s is the filter %s", name, filter.name)
		t.uses = append(t.uses, named{name, use{f: filter}})
	}
	if t.guarded {
		e.look(o.pos(), "routes of this connection manager: filters that are not translated may have decided who is let in: say auth: on each before it is served")
	}
	if slices.ContainsFunc(t.uses, func(u named) bool { return u.slot != "" }) {
		e.look(o.pos(), "filters before Envoy's authentication stand in slot: edge, those after it right before the upstream")
	}
	e.routesOf(o, t)
	o.rest()
}

// table is what the routes of a connection manager have in common.
type table struct {
	uses    []named
	guarded bool
}

// named is a use with the name of the filter in its chain.
type named struct {
	name string
	use
}

func (e *envoy) routesOf(o *object, t *table) {
	v := o.get("route_config")
	if rds := o.object("rds"); rds.v.Kind() == config.ForeignObject {
		name := rds.text("route_config_name")
		v = e.routeConfigs[name]
		e.routed[name] = true
		if v.Kind() == config.ForeignAbsent {
			e.lost(rds.pos(), "route configuration %s comes from a control plane, and is not among the sources", name)
			return
		}
	}
	o.lost("scoped_routes", "weir has no scopes of routes")
	if v.Kind() == config.ForeignAbsent {
		return
	}
	if len(e.out.routes) > 0 {
		e.look(v.Pos(), "the routes of one more listener: weir's routes are those of all listeners, the first match wins")
	}
	e.routeConfig(e.object(v), t)
}
