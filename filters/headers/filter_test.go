package headers

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/coretest/alloc"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
)

// spec reads a configuration around the headers of one route.
func spec(t *testing.T, headers string) *config.Spec {
	t.Helper()
	s, err := config.Parse("weir.yaml", []byte(`
version: 1
listeners: [{address: ":0"}]
routes: [{name: here, match: {path: "/{id}"}, auth: none, respond: {status: 200}, headers: {`+headers+`}}]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func build(t *testing.T, headers string, kind func(filter.Place) ([]filter.Placed, error)) []filter.Placed {
	t.Helper()
	s := spec(t, headers)
	placed, err := kind(filter.Place{Spec: s, Route: &s.Routes[0]})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range placed {
		if p.Filter == nil {
			continue
		}
		if err := p.Filter.Close(); err != nil {
			t.Error(err)
		}
	}
	return placed
}

func ask(fields ...string) *exchange.Exchange {
	x := exchange.Acquire()
	x.Request.Host = []byte("example.com")
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		x.Request.Header.Add([]byte(name), []byte(value))
		x.Response.Header.Add([]byte(name), []byte(value))
	}
	return x
}

type claims map[string]string

func (c claims) Value(path string) (string, bool) {
	v, ok := c[path]
	return v, ok
}

func (c claims) List(string) ([]string, bool) { return nil, false }

func list(h *exchange.Header) string {
	var out []string
	for i := range h.Len() {
		out = append(out, string(h.At(i).Name)+": "+string(h.At(i).Value))
	}
	return strings.Join(out, ", ")
}

func TestRequest(t *testing.T) {
	f := func(headers, want string, fields ...string) {
		t.Helper()
		placed := build(t, headers, Request)
		if len(placed) != 1 || placed[0].Slot != filter.Upstream || placed[0].FailOpen {
			t.Fatal(placed)
		}
		x := ask(fields...)
		defer exchange.Release(x)
		x.Identity = &exchange.Identity{Subject: "ann", Claims: claims{"team": "blue", "odd": "a\r\nx: y"}}
		x.RequestID, x.Record.Route = []byte("id-1"), "here"
		x.Params.Set("id", []byte("7"))
		before := list(&x.Response.Header)
		if v, err := placed[0].Filter.Request(x, 0); v != filter.Continue || err != nil {
			t.Fatal(v, err)
		}
		if have := list(&x.Request.Header) + " @" + string(x.Request.Host); have != want {
			t.Errorf("%s\nhave %s\nwant %s", headers, have, want)
		}
		if _, err := placed[0].Filter.Response(x, 0, false); err != nil || list(&x.Response.Header) != before {
			t.Error("the answer was changed", err)
		}
	}
	f("request: {set: {x-a: b}}", "x-a: b @example.com")
	// All of a name give way to one, in the place of the first, whatever its case.
	f("request: {set: {x-a: b}}", "X-A: b, x-c: 2 @example.com", "X-A: 1", "x-c: 2", "x-a: 3")
	f("request: {remove: [X-A, cookie]}", "x-c: 2 @example.com", "x-a: 1", "x-c: 2", "Cookie: c", "X-a: 3")
	// Remove comes first.
	f("request: {remove: [x-a], set: {x-a: b}}", "x-c: 2, x-a: b @example.com", "x-a: 1", "x-c: 2")
	f(`request: {set: {x-a: "${identity.subject}/${identity.claim.team} ${request.id} ${route.name} ${path.id}"}}`, "x-a: ann/blue id-1 here 7 @example.com")
	// What can't be said leaves nothing, neither a half nor what the client sent.
	f(`request: {set: {x-a: "t-${identity.claim.none}"}}`, "x-c: 2 @example.com", "x-a: forged", "x-c: 2")
	// A claim can't make a field of its own.
	f(`request: {set: {x-a: "${identity.claim.odd}"}}`, "x-a: a  x: y @example.com")
	f("request: {set: {host: other.example}}", " @other.example")
	f(`request: {set: {host: "${identity.claim.odd}"}}`, " @example.com")
}

func TestResponse(t *testing.T) {
	f := func(headers string, secure bool, want string, fields ...string) {
		t.Helper()
		placed := build(t, headers, Response)
		if len(placed) != 1 || placed[0].Filter != nil {
			t.Fatal(placed)
		}
		x := ask(fields...)
		defer exchange.Release(x)
		x.Client.Secure = secure
		placed[0].Answer(x)
		if have := list(&x.Response.Header); have != want {
			t.Errorf("%s\nhave %s\nwant %s", headers, have, want)
		}
	}
	const all = "x-content-type-options: nosniff, x-frame-options: DENY, referrer-policy: strict-origin-when-cross-origin, " +
		"content-security-policy: base-uri 'self'; frame-ancestors 'none'; object-src 'none'"
	f("response: {set: {x-a: b}, remove: [server]}", true, "x-a: b", "Server: s")
	f("response: {preset: security}", false, all)
	f("response: {preset: security}", true, all+", strict-transport-security: max-age=31536000")
	// The upstream's own words stay where there is more than one right one.
	f("response: {preset: security}", true,
		"X-Frame-Options: DENY, Content-Security-Policy: default-src 'self', Strict-Transport-Security: max-age=1, x-content-type-options: nosniff, referrer-policy: strict-origin-when-cross-origin",
		"X-Frame-Options: SAMEORIGIN", "Content-Security-Policy: default-src 'self'", "Strict-Transport-Security: max-age=1")
	// The operator's are the last.
	f("response: {preset: security, set: {x-frame-options: SAMEORIGIN}, remove: [content-security-policy, referrer-policy]}", false,
		"x-content-type-options: nosniff, x-frame-options: SAMEORIGIN")
}

func TestNothingToDo(t *testing.T) {
	if p := build(t, "request: {}", Request); p != nil {
		t.Error(p)
	}
	if p := build(t, "request: {set: {x-a: b}}", Response); p != nil {
		t.Error(p)
	}
}

func TestFramingRefused(t *testing.T) {
	for _, name := range []string{"expect", "http2-settings"} {
		s, err := config.Parse("weir.yaml", []byte(`
version: 1
listeners: [{address: ":0"}]
routes: [{name: here, match: {path: /*}, auth: none, respond: {status: 200}, headers: {request: {set: {`+name+`: x}}, response: {set: {`+name+`: x}}}}]
`), nil)
		if err != nil {
			continue // the configuration knows it already
		}
		for _, kind := range []func(filter.Place) ([]filter.Placed, error){Request, Response} {
			if p, err := kind(filter.Place{Spec: s, Route: &s.Routes[0]}); err == nil || p != nil || !strings.Contains(err.Error(), "cannot be set") {
				t.Error(name, p, err)
			}
		}
	}
}

func TestAllocations(t *testing.T) {
	q := build(t, `request: {remove: [cookie], set: {x-user: "${identity.subject}", x-a: b}}`, Request)[0].Filter
	p := build(t, "response: {preset: security, set: {x-a: b}}", Response)[0].Answer
	id := &exchange.Identity{Subject: "ann"}
	name, value := []byte("cookie"), []byte("c")
	alloc.Floor(t, func() {
		x := exchange.Acquire()
		x.Identity = id
		x.Request.Header.Add(name, value)
		_, _ = q.Request(x, 1)
		_, _ = q.Response(x, 1, false)
		p(x)
		exchange.Release(x)
	})
}

// Every block of YAML in the README is part of a configuration that loads.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) == 0 {
		t.Fatal("no example")
	}
	for _, b := range blocks {
		s, err := config.Parse("README.md", []byte(b[1]), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range s.Routes {
			if _, err := Request(filter.Place{Spec: s, Route: &s.Routes[i]}); err != nil {
				t.Error(err)
			}
		}
	}
}
