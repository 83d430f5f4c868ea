package proxyabi

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

// claims are those of an identity.
type claims map[string][]string

func (c claims) Value(path string) (string, bool) {
	if v := c[path]; len(v) == 1 {
		return v[0], true
	}
	return "", false
}

func (c claims) List(path string) ([]string, bool) { v, ok := c[path]; return v, ok }

// full gives a probe all that weir can know of a request.
func full(t testing.TB, change ...func(*Options, *PluginOptions, *Site)) *probe {
	p := newProbe(t, append([]func(*Options, *PluginOptions, *Site){func(o *Options, _ *PluginOptions, s *Site) {
		o.ID = "vm-1"
		s.RouteMetadata = `{"envoy.filters.http.wasm": {"auth": "cookie", "n": 1.5, "on": true, "nil": null, "list": ["a", 2], "deep": {"x": "y"}}, "empty": {}}`
		s.UpstreamMetadata = `{"location": {"region": "eu"}}`
	}}, change...)...)
	p.again()
	return p
}

// enrich is what a server, and the stages before filters, say of x.
func enrich(x *exchange.Exchange) {
	r := &x.Request
	r.Method, r.Target, r.Path, r.Query, r.Host, r.Version = []byte("POST"), []byte("/path?x=1"), []byte("/path"), []byte("x=1"), []byte("example.com:8443"), exchange.HTTP11
	probeFields(&r.Header, "User-Agent: curl", "Referer: http://r/", "X-One: a", "x-one: b", "Content-Type: text/css")
	r.Body.Init(5, (*silence)(nil))
	c := &x.Client
	c.Peer, c.Local, c.Connection = netip.MustParseAddrPort("192.0.2.7:4711"), netip.MustParseAddrPort("192.0.2.1:443"), 42
	c.IP = c.Peer.Addr()
	c.TLS = &exchange.TLS{Version: tls.VersionTLS13, ServerName: "example.com", Verified: true, Subject: "CN=c", URI: "spiffe://c",
		Peer: &x509.Certificate{Raw: []byte("der"), DNSNames: []string{"c.example", "d.example"}}}
	c.Secure = true
	x.RequestID = []byte("id-1")
	x.Record.Start = clock.Nano()
	x.Record.Route = "all"
	x.Identity = &exchange.Identity{Provider: "own", Subject: "alice", Tenant: "acme", Roles: []string{"admin", "dev"}, Scopes: nil,
		Claims: claims{"org.name": {"x"}, "groups": {"a", "b"}}}
}

// answered is what an upstream, and the way to it, say.
func answered(p *probe) {
	rec := &p.x.Record
	rec.UpstreamStart, rec.Endpoint, rec.Upstream, rec.Tries, rec.UpstreamStatus = rec.Start+1e6, "web:8080 (10.0.0.9)", "backend", 2, 200
	rec.FirstByte = rec.Start + 3e6
	p.answer(200, 12, "Server: x", "Set-Cookie: a", "set-cookie: b")
}

func ended(p *probe) {
	rec := &p.x.Record
	rec.End, rec.BytesIn, rec.BytesOut = rec.Start+9e6, 5, 12
	probeFields(&p.x.Response.Trailer, "grpc-status: 5")
	p.log()
}

// property reads one whose segments are joined by dots, or by "/" where one has dots itself.
func (p *probe) property(name string) (string, status) {
	p.t.Helper()
	sep := "."
	if strings.Contains(name, "/") {
		sep = "/"
	}
	ptr, n := p.text(strings.ReplaceAll(name, sep, "\x00"))
	if st := p.call("proxy_get_property", ptr, n, probeOut, probeOut+4); st != statusOK {
		return "", st
	}
	return p.out(), statusOK
}

func num64(n int64) string { return string(binary.LittleEndian.AppendUint64(nil, uint64(n))) }

func double(f float64) string {
	return string(binary.LittleEndian.AppendUint64(nil, math.Float64bits(f)))
}

const asked = ":authority=example.com:8443|:path=/path?x=1|:method=POST|:scheme=https|user-agent=curl|referer=http://r/|x-one=a,b|content-type=text/css|content-length=5"

// Phases that properties are looked at in.
const (
	inRoot = iota
	inRequest
	inResponse
	inLog
	phases
)

// properties lists every name, and what it gives while the request goes up, from the answer's head on, and at the log: "=" is as
// before, "?" is what is not known.
var properties = []struct{ name, request, response, log string }{
	{"request.path", "/path?x=1", "=", "="},
	{"request.url_path", "/path", "=", "="},
	{"request.host", "example.com:8443", "=", "="},
	{"request.scheme", "https", "=", "="},
	{"request.method", "POST", "=", "="},
	{"request.headers", "map:" + asked, "=", "="},
	{"request.headers.x-one", "a,b", "=", "="},
	{"request.headers.X-ONE", "a,b", "=", "="},
	{"request.headers.user-agent", "curl", "=", "="},
	{"request.headers.:path", "/path?x=1", "=", "="},
	{"request.headers.host", "example.com:8443", "=", "="},
	{"request.headers.x-none", "?", "=", "="},
	{"request.referer", "http://r/", "=", "="},
	{"request.useragent", "curl", "=", "="},
	{"request.time", "time", "=", "="},
	{"request.id", "id-1", "=", "="},
	{"request.protocol", "HTTP/1.1", "=", "="},
	{"request.query", "x=1", "=", "="},
	{"request.duration", "?", "?", num64(9e6)},
	{"request.size", num64(5), "=", "="},
	{"request.total_size", num64(5 + 140), "=", "="},
	{"request.headers_bytes", num64(140), "=", "="},
	{"request.none", "?", "=", "="},
	{"request", "?", "=", "="},
	{"response.code", "?", num64(200), "="},
	{"response.code_details", "?", "via_upstream", "="},
	{"response.flags", "?", num64(0), "="},
	{"response.grpc_status", "?", "?", num64(5)},
	{"response.headers", "?", "map::status=200|server=x|set-cookie=a,b|content-length=12", "="},
	{"response.headers.set-cookie", "?", "a,b", "="},
	{"response.headers_bytes", "?", num64(7 + 3 + 7 + 11 + 11 + 16), "="},
	{"response.trailers", "?", "?", "map:grpc-status=5"},
	{"response.trailers.grpc-status", "?", "?", "5"},
	{"response.size", "?", num64(12), "="},
	{"response.total_size", "?", "?", num64(12 + 55)},
	{"response.backend_latency", "?", num64(2e6), "="},
	{"connection.id", num64(42), "=", "="},
	{"connection.mtls", "\x01", "=", "="},
	{"connection.requested_server_name", "example.com", "=", "="},
	{"connection.tls_version", "TLSv1.3", "=", "="},
	{"connection.subject_peer_certificate", "CN=c", "=", "="},
	{"connection.dns_san_peer_certificate", "c.example", "=", "="},
	{"connection.uri_san_peer_certificate", "spiffe://c", "=", "="},
	{"connection.subject_local_certificate", "?", "=", "="},
	{"connection.dns_san_local_certificate", "?", "=", "="},
	{"connection.uri_san_local_certificate", "?", "=", "="},
	{"connection.peer_certificate", "-----BEGIN CERTIFICATE-----\nZGVy\n-----END CERTIFICATE-----\n", "=", "="},
	{"connection.termination_details", "?", "=", "="},
	{"connection.transport_failure_reason", "?", "=", "="},
	{"source.address", "192.0.2.7:4711", "=", "="},
	{"source.port", num64(4711), "=", "="},
	{"destination.address", "192.0.2.1:443", "=", "="},
	{"destination.port", num64(443), "=", "="},
	{"upstream.address", "?", "10.0.0.9:8080", "="},
	{"upstream.port", "?", num64(8080), "="},
	{"upstream.request_attempt_count", "?", num64(2), "="},
	{"upstream.transport_failure_reason", "?", "?", "?"},
	{"upstream.local_address", "?", "?", "?"},
	{"upstream.tls_version", "?", "?", "?"},
	{"upstream.subject_peer_certificate", "?", "?", "?"},
	{"upstream.dns_san_peer_certificate", "?", "?", "?"},
	{"upstream.uri_san_peer_certificate", "?", "?", "?"},
	{"upstream.cx_pool_ready_duration", "?", "?", "?"},
	{"upstream.num_endpoints", "?", "?", "?"},
	{"upstream.locality", "?", "?", "?"},
	{"xds.cluster_name", "backend", "=", "="},
	{"xds.route_name", "all", "=", "="},
	{"xds.virtual_host_name", "?", "=", "="},
	{"xds.cluster_metadata/filter_metadata/location/region", "?", "=", "="},
	{"xds/cluster_metadata/filter_metadata/location/region", "eu", "=", "="},
	{"xds/cluster_metadata/filter_metadata/location", "map:region=eu", "=", "="},
	{"xds/route_metadata/filter_metadata/envoy.filters.http.wasm/auth", "cookie", "=", "="},
	{"xds.listener_direction", num64(0), "=", "="},
	{"xds.listener_metadata", "?", "=", "="},
	{"xds.node", "?", "=", "="},
	{"xds.upstream_host_metadata", "?", "=", "="},
	{"xds.filter_chain_name", "?", "=", "="},
	{"node", "?", "=", "="},
	{"cluster_name", "backend", "=", "="},
	{"route_name", "all", "=", "="},
	{"listener_direction", num64(0), "=", "="},
	{"listener_metadata", "?", "=", "="},
	{"cluster_metadata/filter_metadata/location/region", "eu", "=", "="},
	{"route_metadata/filter_metadata/envoy.filters.http.wasm/auth", "cookie", "=", "="},
	{"route_metadata/filter_metadata/envoy.filters.http.wasm/n", double(1.5), "=", "="},
	{"route_metadata/filter_metadata/envoy.filters.http.wasm/on", "\x01", "=", "="},
	{"route_metadata/filter_metadata/envoy.filters.http.wasm/nil", "?", "=", "="},
	{"route_metadata/filter_metadata/envoy.filters.http.wasm/deep", "map:x=y", "=", "="},
	{"route_metadata/filter_metadata/envoy.filters.http.wasm/deep/x", "y", "=", "="},
	{"route_metadata/filter_metadata/envoy.filters.http.wasm/deep/x/y", "?", "=", "="},
	{"route_metadata/filter_metadata/envoy.filters.http.wasm/list", "map:a=|" + double(2) + "=", "=", "="},
	{"route_metadata/filter_metadata/empty", "", "=", "="},
	{"route_metadata/filter_metadata/none", "?", "=", "="},
	{"metadata/filter_metadata/envoy.lb/x", "?", "=", "="},
	{"filter_state", "?", "=", "="},
	{"upstream_filter_state", "?", "=", "="},
	{"connection_id", num64(42), "=", "="},
	{"x_request_id", "id-1", "=", "="},
	{"identity.subject", "alice", "=", "="},
	{"identity.provider", "own", "=", "="},
	{"identity.tenant", "acme", "=", "="},
	{"identity.roles", "map:admin=|dev=", "=", "="},
	{"identity.scopes", "", "=", "="},
	{"identity.claims.org.name", "x", "=", "="},
	{"identity/claims/org.name", "x", "=", "="},
	{"identity.claims.groups", "map:a=|b=", "=", "="},
	{"identity.claims.none", "?", "=", "="},
	{"identity.claims", "?", "=", "="},
	{"identity.none", "?", "=", "="},
	{"route.name", "all", "=", "="},
	{"none", "?", "=", "="},
	{"source.address.more", "?", "=", "="},
}

func TestProperties(t *testing.T) {
	p := full(t)
	enrich(p.x)
	digest, _ := p.property("connection.sha256_peer_certificate_digest") // nobody could tell it by reading a table
	p.want("digest", digest, fmt.Sprintf("%x", sha256.Sum256([]byte("der"))))
	for _, c := range properties {
		p.again()
		p.x.Request.Header.Truncate(0)
		enrich(p.x)
		want := c.request
		for phase := range phases {
			p.sh.eff = &p.st.scope
			switch phase {
			case inRoot:
				p.root()
				want = "?"
			case inRequest:
				p.requestHeaders()
				want = c.request
			case inResponse:
				answered(p)
				want = follow(c.response, want)
			case inLog:
				ended(p)
				want = follow(c.log, want)
			}
			have, st := p.property(c.name)
			switch {
			case strings.HasPrefix(want, "map:") && st == statusOK:
				have = "map:" + probePairs(t, have)
			case want == "time" && len(have) == 8:
				have = "time"
			}
			if known := want != "?"; known != (st == statusOK) || !known && st != statusNotFound || known && have != want {
				t.Errorf("%s in phase %d: %q, status %d; want %q", c.name, phase, have, st, want)
			}
		}
	}
}

func follow(v, before string) string {
	if v == "=" {
		return before
	}
	return v
}

func TestPluginProperties(t *testing.T) {
	p := full(t)
	for _, at := range []func(){p.requestHeaders, p.root} {
		at()
		for _, c := range [][2]string{{"plugin_name", "tag"}, {"plugin_root_id", "tag-root"}, {"plugin_vm_id", "vm-1"}} {
			have, st := p.property(c[0])
			if p.want(c[0], have, c[1]); st != statusOK {
				t.Error(c[0], st)
			}
		}
		if v, _ := p.property("plugin_vm_memory"); v != num64(int64(p.sh.in.Memory().Size())) {
			t.Errorf("memory %q", v)
		}
	}
	p.sh.eff = nil
	if _, st := p.property("plugin_name"); st != statusNotFound {
		t.Error("nobody acts")
	}
	empty := newProbe(t, func(o *Options, po *PluginOptions, _ *Site) { o.ID, po.RootID = "", "" })
	if v, st := empty.property("plugin_root_id"); v != "" || st != statusOK {
		t.Error("a root without an id has the empty one", st)
	}
}

// TestPropertyPhases: while somebody else is at it, nothing is said of it.
func TestPropertyPhases(t *testing.T) {
	p := full(t)
	enrich(p.x)
	answered(p)
	ask := func(name string, want status) {
		t.Helper()
		if _, st := p.property(name); st != want {
			t.Errorf("%s: %d", name, st)
		}
	}
	p.x.Uploading.Store(true)
	p.st.method, p.st.version = []byte("POST"), exchange.HTTP11
	p.requestBody() // a body on its way up
	ask("upstream.address", statusNotFound)
	ask("response.code", statusNotFound)
	ask("request.path", statusOK)
	p.x.Request.Method, p.x.Request.Version = []byte("X"), exchange.HTTP20
	v, _ := p.property("request.method")
	protocol, _ := p.property("request.protocol")
	p.want("as they were when the header section passed", v+protocol, "POSTHTTP/1.1")
	p.responseHeaders()
	ask("upstream.address", statusOK)
	ask("request.size", statusNotFound)
	p.x.Uploading.Store(false)
	p.sh.entered = nil // another stream's call
	ask("request.path", statusNotFound)
	ask("source.address", statusNotFound)
	p.st.response.parked = true
	ask("request.path", statusOK)
	ask("response.code", statusOK)
	p.st.response.parked = false
}

func TestOwnAnswers(t *testing.T) {
	p := full(t)
	enrich(p.x)
	p.answer(503, 0)
	r, rec := &p.x.Response, &p.x.Record
	r.Local = true
	f := func(reason string, kind fault.Kind, details string, flags int64) {
		t.Helper()
		rec.Reason, rec.Fault = reason, kind
		v, _ := p.property("response.code_details")
		p.want("details", v, details)
		v, _ = p.property("response.flags")
		p.want("flags of "+kind.String(), v, num64(flags))
	}
	f("", fault.None, "direct_response", 0)
	f("denied_by_me", fault.None, "denied_by_me", 0)
	f("", fault.NoEndpoint, "no_endpoint", 0x2)
	f("", fault.ConnectFailed, "connect_failed", 0x20)
	f("", fault.LimitExceeded, "limit_exceeded", 0x800)
	f("", fault.ClientGone, "client_gone", 0x4000)

	for name, want := range map[string]string{"10.0.0.9:80": "10.0.0.9:80", "web:80 (::1)": "[::1]:80", "[::1]:8080": "[::1]:8080", "web:80 (10.0.0.1)": "10.0.0.1:80"} {
		rec.Endpoint = name
		v, _ := p.property("upstream.address")
		p.want(name, v, want)
	}
	p.x.Client.IP = netip.MustParseAddr("203.0.113.9") // of a trusted proxy's telling
	v, _ := p.property("source.address")
	p.want("client", v, "203.0.113.9:0")
	p.x.Client.Local = netip.AddrPort{}
	if _, st := p.property("destination.address"); st != statusNotFound {
		t.Error("a unix socket has no address")
	}
}

func (p *probe) setProperty(name, value string) {
	p.t.Helper()
	np, nn := p.text(name)
	vp, vn := p.text(value)
	if st := p.call("proxy_set_property", np, nn, vp, vn); st != statusOK {
		p.t.Errorf("set %q: %d", name, st)
	}
}

func TestSetProperty(t *testing.T) {
	p := full(t)
	enrich(p.x)
	p.setProperty("mine", "one")
	p.setProperty("mine", "two")
	p.setProperty("auth\x00identity\x00", "alice")
	p.setProperty("request\x00path", "/other")
	f := func(name, want string) {
		t.Helper()
		have, st := p.property(name)
		if p.want(name, have, want); st != statusOK {
			t.Error(name, st)
		}
	}
	f("mine", "two")
	f("auth.identity", "alice")
	f("request.path", "/path?x=1")
	f("filter_state/wasm.mine", "two")
	if v, ok := p.x.Notes.Get([]byte("wasm.mine")); string(v) != "two" || !ok {
		t.Error("later filters don't see it")
	}
	for range 3 {
		p.setProperty("large", strings.Repeat("x", 40<<10))
	}
	if p.vm.dropped.Load() == 0 {
		t.Error("more than an exchange keeps")
	}

	p.setProperty("clear_route_cache", "off")
	if !p.st.pinned {
		t.Error("the route is to stay")
	}
	p.setProperty("wasm_need_rebuild", "true")
	if !p.sh.worn {
		t.Error("the instance is to be replaced")
	}
	p.root()
	dropped := p.vm.dropped.Load()
	p.setProperty("mine", "three")
	p.setProperty("", "three")
	if p.vm.dropped.Load() != dropped+2 {
		t.Error("a root keeps none")
	}
	const far = 1<<32 - 1
	for _, fn := range []string{"proxy_get_property", "proxy_set_property"} {
		if st := p.call(fn, far, 2, far, 2); st != statusInvalidMemory {
			t.Error(fn, st)
		}
	}
}

func TestKongProperties(t *testing.T) {
	p := full(t, func(_ *Options, po *PluginOptions, _ *Site) { po.Kong = true })
	p.x.Request.Header.Truncate(0)
	enrich(p.x)
	answered(p)
	ended(p)
	f := func(name, want string) {
		t.Helper()
		for _, sep := range []string{".", "\x00"} {
			ptr, n := p.text(strings.ReplaceAll(name, ".", sep))
			st := p.call("proxy_get_property", ptr, n, probeOut, probeOut+4)
			have := "?"
			if st == statusOK {
				have = p.out()
			}
			p.want(fmt.Sprintf("%s by %q", name, sep), have, want)
		}
	}
	f("request.path", "/path?x=1")
	f("response.code", "200")
	f("connection.mtls", "true")
	f("source.port", "4711")
	f("request.duration", "0.009")
	f("identity.roles", "admin,dev")
	f("route_metadata.filter_metadata.none", "?")
	f("kong.client.protocol", "https")
	f("kong.nginx.subsystem", "http")
	f("kong.request.forwarded_scheme", "https")
	f("kong.request.forwarded_host", "example.com")
	f("kong.request.forwarded_port", "8443")
	f("kong.request.port", "443")
	f("kong.route_name", "all")
	f("kong.service_name", "backend")
	f("kong.service.response.status", "200")
	f("kong.response.source", "service")
	f("kong.none", "?")
	f("ngx.request_uri", "/path?x=1")
	f("ngx.uri", "/path")
	f("ngx.args", "x=1")
	f("ngx.status", "200")
	f("ngx.host", "example.com")
	f("ngx.http_host", "example.com:8443")
	f("ngx.http_user_agent", "curl")
	f("ngx.sent_http_server", "x")
	f("ngx.remote_addr", "192.0.2.7")
	f("ngx.remote_port", "4711")
	f("ngx.server_addr", "192.0.2.1")
	f("ngx.https", "on")
	f("ngx.upstream_addr", "10.0.0.9:8080")
	f("ngx.upstream_status", "200")
	f("ngx.none", "?")
	f("ngx.", "?")
	f("kong", "?")
	f("wasmx.mine", "?")
	p.setProperty("wasmx.mine", "x")
	ptr, n := p.text("wasmx.mine")
	p.call("proxy_get_property", ptr, n, probeOut, probeOut+4)
	p.want("what was set", p.out(), "x")
	ptr, n = p.text("route_metadata\x00filter_metadata\x00envoy.filters.http.wasm\x00n")
	p.call("proxy_get_property", ptr, n, probeOut, probeOut+4)
	p.want("a number as text", p.out(), "1.5")
}

func TestMetadataErrors(t *testing.T) {
	for _, s := range []Site{{RouteMetadata: "["}, {UpstreamMetadata: `"text"`}} {
		if _, err := factsOf(s); err == nil || !strings.HasPrefix(err.Error(), "read metadata of the ") {
			t.Error(err)
		}
	}
}

// FuzzProperty: no path, however odd, does more than give a status that is borne.
func FuzzProperty(f *testing.F) {
	for _, c := range properties {
		f.Add([]byte(strings.ReplaceAll(c.name, ".", "\x00")), uint8(2))
	}
	f.Add([]byte("\x00\x00"), uint8(0))
	f.Add([]byte("request\x00headers\x00\x00"), uint8(7))
	f.Add([]byte("kong.request.forwarded_host"), uint8(5))
	p, kong := full(f), full(f, func(_ *Options, po *PluginOptions, _ *Site) { po.Kong = true })
	f.Fuzz(func(t *testing.T, name []byte, phase uint8) {
		p := p
		if phase&4 != 0 {
			p = kong
		}
		p.t = t
		p.again()
		enrich(p.x)
		p.sh.eff = &p.st.scope
		switch phase & 3 {
		case 0:
			p.root()
		case 1:
			p.requestHeaders()
		case 2:
			answered(p)
		case 3:
			answered(p)
			ended(p)
		}
		ptr, n := p.text(string(name[:min(len(name), 8<<10)]))
		switch st := p.call("proxy_get_property", ptr, n, probeOut, probeOut+4); st {
		case statusOK, statusNotFound, statusSerialization, statusInternalFailure:
		default:
			t.Errorf("%q: %d", name, st)
		}
	})
}

func TestPropertyAllocations(t *testing.T) {
	p := full(t)
	again := func() {
		p.again()
		x := p.x
		x.Client.TLS, x.Client.Connection, x.Identity, x.RequestID = shared.Client.TLS, 42, shared.Identity, one
		x.Client.Peer, x.Client.IP, x.Client.Local = shared.Client.Peer, shared.Client.IP, shared.Client.Local
		x.Request.Header.AddString("x-one", one)
		x.Record.Start, x.Record.UpstreamStart, x.Record.FirstByte, x.Record.End = 1, 2, 3, 4
		x.Record.Endpoint, x.Record.Tries, x.Response.Status = "web:8080 (10.0.0.9)", 1, 200
		x.Response.Header.AddString("server", one)
		p.sh.entered, p.sh.final, p.sh.eff = nil, p.st, &p.st.scope
	}
	for _, c := range properties {
		t.Run(c.name, func(t *testing.T) {
			sep := "."
			if strings.Contains(c.name, "/") {
				sep = "/"
			}
			ptr, n := p.text(strings.ReplaceAll(c.name, sep, "\x00"))
			p.floor(t, again, "proxy_get_property", ptr, n, probeOut, probeOut+4)
		})
	}
	np, nn := p.text("mine")
	vp, vn := p.text("value")
	p.floor(t, again, "proxy_set_property", np, nn, vp, vn)
}

var shared = func() *exchange.Exchange {
	x := exchange.Acquire()
	enrich(x)
	return x
}()
