package importer

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weirproxy/weir/core/config"
)

// cluster makes an upstream of a cluster.
func (e *envoy) cluster(v config.Foreign) {
	o := e.object(v)
	u := &upstream{pos: v.Pos(), name: o.text("name")}
	o.ignore("@type", "alt_stat_name", "type", "cluster_type", "per_connection_buffer_limit_bytes", "dns_lookup_family", "respect_dns_ttl", "observability_name",
		"use_tcp_for_dns_lookups", "dns_resolvers", "typed_dns_resolver_config", "wait_for_warm_on_init", "cleanup_interval", "eds_cluster_config")
	if e.known(u.name) {
		e.lost(v.Pos(), "cluster %s stands in the source already", u.name)
		return
	}
	scheme := e.upstreamTLS(o.object("transport_socket"), u)
	e.endpoints(o, u, scheme)
	e.balance(o, u)
	if d := o.duration("connect_timeout"); d > 0 {
		u.keys = append(u.keys, "timeouts: {connect: "+seconds(d)+"}")
	}
	e.protocol(o, u)
	e.healthCheck(o, u)
	o.lost("outlier_detection", "weir has ejection: and breaker: on an upstream")
	e.circuit(o, u)
	if d := o.duration("dns_refresh_rate"); d > 0 {
		u.keys = append(u.keys, "resolve: "+seconds(d))
	}
	if m := o.object("metadata"); m.v.Kind() == config.ForeignObject {
		u.metadata = e.metadata(m)
	}
	o.rest()
	if len(u.endpoints) == 0 {
		e.placeholder(u, v.Pos(), "cluster %s has no endpoints of hosts and ports in the source", u.name)
	}
	if e.run.upstream(u) {
		e.did(v.Pos(), "cluster %s is the upstream %s", u.name, u.name)
	}
}

// placeholder gives an upstream an endpoint that never answers: a name that is nobody's (RFC 6761 §6.4).
func (r *run) placeholder(u *upstream, pos config.Pos, format string, args ...any) {
	r.lost(pos, format+": write them in place of the one that stands there", args...)
	label := strings.Trim(strings.ReplaceAll(strings.ToLower(nameOf(u.name)), "_", "-"), "-.")
	u.endpoints = []endpoint{{url: "http://" + label[:min(len(label), 60)] + ".invalid:80"}}
	u.comments = append(u.comments, "Write the endpoints here: the source does not say them.")
}

// need makes sure that there is an upstream of that name.
func (e *envoy) need(pos config.Pos, name string) {
	if e.known(name) {
		return
	}
	u := &upstream{pos: pos, name: name}
	e.placeholder(u, pos, "cluster %s is not in the source, its endpoints are not known", name)
	e.run.upstream(u)
}

// endpoints reads a ClusterLoadAssignment.
func (e *envoy) endpoints(o *object, u *upstream, scheme string) {
	load := o.object("load_assignment")
	load.ignore("cluster_name", "named_endpoints")
	load.lost("policy", "weir has panic_threshold: on an upstream")
	seen := map[string]int{}
	most := int64(0)
	for _, v := range load.list("endpoints") {
		locality := e.object(v)
		locality.ignore("locality")
		if p := locality.number("priority", 0); p > 0 {
			e.lost(locality.at("priority"), "cluster %s: endpoints of priority %d: weir has breaker: {fallback: {upstream: …}}", u.name, p)
			continue
		}
		locality.lost("load_balancing_weight", "weights are those of endpoints")
		for _, l := range locality.list("lb_endpoints") {
			lb := e.object(l)
			ep := lb.object("endpoint")
			address, ok := e.address(ep.object("address"))
			ep.ignore("hostname")
			ep.lost("health_check_config", "checks go to the endpoint itself")
			weight := lb.number("load_balancing_weight", 0)
			lb.lost("metadata", "metadata is that of an upstream")
			lb.ignore("health_status")
			ep.rest()
			lb.rest()
			if !ok || strings.HasPrefix(address, "unix:") {
				e.lost(l.Pos(), "cluster %s: an endpoint that is no host and port", u.name)
				continue
			}
			url := scheme + "://" + address
			if i, dup := seen[url]; dup {
				u.endpoints[i].weight = max(u.endpoints[i].weight, 1) + max(weight, 1)
				continue
			}
			seen[url] = len(u.endpoints)
			u.endpoints = append(u.endpoints, endpoint{url, weight})
			most = max(most, weight)
		}
		locality.rest()
	}
	load.rest()
	if most > 1000 {
		for i := range u.endpoints {
			u.endpoints[i].weight = max(u.endpoints[i].weight*1000/most, 1)
		}
		e.look(load.pos(), "cluster %s: weights are at most 1000 with weir; theirs are scaled", u.name)
	}
	if len(u.endpoints) == 0 {
		e.istioService(u, scheme)
	}
}

// istioService guesses the address that the name of one of Istio's clusters has in it: outbound|80||name.namespace.svc.….
func (e *envoy) istioService(u *upstream, scheme string) {
	parts := strings.Split(u.name, "|")
	if len(parts) != 4 || parts[0] != "outbound" || parts[3] == "" {
		return
	}
	if _, err := strconv.ParseUint(parts[1], 10, 16); err != nil {
		return
	}
	u.endpoints = []endpoint{{url: scheme + "://" + parts[3] + ":" + parts[1]}}
	e.look(u.pos, "cluster %s: its endpoints come from a control plane; the address is guessed from its name", u.name)
}

func (e *envoy) upstreamTLS(o *object, u *upstream) (scheme string) {
	if o.v.Kind() != config.ForeignObject {
		return "http"
	}
	name := o.text("name")
	t, typeURL := e.typed(o)
	if !strings.HasSuffix(typeURL, "UpstreamTlsContext") && name != "envoy.transport_sockets.tls" {
		if !strings.HasSuffix(name, "raw_buffer") {
			e.lost(o.pos(), "cluster %s: transport socket %s", u.name, name)
		}
		return "http"
	}
	t.ignore("@type", "allow_renegotiation", "max_session_keys", "auto_host_sni")
	common := t.object("common_tls_context")
	common.ignore("alpn_protocols")
	var keys []string
	if sni := t.text("sni"); sni != "" {
		keys = append(keys, "server_name: "+quote(sni))
	}
	validation := common.object("validation_context")
	trusted := validation.object("trusted_ca")
	switch ca := trusted.text("filename"); {
	case ca != "":
		keys = append(keys, "ca: "+quote(ca))
	case trusted.v.Kind() == config.ForeignObject:
		e.lost(trusted.pos(), "cluster %s: roots that are not in a file; weir has tls: {ca: …}", u.name)
	default:
		e.look(o.pos(), "cluster %s: Envoy checks no certificate where no trusted_ca is given; weir always does, by the system's roots", u.name)
	}
	for _, c := range common.list("tls_certificates") {
		pair := e.object(c)
		cert, key := pair.object("certificate_chain").text("filename"), pair.object("private_key").text("filename")
		if cert == "" || key == "" {
			e.lost(c.Pos(), "cluster %s: a certificate that is not in files", u.name)
			continue
		}
		keys = append(keys, "cert: "+quote(cert), "key: "+quote(key))
		break
	}
	validation.rest()
	common.rest()
	t.rest()
	if len(keys) > 0 {
		u.keys = append(u.keys, "tls: {"+strings.Join(keys, ", ")+"}")
	}
	return "https"
}

func (e *envoy) balance(o *object, u *upstream) {
	switch policy := o.enum("lb_policy"); policy {
	case "", "ROUND_ROBIN", "CLUSTER_PROVIDED":
	case "LEAST_REQUEST":
		u.keys = append(u.keys, "balance: least_requests")
	case "RANDOM":
		u.keys = append(u.keys, "balance: random")
	default:
		e.lost(o.at("lb_policy"), "cluster %s: lb_policy %s: weir has balance: hash with hash: {on: \"header:…\"}", u.name, policy)
	}
	o.lost("load_balancing_policy", "weir has balance: on an upstream")
	o.ignore("least_request_lb_config", "round_robin_lb_config")
}

// protocol finds out whether a cluster is spoken to in HTTP/2.
func (e *envoy) protocol(o *object, u *upstream) {
	h2 := o.has("http2_protocol_options")
	for _, f := range o.get("typed_extension_protocol_options").Fields() {
		p := e.object(f.Value)
		explicit := p.object("explicit_http_config")
		h2 = h2 || explicit.has("http2_protocol_options")
		e.upstreamFilters(p, u)
		p.ignore("@type", "common_http_protocol_options", "upstream_http_protocol_options")
		if p.has("use_downstream_protocol_config") || p.has("auto_config") {
			e.look(f.Pos, "cluster %s: its protocol follows that of clients or of the endpoint; weir's is protocol: http1 or h2", u.name)
		}
		p.rest()
	}
	if h2 {
		u.keys = append(u.keys, "protocol: h2")
	}
}

// upstreamFilters reads the filters of a cluster: they stand last on the routes that lead to it.
func (e *envoy) upstreamFilters(o *object, u *upstream) {
	for _, v := range o.list("http_filters") {
		f := e.object(v)
		if kind := filterKind(f.object("typed_config").text("@type"), f.text("name")); kind == "upstream_codec" {
			continue
		}
		plugin, _ := e.httpFilter(f)
		if plugin == nil {
			continue
		}
		if w := e.filter(plugin); w != nil {
			e.upstreamUses[u.name] = append(e.upstreamUses[u.name], use{f: w})
			e.did(v.Pos(), "cluster %s: its filter %s stands on the routes that lead there", u.name, w.name)
		}
	}
}

func (e *envoy) healthCheck(o *object, u *upstream) {
	for i, v := range o.list("health_checks") {
		c := e.object(v)
		http := c.object("http_health_check")
		path := http.text("path")
		if i > 0 || path == "" {
			e.lost(v.Pos(), "cluster %s: a health check that is not the first, or not by HTTP", u.name)
			continue
		}
		keys := []string{"path: " + quote(path)}
		interval, timeout := c.duration("interval"), c.duration("timeout")
		if interval > 0 {
			keys = append(keys, "interval: "+seconds(interval))
		}
		if timeout > 0 && (interval == 0 || timeout <= interval) {
			keys = append(keys, "timeout: "+seconds(timeout))
		}
		for _, k := range [][2]string{{"healthy", "healthy_threshold"}, {"unhealthy", "unhealthy_threshold"}} {
			if n := c.number(k[1], 0); n > 0 {
				keys = append(keys, fmt.Sprintf("%s: %d", k[0], n))
			}
		}
		http.lost("host", "checks name the endpoint as their host")
		http.rest()
		c.ignore("no_traffic_interval", "reuse_connection")
		c.rest()
		u.keys = append(u.keys, "health_check: {"+strings.Join(keys, ", ")+"}")
	}
}

func (e *envoy) circuit(o *object, u *upstream) {
	breakers := o.object("circuit_breakers")
	defer breakers.rest()
	for _, v := range breakers.list("thresholds") {
		t := e.object(v)
		if p := t.enum("priority"); p != "" && p != "DEFAULT" {
			e.lost(v.Pos(), "cluster %s: thresholds of priority %s", u.name, p)
			continue
		}
		if n := t.number("max_requests", 0); n > 0 {
			u.keys = append(u.keys, fmt.Sprintf("max_in_flight: %d", n))
		}
		t.ignore("track_remaining")
		t.rest()
	}
}
