//go:build linux && !weir_plainio

package node_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/coretest/alloc"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
)

const answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Fri, 20 Nov 2026 10:00:00 GMT\r\nServer: still\r\nContent-Length: 12\r\n\r\nhello world\n"

const endless = `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
upstreams: {api: {endpoints: ["http://${UPSTREAM}"], keepalive: {max_requests: 0}}}
routes:
  - {name: all, match: {path: /*}, auth: none, upstream: api}
`

// TestPathAllocatesNothing measures the whole process: client, weir and upstream, over real sockets.
func TestPathAllocatesNothing(t *testing.T) {
	up := coretest.StartStill(t, answer)
	r := coretest.Start(t, endless, nil, coretest.Options{Env: map[string]string{"UPSTREAM": up.Address()}})
	e := r.NewExchanger("GET /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test/1.0\r\nAccept: */*\r\nCookie: a=b\r\n\r\n")
	alloc.Floor(t, e.Run)
}

const guardedPath = `
version: 1
listeners: [{address: "127.0.0.1:0"}]
jwt: {sso: {secret: {file: secret}, algorithms: [HS256], from: ["header:authorization", "cookie:session"]}}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"], keepalive: {max_requests: 0}, breaker: {}, max_in_flight: 100}}
routes:
  - name: all
    match: {path: "/a/{id}", methods: [GET]}
    auth: {jwt: sso}
    require: {scopes: [read], claims: {team: "${path.id}"}}
    ip: {deny: [10.0.0.0/8]}
    limits: [{name: ip, key: ip, rate: 1000000/s}, {name: subject, key: subject, rate: 1000000/s, burst: 1000000}, {name: team, key: "claim:team", rate: 1000000/s}]
    headers: {request: {set: {x-user: "${identity.subject}"}}}
    strip_prefix: /a
    upstream: api
`

// TestGuardedPathAllocatesNothing is the same with everything on: token, rights, limits, breaker, access log.
func TestGuardedPathAllocatesNothing(t *testing.T) {
	up := coretest.StartStill(t, answer)
	r := coretest.Start(t, guardedPath, nil, coretest.Options{
		Env: map[string]string{"UPSTREAM": up.Address()}, Files: map[string]string{"secret": hmacSecret}, Discard: true,
	})
	token := mintHS256(t, map[string]any{"sub": "alice", "exp": 4e9, "scope": "read write", "team": "red"})
	e := r.NewExchanger("GET /a/red?c=d HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test/1.0\r\nX-Forwarded-For: 1.2.3.4\r\nAuthorization: Bearer " + token + "\r\nCookie: a=b\r\n\r\n")
	if !strings.HasPrefix(e.First(), "HTTP/1.1 200 ") || !strings.Contains(e.First(), "X-RateLimit-Remaining: ") {
		t.Fatalf("%q", e.First())
	}
	alloc.Floor(t, e.Run)
}

// BenchmarkPath is one exchange after the other over one connection: client, weir and upstream in one process.
func BenchmarkPath(b *testing.B) {
	up := coretest.StartStill(b, answer)
	r := coretest.Start(b, endless, nil, coretest.Options{Env: map[string]string{"UPSTREAM": up.Address()}})
	e := r.NewExchanger("GET /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test/1.0\r\nAccept: */*\r\nCookie: a=b\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		e.Run()
	}
}

const sharedPath = `
version: 1
access_log: {output: "off"}
via: weir
trusted_proxies: ["127.0.0.0/8"]
listeners: [{address: "127.0.0.1:0"}]
upstreams:
  a: {endpoints: ["http://${UPSTREAM}"], keepalive: {max_requests: 0}, breaker: {fallback: {upstream: b}}}
  b: {endpoints: ["http://${UPSTREAM}"], keepalive: {max_requests: 0}}
routes:
  - {name: inside, match: {path: /admin/*}, auth: none, ip: {allow: [10.0.0.0/8]}, upstream: a}
  - name: all
    match: {path: /*, methods: [GET, OPTIONS]}
    auth: none
    cors: {origins: ["https://other.example", "https://*.example.com"], headers: [authorization], expose: [x-total], credentials: true, max_age: 10m}
    headers: {response: {preset: security, set: {x-route: "${route.name}"}}}
    split: [{upstream: a, weight: 60}, {upstream: b, weight: 40}]
`

// TestSharedPathAllocatesNothing is the same with what browsers want and a split: a request, a preflight, one for a path that
// has to be looked at twice, and one with a method that there is not.
func TestSharedPathAllocatesNothing(t *testing.T) {
	up := coretest.StartStill(t, strings.Replace(answer, "Server: still", "Vary: Cookie\r\nAccess-Control-Allow-Origin: *", 1))
	r := coretest.Start(t, sharedPath, nil, coretest.Options{Env: map[string]string{"UPSTREAM": up.Address()}, Kinds: standardKinds(t)})
	const tail = " HTTP/1.1\r\nHost: api.example\r\nOrigin: https://app.example.com\r\n"
	for name, c := range map[string]struct{ request, want string }{
		"request":   {"GET /a?b" + tail + "\r\n", "HTTP/1.1 200 "},
		"preflight": {"OPTIONS /a" + tail + "Access-Control-Request-Method: GET\r\n\r\n", "HTTP/1.1 204 "},
		"options":   {"OPTIONS /a" + tail + "Via: 1.1 other\r\n\r\n", "HTTP/1.1 200 "},
		"counted":   {"OPTIONS /a" + tail + "Max-Forwards: 9\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n", "HTTP/1.1 200 "},
		"odd path":  {"GET /files/a%2Fb;c//d" + tail + "\r\n", "HTTP/1.1 200 "},
		"method":    {"PUT /a" + tail + "\r\n", "HTTP/1.1 405 "},
	} {
		t.Run(name, func(t *testing.T) {
			e := r.NewExchanger(c.request)
			if !strings.HasPrefix(e.First(), c.want) || name != "method" && (strings.Count(e.First(), "Access-Control-Allow-Origin: https://app.example.com\r\n") != 1 || !strings.Contains(e.First(), "nosniff")) {
				t.Fatalf("%q", e.First())
			}
			alloc.Floor(t, e.Run)
		})
	}
}

const reroutedPath = `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
jwt: {sso: {secret: {file: secret}, algorithms: [HS256]}}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"], keepalive: {max_requests: 0}}}
routes:
  - {name: open, match: {path: /open}, auth: none, upstream: api, limits: [{name: all, scope: global, key: ip, rate: 1000000/s}]}
  - name: new
    match: {path: "/new/{id}"}
    auth: {jwt: sso}
    require: {claims: {team: "${path.id}"}}
    limits: [{name: all, scope: global, key: ip, rate: 1000000/s}, {name: own, key: subject, rate: 1000000/s}]
    upstream: api
`

// TestReroutedPathAllocatesNothing is a request that a filter sends along another route, with layers on both bodies.
func TestReroutedPathAllocatesNothing(t *testing.T) {
	up := coretest.StartStill(t, answer)
	target := []byte("/x/../new/r%65d")
	sends := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		x.Request.Target, x.Reroute = target, true
		return filter.Continue, nil
	}}
	layers := &sync.Pool{New: func() any { return &passing{} }}
	passes := &slotted{
		request: func(x *exchange.Exchange, slot int) (filter.Verdict, error) {
			p := layers.Get().(*passing)
			p.pool, x.Slots[slot] = layers, p
			return filter.Continue, nil
		},
		response: func(x *exchange.Exchange, slot int, _ bool) (filter.Verdict, error) {
			p := x.Slots[slot].(*passing)
			x.Response.Body.Through(&p.under, p, x.Response.Body.Length)
			return filter.Continue, nil
		},
	}
	r := coretest.Start(t, reroutedPath, nil, coretest.Options{
		Env: map[string]string{"UPSTREAM": up.Address()}, Files: map[string]string{"secret": hmacSecret},
		Kinds: placedOn(map[string][]filter.Placed{"open": {{Name: "sends", Slot: filter.Upstream, Filter: sends}}, "new": {{Name: "passes", Filter: passes}}}),
	})
	token := mintHS256(t, map[string]any{"sub": "alice", "exp": 4e9, "team": "red"})
	e := r.NewExchanger("GET /open HTTP/1.1\r\nHost: example.com\r\nAuthorization: Bearer " + token + "\r\n\r\n")
	if !strings.HasPrefix(e.First(), "HTTP/1.1 200 ") || !strings.HasSuffix(e.First(), "hello world\n") {
		t.Fatalf("%q", e.First())
	}
	alloc.Floor(t, e.Run)
}

// passing is a layer that changes nothing, and the state that holds it.
type passing struct {
	under exchange.Body
	pool  *sync.Pool
}

func (p *passing) Read(b []byte) (int, error) {
	q, err := p.under.Next(b)
	return copy(b, q), err
}

func (p *passing) Whole() bool { return p.under.Whole() }

func (p *passing) Release(*exchange.Exchange) { p.pool.Put(p) }
