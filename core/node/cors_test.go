package node_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/filters"
)

const shared = `
version: 1
listeners: [{address: "127.0.0.1:0"}]
jwt: {sso: {secret: {file: secret}, algorithms: [HS256]}}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}, gone: {endpoints: ["http://127.0.0.1:1"]}}
routes:
  - name: api
    match: {path: /api/*, methods: [GET, PUT], headers: {x-version: "1"}}
    auth: {jwt: sso}
    limits: [{name: one, key: ip, rate: 2/d}]
    cors: {origins: ["https://app.example.com", "https://*.sub.example.com:8443", "http://plain.example"], methods: [GET, PUT], headers: [authorization, x-version], expose: [x-total, x-page], credentials: true, max_age: 10m}
    headers: {response: {preset: security, set: {x-set: here}}}
    upstream: api
  - {name: any, match: {path: /any/*}, auth: none, cors: {origins: ["*"]}, upstream: api}
  - {name: nobody, match: {path: /null}, auth: none, cors: {origins: ["null"]}, respond: {status: 200, body: hi}}
  - {name: gone, match: {path: /gone}, auth: none, cors: {origins: ["https://app.example.com"]}, upstream: gone, headers: {response: {preset: security}}}
  - {name: inside, match: {path: /inside}, auth: none, ip: {allow: [10.0.0.0/8]}, cors: {origins: ["https://app.example.com"]}, upstream: api, headers: {response: {preset: security}}}
  - {name: small, match: {path: /small}, auth: none, body_bytes: 1B, cors: {origins: ["https://app.example.com"]}, upstream: api, headers: {response: {preset: security}}}
  - {name: limited, match: {path: /limited}, auth: none, limits: [{name: all, key: route, rate: 1/d}], cors: {origins: ["https://app.example.com"]}, respond: {status: 204}, headers: {response: {preset: security}}}
  - {name: moved, match: {path: /moved}, auth: none, cors: {origins: ["https://app.example.com"]}, redirect: {to: "https://example.com/new"}, headers: {response: {preset: security}}}
  - {name: own, match: {path: /own}, auth: none, upstream: api}
`

// standardKinds are the kinds of filters that there are.
func standardKinds(t *testing.T) []filter.Kind {
	set := filters.Open(filters.Options{})
	t.Cleanup(func() { _ = set.Close() })
	return set.Standard()
}

// startShared serves the configuration above before an upstream that has its own idea of CORS, and counts what it is asked.
func startShared(t *testing.T) (*coretest.Rig, *atomic.Int64) {
	asked := &atomic.Int64{}
	return coretest.Start(t, shared, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "https://upstream.example")
		h.Set("access-control-allow-credentials", "maybe")
		h.Set("Access-Control-Allow-Private-Network", "true")
		h.Add("Vary", "Accept-Encoding, Cookie")
		h.Set("X-Origin", r.Header.Get("Origin"))
	}), coretest.Options{Kinds: standardKinds(t), Files: map[string]string{"secret": hmacSecret}}), asked
}

// said is what an answer says of sharing, in one line.
func said(h http.Header) string {
	var all []string
	for _, name := range []string{"Allow-Origin", "Allow-Credentials", "Allow-Methods", "Allow-Headers", "Max-Age", "Expose-Headers", "Allow-Private-Network"} {
		for _, v := range h.Values("Access-Control-" + name) {
			all = append(all, name+"="+v)
		}
	}
	for _, v := range h.Values("Vary") {
		all = append(all, "Vary="+v)
	}
	return strings.Join(all, "; ")
}

func TestPreflight(t *testing.T) {
	r, asked := startShared(t)
	const everything = "Vary=Origin; Vary=Access-Control-Request-Method; Vary=Access-Control-Request-Headers"
	const granted = "Allow-Credentials=true; Allow-Methods=GET, PUT; Allow-Headers=authorization, x-version; Max-Age=600; " + everything
	f := func(path, origin string, status int, want string, fields ...string) {
		t.Helper()
		fields = append(fields, "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "authorization,x-version", "Access-Control-Request-Private-Network", "true")
		if origin != "" {
			fields = append(fields, "Origin", origin)
		}
		got, h, _ := r.Do("OPTIONS", path, "", fields...)
		if s := said(h); got != status || s != want {
			t.Errorf("%s from %q: %d %s\nwant %d %s", path, origin, got, s, status, want)
		}
	}
	// Without a credential, and as often as it likes.
	for range 4 {
		f("/api/a", "https://app.example.com", 204, "Allow-Origin=https://app.example.com; "+granted)
	}
	f("/api/a", "HTTPS://App.Example.COM:443", 204, "Allow-Origin=HTTPS://App.Example.COM:443; "+granted)
	f("/api/a", "http://plain.example:80", 204, "Allow-Origin=http://plain.example:80; "+granted)
	f("/api/a", "https://a.b.sub.example.com:8443", 204, "Allow-Origin=https://a.b.sub.example.com:8443; "+granted)
	for _, origin := range []string{
		"http://app.example.com", "https://app.example.com:444", "https://app.example.com.", "https://xapp.example.com", "https://app.example.com.evil.example",
		"https://sub.example.com:8443", "https://.sub.example.com:8443", "https://a.sub.example.com", "http://a.sub.example.com:8443",
		"https://evil.example/.sub.example.com:8443", "https://evil.example:1@a.sub.example.com:8443", "https://evil.example#.sub.example.com:8443",
		"null", "https://app.example.com https://app.example.com", "https://app.example.com/", "https://" + strings.Repeat("a.", 200) + "sub.example.com:8443",
	} {
		f("/api/a", origin, 403, everything)
	}
	f("/api/a", "https://app.example.com", 403, everything, "Origin", "https://app.example.com")
	f("/any/a", "https://whoever.example", 204, "Allow-Origin=*; Allow-Methods=GET, HEAD, POST; "+everything)
	f("/null", "null", 204, "Allow-Origin=null; Allow-Methods=GET, HEAD, POST; "+everything)
	f("/inside", "https://app.example.com", 403, "Allow-Origin=https://app.example.com; Vary=Origin") // an address that is refused is refused this, too
	if n := asked.Load(); n != 0 {
		t.Errorf("%d preflights came to the upstream", n)
	}
	// Without cors it is the upstream's business.
	f("/own", "https://app.example.com", 200, "Allow-Origin=https://upstream.example; Allow-Credentials=maybe; Allow-Private-Network=true; Vary=Accept-Encoding, Cookie")
	// An OPTIONS that is no preflight is no question.
	if status, _, _ := r.Do("OPTIONS", "/any/a", "", "Origin", "https://whoever.example"); status != 200 || asked.Load() != 2 {
		t.Errorf("%d, asked %d times", status, asked.Load())
	}
	if status, h, _ := r.Do("OPTIONS", "/api/a", "", "x-version", "1"); status != 405 || h.Get("Allow") != "GET, HEAD, PUT" {
		t.Errorf("%d %v", status, h)
	}
	status, h, body := r.Do("OPTIONS", "/null", "", "Origin", "null", "Access-Control-Request-Method", "GET")
	if status != 204 || body != "" || h.Get("Content-Length") != "" || h.Get("X-Request-Id") == "" {
		t.Errorf("%d %v %q", status, h, body)
	}
}

func TestSharedAnswers(t *testing.T) {
	r, _ := startShared(t)
	token := "Bearer " + mintHS256(t, map[string]any{"sub": "alice", "exp": 4e9})
	const mine, app = "Allow-Origin=https://app.example.com; ", "https://app.example.com"
	f := func(method, path, body, origin string, status int, want string, fields ...string) {
		t.Helper()
		if origin != "" {
			fields = append(fields, "Origin", origin)
		}
		got, h, _ := r.Do(method, path, body, fields...)
		if s := said(h); got != status || s != want {
			t.Errorf("%s from %q: %d %s\nwant %d %s", path, origin, got, s, status, want)
		}
		// Whoever refused or answered: what the route sets on answers is there.
		if path != "/any/a" && path != "/null" && (h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Strict-Transport-Security") != "") {
			t.Errorf("%s: %d without the preset: %v", path, got, h)
		}
	}
	const own = mine + "Allow-Credentials=true; Expose-Headers=x-total, x-page; "
	f("GET", "/api/a", "", app, 200, own+"Vary=Accept-Encoding, Cookie; Vary=Origin", "Authorization", token, "X-Version", "1")
	f("GET", "/api/a", "", app, 401, own+"Vary=Origin", "X-Version", "1")
	f("GET", "/api/a", "", app, 429, own+"Vary=Origin", "X-Version", "1")
	f("GET", "/api/a", "", "https://evil.example", 429, "Vary=Origin", "X-Version", "1")
	f("GET", "/api/a", "", "", 429, "Vary=Origin", "X-Version", "1")
	f("GET", "/any/a", "", "", 200, "Allow-Origin=*; Vary=Accept-Encoding, Cookie")
	f("GET", "/null", "", "null", 200, "Allow-Origin=null; Vary=Origin")
	f("GET", "/null", "", app, 200, "Vary=Origin")
	f("GET", "/gone", "", app, 502, mine+"Vary=Origin")
	f("GET", "/inside", "", app, 403, mine+"Vary=Origin")
	f("POST", "/small", "large", app, 413, mine+"Vary=Origin")
	f("GET", "/limited", "", app, 204, mine+"Vary=Origin")
	f("GET", "/limited", "", app, 429, mine+"Vary=Origin")
	f("GET", "/moved", "", app, 308, mine+"Vary=Origin")
	f("HEAD", "/moved", "", app, 308, mine+"Vary=Origin")
	status, h, _ := r.Do("GET", "/any/a", "", "Origin", "https://a.example")
	if status != 200 || h.Get("X-Origin") != "https://a.example" {
		t.Errorf("the upstream is not told who asks: %v", h)
	}
	// A refused preflight says in the log why.
	r.Do("OPTIONS", "/null", "", "Origin", "https://a.example", "Access-Control-Request-Method", "GET")
	wantRecord(t, r, fault.Forbidden, `"reason":"cors"`)
}
