package node_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
)

// placedOn makes the one kind of filters that the routes with these names have.
func placedOn(routes map[string][]filter.Placed) []filter.Kind {
	return []filter.Kind{{Name: "placed", Build: func(p filter.Place) ([]filter.Placed, error) {
		return slices.Clone(routes[p.Route.Name]), nil
	}}}
}

// to is a filter that sends an exchange along the route of another path.
func to(path string) *fake {
	return &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		x.Request.Target, x.Reroute = []byte(path), true
		return filter.Continue, nil
	}}
}

const rerouted = `
version: 1
listeners: [{address: "127.0.0.1:0"}]
jwt:
  one: {issuer: one, secret: {file: secret}, algorithms: [HS256]}
  two: {issuer: two, secret: {file: secret}, algorithms: [HS256]}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {name: open, match: {path: /open}, auth: none, upstream: api, limits: [{name: all, scope: global, key: ip, rate: 100/d}]}
  - {name: one, match: {path: /one}, auth: {jwt: one}, upstream: api}
  - {name: new, match: {path: "/new/{id}"}, upstream: api, KEYS}
  - {name: rest, match: {path: /only-post, methods: [POST]}, auth: none, upstream: api}
`

// slots runs f for a filter in each slot of the routes open and one that sends the exchange to path, along a route with keys.
func slots(t *testing.T, keys, path string, f func(t *testing.T, r *coretest.Rig)) {
	for s := range filter.Slots {
		t.Run(s.String(), func(t *testing.T) {
			p := []filter.Placed{{Name: "sends", Slot: s, Filter: to(path)}}
			r := coretest.Start(t, strings.Replace(rerouted, "KEYS", keys, 1), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				fmt.Fprintf(w, "%s as %q", r.URL.Path, r.Header.Get("X-User"))
			}), coretest.Options{Kinds: append(placedOn(map[string][]filter.Placed{"open": p, "one": p}), standardKinds(t)...),
				Files: map[string]string{"secret": hmacSecret}})
			f(t, r)
		})
	}
}

func bearer(t testing.TB, issuer string, claims ...string) string {
	all := map[string]any{"iss": issuer, "sub": "alice", "exp": 4e9}
	for i := 0; i+1 < len(claims); i += 2 {
		all[claims[i]] = claims[i+1]
	}
	return "Bearer " + mintHS256(t, all)
}

// wants asks and compares status and body; an empty body is not looked at.
func wants(t *testing.T, r *coretest.Rig, path string, status int, body string, header ...string) http.Header {
	t.Helper()
	got, h, text := r.Get(path, header...)
	if got != status || body != "" && text != body {
		t.Errorf("%s: %d %q, want %d %q", path, got, text, status, body)
	}
	return h
}

// TestRerouteCannotSkipAuthentication: neither from a route without any nor from one with another; what has been proved by the
// same means holds.
func TestRerouteCannotSkipAuthentication(t *testing.T) {
	const user = `headers: {request: {set: {x-user: "${identity.subject}"}}}`
	slots(t, `auth: {jwt: two}, `+user, "/new/a", func(t *testing.T, r *coretest.Rig) {
		one, two := bearer(t, "one"), bearer(t, "two")
		wants(t, r, "/open", 401, "")
		wants(t, r, "/open", 401, "", "Authorization", one)
		wants(t, r, "/open", 200, `/new/a as "alice"`, "Authorization", two)
		wants(t, r, "/one", 401, "", "Authorization", one)
		wantRecord(t, r, fault.Unauthorized, `"route":"new"`)
	})
	slots(t, `auth: {any: [{jwt: two}, {jwt: one}]}, `+user, "/new/a", func(t *testing.T, r *coretest.Rig) {
		wants(t, r, "/one", 200, `/new/a as "alice"`, "Authorization", bearer(t, "one"))
		wants(t, r, "/open", 401, "")
	})
	slots(t, `auth: {jwt: one}, `+user, "/new/a", func(t *testing.T, r *coretest.Rig) {
		wants(t, r, "/one", 200, `/new/a as "alice"`, "Authorization", bearer(t, "one"))
	})
	// Who is nobody on the new route is nobody there.
	slots(t, `auth: none, headers: {request: {set: {x-user: "<${identity.subject}>"}}}`, "/new/a", func(t *testing.T, r *coretest.Rig) {
		wants(t, r, "/one", 200, `/new/a as ""`, "Authorization", bearer(t, "one"))
	})
}

// TestRerouteCannotBringItsOwnCredential: where a credential is dropped once it has been read, another route finds none.
func TestRerouteCannotBringItsOwnCredential(t *testing.T) {
	const spends = `headers: {request: {set: {authorization: "inner ${identity.subject}"}}}`
	slots(t, `auth: {jwt: two}, `+spends, "/new/a", func(t *testing.T, r *coretest.Rig) {
		want := 200
		if !strings.Contains(t.Name(), "edge") {
			want = 401 // the route open has dropped it already
		}
		wants(t, r, "/open", want, "", "Authorization", bearer(t, "two"))
	})
}

func TestRerouteCannotSkipRights(t *testing.T) {
	slots(t, `auth: {jwt: one}, require: {scopes: [write]}`, "/new/a", func(t *testing.T, r *coretest.Rig) {
		wants(t, r, "/one", 403, "", "Authorization", bearer(t, "one"))
		wants(t, r, "/one", 200, "", "Authorization", bearer(t, "one", "scope", "write"))
		wants(t, r, "/open", 403, "", "Authorization", bearer(t, "one"))
	})
	slots(t, `auth: {jwt: one}, require: {claims: {team: "${path.id}"}}`, "/new/red", func(t *testing.T, r *coretest.Rig) {
		wants(t, r, "/one", 403, "", "Authorization", bearer(t, "one", "team", "blue"))
		wants(t, r, "/one", 200, "", "Authorization", bearer(t, "one", "team", "red"))
	})
}

// TestRerouteCannotSkipRightsOfItsRoute: the same route may let somebody in at one path and not at another.
func TestRerouteCannotSkipRightsOfItsRoute(t *testing.T) {
	for s := range filter.Slots {
		yaml := strings.Replace(rerouted, "KEYS", `auth: {jwt: one}, require: {claims: {team: "${path.id}"}}, limits: [{name: l, key: ip, rate: 100/d}]`, 1)
		r := coretest.Start(t, yaml, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), coretest.Options{
			Kinds: placedOn(map[string][]filter.Placed{"new": {{Name: "sends", Slot: s, Filter: to("/new/red")}}}), Files: map[string]string{"secret": hmacSecret},
		})
		wants(t, r, "/new/blue", 403, "", "Authorization", bearer(t, "one", "team", "blue"))
		want := 200
		if s != filter.Edge {
			want = 403 // the path that was asked for has been judged before
		}
		h := wants(t, r, "/new/blue", want, "", "Authorization", bearer(t, "one", "team", "red"))
		if left := h.Get("X-RateLimit-Remaining"); left != "98" {
			t.Errorf("%s: %s left: each request is charged once", s, left)
		}
	}
}

func TestRerouteCannotSkipIPRules(t *testing.T) {
	for _, rule := range []string{"deny: [127.0.0.0/8]", "allow: [10.0.0.0/8]"} {
		slots(t, "auth: none, ip: {"+rule+"}", "/new/a", func(t *testing.T, r *coretest.Rig) {
			wants(t, r, "/open", 403, "")
			wantRecord(t, r, fault.Forbidden, `"route":"new"`)
		})
	}
}

// TestRerouteCannotSkipLimits, and is charged to a rule of both routes once.
func TestRerouteCannotSkipLimits(t *testing.T) {
	slots(t, `auth: none, limits: [{name: few, key: ip, rate: 1/d}]`, "/new/a", func(t *testing.T, r *coretest.Rig) {
		wants(t, r, "/open", 200, "")
		wants(t, r, "/open", 429, "")
		wantRecord(t, r, fault.LimitExceeded, `"rule":"few"`)
	})
	slots(t, `auth: {jwt: one}, limits: [{name: few, key: subject, rate: 1/d}]`, "/new/a", func(t *testing.T, r *coretest.Rig) {
		alice := bearer(t, "one")
		wants(t, r, "/one", 200, "", "Authorization", alice)
		wants(t, r, "/open", 429, "", "Authorization", alice)
		wants(t, r, "/one", 200, "", "Authorization", bearer(t, "one", "sub", "bob"))
	})
	slots(t, `auth: none, limits: [{name: all, scope: global, key: ip, rate: 100/d}]`, "/new/a", func(t *testing.T, r *coretest.Rig) {
		for n := range 3 {
			if left := wants(t, r, "/open", 200, "").Get("X-RateLimit-Remaining"); left != fmt.Sprint(99-n) {
				t.Errorf("%s left after %d", left, n+1)
			}
		}
	})
}

// TestRerouteCannotSkipFilters: those of the new route judge the request, in whatever slot before the one that sent it.
func TestRerouteCannotSkipFilters(t *testing.T) {
	for from := range filter.Slots {
		for at := range filter.Slots {
			refuses := &fake{request: func(*exchange.Exchange) (filter.Verdict, error) {
				return filter.Continue, fault.New(fault.Forbidden, "by a filter")
			}}
			r := coretest.Start(t, strings.Replace(rerouted, "KEYS", "auth: none", 1), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), coretest.Options{
				Kinds: placedOn(map[string][]filter.Placed{
					"open": {{Name: "sends", Slot: from, Filter: to("/new/a")}}, "new": {{Name: "refuses", Slot: at, Filter: refuses}},
				}), Files: map[string]string{"secret": hmacSecret},
			})
			wants(t, r, "/open", 403, "")
			wantRecord(t, r, fault.Forbidden, `"filter":"refuses"`)
		}
	}
}

// TestRerouteCannotSkipBodyLimit, not even with a body that the filter has pulled.
func TestRerouteCannotSkipBodyLimit(t *testing.T) {
	for _, pulls := range []int{-1, 0, 3, 100} {
		ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
			x.Request.Target, x.Reroute = []byte("/new/a"), true
			if pulls >= 0 {
				if _, _, err := x.Request.Body.Buffer(pulls, make([]byte, 3)); err != nil && err != io.EOF {
					return filter.Continue, err
				}
			}
			return filter.Continue, nil
		}}
		r := coretest.Start(t, strings.Replace(rerouted, "KEYS", "auth: none, body_bytes: 4B", 1), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
		}), coretest.Options{Kinds: placedOn(map[string][]filter.Placed{"open": {{Name: "sends", Filter: ff}}}), Files: map[string]string{"secret": hmacSecret}})
		for body, want := range map[string]int{"1234": 200, "12345": 413, "1234567890": 413} {
			if status, _, _ := r.Do("POST", "/open", body); status != want {
				t.Errorf("%d pulled, %q: %d, want %d", pulls, body, status, want)
			}
			c := r.Client()
			c.Send(fmt.Sprintf("POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", body[:2], len(body)-2, body[2:]))
			if answer, _ := c.Answer("POST"); answer.StatusCode != want {
				t.Errorf("%d pulled, %q in chunks: %d, want %d", pulls, body, answer.StatusCode, want)
			}
		}
	}
}

// TestRerouteTargets: what a filter makes of a target is read as the client's own is.
func TestRerouteTargets(t *testing.T) {
	f := func(target string, status int, body string) {
		t.Helper()
		r := coretest.Start(t, strings.Replace(rerouted, "KEYS", "auth: {jwt: two}", 1), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.RequestURI)
		}), coretest.Options{
			Kinds: placedOn(map[string][]filter.Placed{"open": {{Name: "sends", Filter: to(target)}}}), Files: map[string]string{"secret": hmacSecret},
		})
		wants(t, r, "/open", status, body)
		if status == 404 || status == 405 {
			coretest.Eventually(t, "a line", func() bool { return strings.Contains(r.Access.String(), `"fault"`) })
			if line := r.Access.String(); strings.Contains(line, `"route"`) {
				t.Error("a request without a route is none of the old one's: ", line)
			}
		}
	}
	f("/x/../open?a", 200, "/open?a")
	f("/new/../%6Fpen", 200, "/open")
	f("/%6Eew/a", 401, "")
	f("/open/../new/a", 401, "")
	f("/nowhere", 404, "")
	f("/only-post", 405, "")
	f("/new%2Fa", 404, "")
	f("", 503, "")
	f("new/a", 503, "")
	f("/a b", 503, "")
	f("/%zz", 503, "")
	f("/a\\b", 503, "")
	f("*", 503, "")
}

// TestRerouteCannotConfuse: a path that a lenient server reads as another route's is refused here, too.
func TestRerouteCannotConfuse(t *testing.T) {
	yaml := strings.Replace(rerouted, "KEYS", "auth: {jwt: two}", 1) + "  - {name: all, match: {path: /*}, auth: none, upstream: api}\n"
	r := coretest.Start(t, yaml, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), coretest.Options{
		Kinds: placedOn(map[string][]filter.Placed{"all": {{Name: "sends", Filter: to("/new%2Fa")}}}), Files: map[string]string{"secret": hmacSecret},
	})
	wants(t, r, "/x", 400, "")
}

// TestRerouteByWhatever: routes are found by host, method and fields, too, and what is left of the exchange is the new route's.
func TestRerouteByWhatever(t *testing.T) {
	yaml := strings.Replace(logged, "routes:", "admin: {address: \"127.0.0.1:0\"}\nroutes:", 1)
	yaml = strings.Replace(yaml, "path: /*}", `path: /*, host: a.example}, cors: {origins: ["https://a.example"]}, timeout: 1m, headers: {response: {set: {x-old: "1"}}}`, 1) + `
  - {name: host, match: {path: /*, host: b.example}, auth: none, upstream: api, headers: {response: {set: {x-route: "${route.name}"}}}, cors: {origins: ["https://b.example"]}}
  - {name: method, match: {path: /*, host: c.example, methods: [PUT]}, auth: none, upstream: api, headers: {response: {set: {x-route: "${route.name}"}}}}
  - {name: field, match: {path: /*, host: d.example, headers: {x-canary: "1"}}, auth: none, upstream: api, headers: {response: {set: {x-route: "${route.name}"}}}}
`
	ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		q := &x.Request
		q.Host, x.Reroute = []byte("b.example"), true
		switch string(q.Query) {
		case "method":
			q.Host, q.Method = []byte("c.example"), []byte("PUT")
		case "field":
			q.Host = []byte("d.example")
			q.Header.Set("x-canary", []byte("1"))
		case "origin":
			q.Header.Set("origin", []byte("https://evil.example"))
		case "bad":
			q.Host = []byte("b example")
		}
		return filter.Continue, nil
	}}
	r := coretest.Start(t, yaml, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Method, " ", r.Host)
	}), coretest.Options{Kinds: append(placedOn(map[string][]filter.Placed{"all": {{Name: "sends", Slot: filter.Upstream, Filter: ff}}}), standardKinds(t)...)})
	f := func(query, route, origin, body string) {
		t.Helper()
		h := wants(t, r, "/?"+query, 200, body, "Host", "a.example", "Origin", "https://b.example")
		if h.Get("X-Route") != route || h.Get("X-Old") != "" || h.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s: %v", query, h)
		}
		wantLine(t, r, `"route":"`+route+`"`)
	}
	f("host", "host", "https://b.example", "GET b.example")
	f("method", "method", "", "PUT c.example")
	f("field", "field", "", "GET d.example")
	f("origin", "host", "https://b.example", "GET b.example")
	wants(t, r, "/?bad", 503, "", "Host", "a.example")
	text := adminText(t, r, "/metrics")
	for _, want := range []string{`http_requests_total{route="host",method="GET",code="2xx"} 2`, `http_requests_total{route="method",method="GET",code="2xx"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

// TestRerouteTimeout: the whole exchange has the time that its last route gives it.
func TestRerouteTimeout(t *testing.T) {
	for old, fresh := range map[string]string{"timeout: 1h": "timeout: 50ms", "body_bytes: 1KiB": "timeout: 50ms", "timeout: 50ms": "body_bytes: 1KiB"} {
		yaml := strings.Replace(strings.Replace(rerouted, "KEYS", "auth: none, "+fresh, 1), "{name: open,", "{name: open, "+old+",", 1)
		slow := make(chan struct{})
		r := coretest.Start(t, yaml, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-slow:
			case <-r.Context().Done():
			}
		}), coretest.Options{Kinds: placedOn(map[string][]filter.Placed{"open": {{Name: "sends", Filter: to("/new/a")}}}), Files: map[string]string{"secret": hmacSecret}})
		if strings.HasPrefix(fresh, "timeout") {
			wants(t, r, "/open", 504, "")
			close(slow)
			continue
		}
		time.AfterFunc(200*time.Millisecond, func() { close(slow) })
		wants(t, r, "/open", 200, "")
	}
}

// TestRerouteTrail: no filter runs twice, each has a slot of its own, and the answer comes by all of them in reverse.
func TestRerouteTrail(t *testing.T) {
	var trace coretest.Buffer
	named := func(name, path string) *slotted {
		return &slotted{
			request: func(x *exchange.Exchange, slot int) (filter.Verdict, error) {
				fmt.Fprintf(&trace, "%s%d ", name, slot)
				if path != "" {
					x.Request.Target, x.Reroute = []byte(path), true
				}
				return filter.Continue, nil
			},
			response: func(_ *exchange.Exchange, slot int, _ bool) (filter.Verdict, error) {
				fmt.Fprintf(&trace, "-%s%d ", name, slot)
				return filter.Continue, nil
			},
		}
	}
	shared, twice := named("s", ""), named("t", "")
	at := func(s filter.Slot, f filter.Filter, key any) filter.Placed {
		return filter.Placed{Name: "f", Slot: s, Filter: f, Key: key}
	}
	r := coretest.Start(t, strings.Replace(rerouted, "KEYS", "auth: none", 1), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), coretest.Options{
		Kinds: placedOn(map[string][]filter.Placed{
			"open": {at(filter.Edge, named("a", ""), nil), at(filter.Edge, shared, nil), at(filter.Identity, named("k", ""), "key"), at(filter.Upstream, twice, nil),
				at(filter.Upstream, named("b", "/new/a"), nil), at(filter.Upstream, named("never", ""), nil)},
			"new": {at(filter.Edge, named("c", ""), nil), at(filter.Edge, named("other k", ""), "key"), at(filter.Identity, shared, nil), at(filter.Upstream, twice, nil),
				at(filter.Upstream, twice, nil), at(filter.Upstream, named("d", ""), "another key")},
		}), Files: map[string]string{"secret": hmacSecret},
	})
	wants(t, r, "/open", 200, "")
	if got, want := trace.String(), "a0 s1 k2 t3 b4 c5 t6 d7 -d7 -t6 -c5 -b4 -t3 -k2 -s1 -a0 "; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// slotted is a fake that is told its slot.
type slotted struct {
	request  func(x *exchange.Exchange, slot int) (filter.Verdict, error)
	response func(x *exchange.Exchange, slot int, failed bool) (filter.Verdict, error)
}

func (f *slotted) Request(x *exchange.Exchange, slot int) (filter.Verdict, error) {
	if f.request == nil {
		return filter.Continue, nil
	}
	return f.request(x, slot)
}

func (f *slotted) Response(x *exchange.Exchange, slot int, failed bool) (filter.Verdict, error) {
	if f.response == nil {
		return filter.Continue, nil
	}
	return f.response(x, slot, failed)
}

func (*slotted) Close() error { return nil }

// TestRerouteEnds: an exchange that is sent on and on ends where no filter has room any more, and state is let go of once.
func TestRerouteEnds(t *testing.T) {
	for routes, want := range map[int]int{exchange.MaxSlots: 200, exchange.MaxSlots + 1: 503} {
		yaml := strings.Replace(plain, "routes:", "routes:", 1)
		filters := map[string][]filter.Placed{}
		var lines strings.Builder
		var freed coretest.Buffer
		for n := range routes {
			fmt.Fprintf(&lines, "\n  - {name: r%d, match: {path: /%d}, auth: none, upstream: api}", n, n)
			ff := &slotted{request: func(x *exchange.Exchange, slot int) (filter.Verdict, error) {
				x.Slots[slot] = released(func(*exchange.Exchange) { fmt.Fprint(&freed, "x") })
				x.Request.Target, x.Reroute = fmt.Appendf(nil, "/%d", n+1), true
				return filter.Continue, nil
			}}
			filters[fmt.Sprint("r", n)] = []filter.Placed{{Name: "on", Slot: filter.Upstream, Filter: ff}}
		}
		yaml = strings.Replace(yaml, "routes:", "routes:"+lines.String(), 1)
		r := coretest.Start(t, yaml, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), coretest.Options{Kinds: placedOn(filters)})
		wants(t, r, "/0", want, "")
		coretest.Eventually(t, "all state released", func() bool { return freed.String() == strings.Repeat("x", exchange.MaxSlots) })
	}
	// Round in a circle: both filters have run, and the exchange goes on.
	r := coretest.Start(t, strings.Replace(rerouted, "KEYS", "auth: none", 1), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.URL.Path)
	}), coretest.Options{Kinds: placedOn(map[string][]filter.Placed{"open": {{Name: "a", Filter: to("/new/a")}}, "new": {{Name: "b", Filter: to("/open")}}}), Files: map[string]string{"secret": hmacSecret}})
	wants(t, r, "/open", 200, "/open")
}

// TestRerouteIsHeard: the wish of a filter that has an answer, or sees one, is not heard; of one that may fail it is.
func TestRerouteIsHeard(t *testing.T) {
	for _, v := range []struct {
		verdict filter.Verdict
		err     error
		status  int
		body    string
	}{
		{filter.Respond, nil, 299, ""}, {filter.Reply, nil, 299, ""}, {filter.Continue, fault.New(fault.GuestFailed, "trap"), 200, "/new/a"},
	} {
		ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
			x.Request.Target, x.Reroute, x.Response.Status = []byte("/new/a"), true, 299
			return v.verdict, v.err
		}, response: func(x *exchange.Exchange, _ bool) (filter.Verdict, error) {
			x.Reroute = true
			return filter.Continue, nil
		}}
		r := coretest.Start(t, strings.Replace(rerouted, "KEYS", "auth: none", 1), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.URL.Path)
		}), coretest.Options{Kinds: placedOn(map[string][]filter.Placed{"open": {{Name: "sends", Filter: ff, FailOpen: true}}}), Files: map[string]string{"secret": hmacSecret}})
		wants(t, r, "/open", v.status, v.body)
	}
}

// TestReply: the filter that replies sees its own answer; the one that responds does not.
func TestReply(t *testing.T) {
	for verdict, want := range map[filter.Verdict]string{filter.Reply: "-b -a ", filter.Respond: "-a "} {
		var trace coretest.Buffer
		sees := func(name string) func(*exchange.Exchange, bool) (filter.Verdict, error) {
			return func(x *exchange.Exchange, failed bool) (filter.Verdict, error) {
				if x.Response.Status != 202 || !x.Response.Local || failed {
					t.Error(x.Response.Status, x.Response.Local, failed)
				}
				fmt.Fprintf(&trace, "-%s ", name)
				return filter.Continue, nil
			}
		}
		r := coretest.Start(t, logged, nil, coretest.Options{Env: map[string]string{"UPSTREAM": "127.0.0.1:1"}, Kinds: chain(&fake{response: sees("a")},
			&fake{response: sees("b"), request: func(x *exchange.Exchange) (filter.Verdict, error) {
				x.Response.Status = 202
				x.Response.Body.Replace([]byte("mine"))
				return verdict, nil
			}}, &fake{response: sees("c")})})
		wants(t, r, "/", 202, "mine")
		if got := trace.String(); got != want {
			t.Errorf("%d: %q, want %q", verdict, got, want)
		}
		wantLine(t, r, `"filter":"fake"`)
	}
}

// TestRerouteKeepsGuards: what is refused or merged in a client's target is so in a filter's.
func TestRerouteKeepsGuards(t *testing.T) {
	for target, want := range map[string]int{"/new//a": 401, "//open": 200, "/open%2F": 503} {
		yaml := strings.Replace(strings.Replace(rerouted, "KEYS", "auth: {jwt: two}", 1), "routes:", "guards: {encoded_slash: refuse, double_slash: merge}\nroutes:", 1)
		r := coretest.Start(t, yaml, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), coretest.Options{
			Kinds: placedOn(map[string][]filter.Placed{"open": {{Name: "sends", Filter: to(target)}}}), Files: map[string]string{"secret": hmacSecret},
		})
		wants(t, r, "/open", want, "")
	}
}

// TestRerouteKeepsWhatFiltersSet: a field that may carry a credential is the client's until it has been read, then the filters'.
func TestRerouteKeepsWhatFiltersSet(t *testing.T) {
	sends := to("/new/a")
	send := sends.request
	sends.request = func(x *exchange.Exchange) (filter.Verdict, error) {
		x.Request.Header.Set("authorization", []byte("of the filter"))
		return send(x)
	}
	const yaml = `auth: none}
  - {name: spends, match: {path: /spends}, auth: {jwt: one}, upstream: api, headers: {request: {set: {authorization: "${identity.subject}"}}}`
	for s, want := range map[filter.Slot]string{filter.Edge: "", filter.Identity: "of the filter", filter.Upstream: "of the filter"} {
		r := coretest.Start(t, strings.Replace(rerouted, "KEYS", yaml, 1), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Header.Get("Authorization"))
		}), coretest.Options{
			Kinds: placedOn(map[string][]filter.Placed{"open": {{Name: "sends", Slot: s, Filter: sends}}}), Files: map[string]string{"secret": hmacSecret},
		})
		wants(t, r, "/open", 200, want, "Authorization", "of the client")
		if _, _, body := r.Get("/open", "Authorization", "of the client"); body != want {
			t.Errorf("%s: %q", s, body)
		}
	}
}
