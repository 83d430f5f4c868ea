package route

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"pgregory.net/rapid"
)

// request builds one from "METHOD host path" and "name: value" lines.
func request(method, host, path string, fields ...string) *exchange.Request {
	r := &exchange.Request{Method: []byte(method), Host: []byte(host), Path: []byte(path)}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add([]byte(name), []byte(value))
	}
	return r
}

func MustCompile(t testing.TB, matches ...Match) *Table {
	t.Helper()
	table, err := Compile(matches)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestPath(t *testing.T) {
	f := func(pattern, path string, want bool) {
		t.Helper()
		if got := MustCompile(t, Match{Path: pattern}).Find(request("GET", "h", path), nil) == 0; got != want {
			t.Errorf("%q takes %q: %v", pattern, path, got)
		}
	}
	// everything
	f("", "/", true)
	f("/*", "/", true)
	f("/*", "/a/b", true)
	f("/*", "*", true)
	f("", "", true)
	// exact
	f("/", "/", true)
	f("/", "*", false)
	f("/", "", false)
	f("/", "//", false)
	f("/a", "/a", true)
	f("/a", "/a/", false)
	f("/a", "/A", false)
	f("/a", "/", false)
	f("/a/", "/a/", true)
	f("/a/", "/a", false)
	f("/a", "a", false)
	// a prefix ends at a slash
	f("/v1/*", "/v1", true)
	f("/v1/*", "/v1/", true)
	f("/v1/*", "/v1/x/y", true)
	f("/v1/*", "/v1x", false)
	f("/v1/*", "/v", false)
	f("/v1//*", "/v1/", true)
	f("/v1//*", "/v1//x", true)
	f("/v1//*", "/v1/x", false)
	// a named segment has at least a byte
	f("/s/{id}", "/s/7", true)
	f("/s/{id}", "/s/", false)
	f("/s/{id}", "/s", false)
	f("/s/{id}", "/s/7/", false)
	f("/s/{id}/start", "/s/7/start", true)
	f("/s/{id}/start", "/s//start", false)
	f("/s/{id}/start", "/s/7/stop", false)
	f("/s/{id}/*", "/s/7", true)
	f("/s/{id}/*", "/s/7/a/b", true)
	f("/s/{id}/*", "/s", false)
	// an encoded slash is no slash
	f("/s/{id}", "/s/a%2Fb", true)
}

func TestHost(t *testing.T) {
	f := func(pattern, host string, want bool) {
		t.Helper()
		table := MustCompile(t, Match{Hosts: strings.Fields(pattern)})
		if got := table.Find(request("GET", host, "/"), nil) == 0; got != want {
			t.Errorf("%q takes %q: %v", pattern, host, got)
		}
	}
	long := strings.Repeat("a", 300)
	// any
	f("", "", true)
	f("", "x", true)
	f("*", "", true)
	f("a.com *", "x", true)
	f("", long, true)
	// exact, in any case, with any port, with a trailing dot
	f("a.com", "a.com", true)
	f("a.com", "A.Com", true)
	f("A.com.", "a.COM.:80", true)
	f("a.com", "a.com:8443", true)
	f("a.com", "b.a.com", false)
	f("a.com", "a.comx", false)
	f("a.com", "", false)
	f("a.com", "a.com..", false)
	f("a.com b.com", "b.com", true)
	f("a.com", long, false)
	// with a port
	f("a.com:8080", "a.com:8080", true)
	f("a.com:8080", "a.com:08080", true)
	f("a.com:8080", "a.com", false)
	f("a.com:8080", "a.com:80", false)
	f("a.com:8080", "a.com:99999999999", false)
	f("a.com:34464", "a.com:100000", false)
	f("a.com:443", "a.com", true)
	f("a.com:80", "a.com:", true)
	f("a.com:80", "a.com:443", false)
	// a suffix needs at least one label before it
	f("*.a.com", "b.a.com", true)
	f("*.a.com", "c.B.a.com:1", true)
	f("*.a.com", "a.com", false)
	f("*.a.com", ".a.com", false)
	f("*.a.com", "ba.com", false)
	f("*.com *.x.a.com", "x.a.com", true)
	f("*.a.com:81", "b.a.com", false)
	// literals are compared as addresses
	f("[::1]", "[::1]:8080", true)
	f("[::1]", "[0:0:0:0:0:0:0:1]", true)
	f("[2001:DB8::1]:81", "[2001:db8::1]:81", true)
	f("[::1]", "[::2]", false)
	f("[::1]", "[::1%25lo]", false)
	f("[::1]", "[::1", false)
	f("[::1]", "[::1]x", false)
	f("10.0.0.1", "10.0.0.1:80", true)
	f("a.com", "a.com:1:2", false)
}

func TestMethodsAndHeaders(t *testing.T) {
	f := func(m Match, r *exchange.Request, want int) {
		t.Helper()
		if got := MustCompile(t, m).Find(r, nil); got != want {
			t.Errorf("%+v: got %d", m, got)
		}
	}
	f(Match{Methods: []string{"GET"}}, request("GET", "", "/"), 0)
	f(Match{Methods: []string{"POST", "GET"}}, request("HEAD", "", "/"), 0)
	f(Match{Methods: []string{"HEAD"}}, request("GET", "", "/"), -1)
	f(Match{Methods: []string{"GET"}}, request("get", "", "/"), -1)
	f(Match{Methods: []string{"PURGE"}}, request("PURGE", "", "/"), 0)

	version := Match{Headers: []HeaderMatch{{"X-Api-Version", "1.0"}}}
	f(version, request("GET", "", "/", "x-API-version: 1.0"), 0)
	f(version, request("GET", "", "/", "x-api-version: 1.00"), -1)
	f(version, request("GET", "", "/"), -1)
	// any line of that name may fit
	f(version, request("GET", "", "/", "x-api-version: 2.0", "X-Api-Version: 1.0"), 0)
	// all must fit
	both := Match{Headers: []HeaderMatch{{"a", "1"}, {"b", ""}}}
	f(both, request("GET", "", "/", "a: 1"), -1)
	f(both, request("GET", "", "/", "a: 1", "b: "), 0)
}

func TestFirstWins(t *testing.T) {
	table := MustCompile(t,
		Match{Path: "/a/{x}", Methods: []string{"POST"}},
		Match{Path: "/a/*"},
		Match{Path: "/a/b"}, // never found: order decides, not how specific a path is
		Match{Hosts: []string{"a.com"}, Path: "/c"},
		Match{Hosts: []string{"*.com"}, Path: "/*"},
		Match{Path: "/c"},
	)
	f := func(method, host, path string, want int) {
		t.Helper()
		if got := table.Find(request(method, host, path), nil); got != want {
			t.Errorf("%s %s %s: got %d, want %d", method, host, path, got, want)
		}
	}
	f("POST", "", "/a/b", 0)
	f("GET", "", "/a/b", 1)
	f("GET", "a.com", "/c", 3)
	f("GET", "b.com", "/c", 4)
	f("GET", "b.org", "/c", 5)
	f("GET", "b.org", "/d", -1)
	if table.Len() != 6 {
		t.Error(table.Len())
	}
}

func TestParams(t *testing.T) {
	table := MustCompile(t, Match{Path: "/servers/{id}/{verb}/*"}, Match{Path: "/plain"})
	var p exchange.Params
	p.Set("stale", []byte("x"))
	if i := table.Find(request("GET", "", "/servers/a%20b/start/now"), &p); i != 0 {
		t.Fatal(i)
	}
	if id, verb := string(p.Get("id")), string(p.Get("verb")); id != "a%20b" || verb != "start" {
		t.Errorf("id %q, verb %q", id, verb)
	}
	if p.Get("stale") != nil {
		t.Error("Find left segments of another route")
	}
	table.Find(request("GET", "", "/plain"), &p)
	if p.Get("id") != nil {
		t.Error("Find left segments of the route before")
	}
}

func TestCompileErrors(t *testing.T) {
	f := func(m Match, want string) {
		t.Helper()
		_, err := Compile([]Match{{}, m})
		if err == nil || err.Error() != "match 1: "+want {
			t.Errorf("%+v: %v", m, err)
		}
	}
	f(Match{Path: "a"}, `path "a": does not begin with /`)
	f(Match{Path: "/a*"}, `path "/a*": * may only stand for the whole end, as /*`)
	f(Match{Path: "/*/a"}, `path "/*/a": * may only stand for the whole end, as /*`)
	f(Match{Path: "/x{id}"}, `path "/x{id}": a name in braces must be a whole segment, of letters, digits, _ and -`)
	f(Match{Path: "/{}"}, `path "/{}": a name in braces must be a whole segment, of letters, digits, _ and -`)
	f(Match{Path: "/{a}/{a}"}, `path "/{a}/{a}": {a} stands in it twice`)
	f(Match{Path: "/{1}/{2}/{3}/{4}/{5}/{6}/{7}/{8}/{9}"}, `path "/{1}/{2}/{3}/{4}/{5}/{6}/{7}/{8}/{9}": more than 8 named segments`)
	f(Match{Path: "/a/../b"}, `path "/a/../b": never matches: dot segments are resolved before`)
	f(Match{Path: "/a?b"}, `path "/a?b": never matches: contains a byte that no request's path has`)
	f(Match{Methods: []string{"get"}}, `method "get": not a method in upper case`)
	f(Match{Methods: []string{""}}, `method "": not a method in upper case`)
	f(Match{Headers: []HeaderMatch{{"a b", ""}}}, `header "a b": not a field name`)
	f(Match{Headers: []HeaderMatch{{"a", " x"}}}, `header a: value " x" has space around it and never matches`)
	f(Match{Hosts: []string{""}}, `host "": no name, or one longer than 255 bytes`)
	f(Match{Hosts: []string{".a.com"}}, `host ".a.com": begins with a dot; write *.a.com for what is below it`)
	f(Match{Hosts: []string{"*a.com"}}, `host "*a.com": * must be followed by a dot and a name`)
	f(Match{Hosts: []string{"a.*.com"}}, `host "a.*.com": not a host name (beyond ASCII, write it in punycode)`)
	f(Match{Hosts: []string{"a/b"}}, `host "a/b": not a host name (beyond ASCII, write it in punycode)`)
	f(Match{Hosts: []string{"a:b"}}, `host "a:b": bad port`)
	f(Match{Hosts: []string{"a:0"}}, `host "a:0": bad port`)
	f(Match{Hosts: []string{"::1"}}, `host "::1": not a host and port`)
	f(Match{Hosts: []string{"[::1"}}, `host "[::1": not a host and port`)
	f(Match{Hosts: []string{"[1.2.3.4]"}}, `host "[1.2.3.4]": not an IPv6 address`)

	// all of them in one run
	_, err := Compile([]Match{{Path: "a"}, {}, {Path: "b"}})
	if err == nil || strings.Count(err.Error(), "match ") != 2 {
		t.Error(err)
	}
}

// naive is what a match means, one rule at a time and without an index.
func naive(m *Match, r *exchange.Request) bool {
	fits := func(n int, one func(i int) bool) bool {
		for i := range n {
			if one(i) {
				return true
			}
		}
		return n == 0
	}
	return fits(len(m.Hosts), func(i int) bool { return naiveHost(m.Hosts[i], string(r.Host)) }) &&
		naivePath(m.Path, string(r.Path)) &&
		fits(len(m.Methods), func(i int) bool {
			return m.Methods[i] == string(r.Method) || m.Methods[i] == "GET" && string(r.Method) == "HEAD"
		}) &&
		!slices.ContainsFunc(m.Headers, func(h HeaderMatch) bool {
			for i := range r.Header.Len() {
				if f := r.Header.At(i); strings.EqualFold(string(f.Name), h.Name) && string(f.Value) == h.Value {
					return false
				}
			}
			return true
		})
}

func naiveHost(pattern, host string) bool {
	if pattern == "*" {
		return true
	}
	split := func(s string) (name, port string) {
		if i := strings.LastIndex(s, ":"); i > strings.LastIndex(s, "]") {
			s, port = s[:i], s[i+1:]
		}
		s = strings.ToLower(strings.TrimSuffix(s, "."))
		if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
			s = a.String()
		}
		return s, port
	}
	want, wantPort := split(pattern)
	got, gotPort := split(host)
	if wantPort != "" && wantPort != gotPort && (gotPort != "" || wantPort != "80" && wantPort != "443") {
		return false
	}
	if suffix, ok := strings.CutPrefix(want, "*"); ok {
		return strings.HasSuffix(got, suffix) && len(got) > len(suffix)
	}
	return want == got
}

func naivePath(pattern, path string) bool {
	if pattern == "" || pattern == "/*" {
		return true
	}
	want := strings.Split(pattern, "/")
	got := strings.Split(path, "/")
	if want[len(want)-1] == "*" {
		want = want[:len(want)-1]
		got = got[:min(len(got), len(want))]
	}
	return slices.EqualFunc(want, got, func(w, g string) bool {
		if strings.HasPrefix(w, "{") {
			return g != ""
		}
		return w == g
	})
}

var (
	hostPatterns = []string{"a.com", "A.com.", "b.a.com", "*.a.com", "*.com", "*.b.a.com", "a.com:8080", "*.a.com:443", "[::1]", "[0::1]:80", "*", "com"}
	requestHosts = []string{"", "a.com", "A.COM", "a.com.", "a.com:8080", "b.a.com", "b.a.com:443", "c.b.a.com", "x.com", ".com", "com", "[::1]", "[::1]:80", "[0:0::1]:81", "com:80"}
	methods      = []string{"GET", "HEAD", "POST", "PURGE"}
)

func drawMatch(t *rapid.T) (m Match) {
	m.Hosts = rapid.SliceOfN(rapid.SampledFrom(hostPatterns), 0, 2).Draw(t, "hosts")
	segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "", "{p}"}), 0, 4).Draw(t, "segments")
	for i, s := range segments {
		if s == "{p}" {
			s = fmt.Sprintf("{p%d}", i)
		}
		m.Path += "/" + s
	}
	if rapid.Bool().Draw(t, "under") {
		m.Path += "/*"
	}
	m.Methods = rapid.SliceOfN(rapid.SampledFrom(methods), 0, 2).Draw(t, "methods")
	for range rapid.IntRange(0, 5).Draw(t, "headers") / 4 {
		m.Headers = append(m.Headers, HeaderMatch{rapid.SampledFrom([]string{"X", "y"}).Draw(t, "name"), rapid.SampledFrom([]string{"1", "2"}).Draw(t, "value")})
	}
	return m
}

func drawRequest(t *rapid.T) *exchange.Request {
	path := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "", "d"}), 0, 5).Draw(t, "path"), "/")
	if rapid.IntRange(0, 20).Draw(t, "star") == 0 {
		path = "*"
	}
	r := request(rapid.SampledFrom(methods).Draw(t, "method"), rapid.SampledFrom(requestHosts).Draw(t, "host"), path)
	for range rapid.IntRange(0, 3).Draw(t, "fields") {
		r.Header.Add([]byte(rapid.SampledFrom([]string{"x", "Y"}).Draw(t, "name")), []byte(rapid.SampledFrom([]string{"1", "2"}).Draw(t, "value")))
	}
	return r
}

// The index finds what a walk through the list finds, segments included.
func TestFindEqualsNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		matches := rapid.SliceOfN(rapid.Custom(drawMatch), 0, 30).Draw(t, "matches")
		table, err := Compile(matches)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			r := drawRequest(t)
			want := slices.IndexFunc(matches, func(m Match) bool { return naive(&m, r) })
			var p exchange.Params
			if got := table.Find(r, &p); got != want {
				t.Fatalf("%s %s %s %+v: got %d, want %d", r.Method, r.Host, r.Path, r.Header, got, want)
			}
			if want < 0 {
				continue
			}
			got := strings.Split(string(r.Path), "/")
			for i, s := range strings.Split(matches[want].Path, "/") {
				if name, ok := strings.CutPrefix(s, "{"); ok && string(p.Get(name[:len(name)-1])) != got[i] {
					t.Fatalf("%s on %s: %s is %q", r.Path, matches[want].Path, s, p.Get(name[:len(name)-1]))
				}
			}
		}
	})
}

// What Shadow says is so for every request that is tried, and a copy of an earlier match is always shadowed.
func TestShadowIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		matches := rapid.SliceOfN(rapid.Custom(drawMatch), 1, 12).Draw(t, "matches")
		matches = append(matches, matches[0])
		table, err := Compile(matches)
		if err != nil {
			t.Fatal(err)
		}
		if s := table.Shadow(len(matches) - 1); s != 0 && (s < 0 || !coverHosts(table.rules[s].hosts, table.rules[0].hosts)) {
			t.Fatalf("the last is a copy of the first, and Shadow says %d", s)
		}
		for range 20 {
			r := drawRequest(t)
			for i := range matches {
				if s := table.Shadow(i); s >= 0 && (s >= i || naive(&matches[i], r) && !naive(&matches[s], r)) {
					t.Fatalf("%d does not shadow %d: %s %s %s", s, i, r.Method, r.Host, r.Path)
				}
			}
		}
	})
}

func TestShadow(t *testing.T) {
	f := func(a, b Match, want int) {
		t.Helper()
		if got := MustCompile(t, a, b).Shadow(1); got != want {
			t.Errorf("%+v before %+v: %d", a, b, got)
		}
	}
	f(Match{}, Match{Path: "/a", Hosts: []string{"a.com"}}, 0)
	f(Match{Path: "/a/*"}, Match{Path: "/a"}, 0)
	f(Match{Path: "/a/*"}, Match{Path: "/a/b/*"}, 0)
	f(Match{Path: "/a/b/*"}, Match{Path: "/a/*"}, -1)
	f(Match{Path: "/a/{x}"}, Match{Path: "/a/b"}, 0)
	f(Match{Path: "/a/{x}"}, Match{Path: "/a/"}, -1)
	f(Match{Path: "/a/{x}"}, Match{Path: "/a/{y}"}, 0)
	f(Match{Path: "/a/b"}, Match{Path: "/a/{y}"}, -1)
	f(Match{Path: "/a"}, Match{Path: "/a/*"}, -1)
	f(Match{Methods: []string{"GET"}}, Match{}, -1)
	f(Match{Methods: []string{"GET"}}, Match{Methods: []string{"HEAD", "GET"}}, 0)
	f(Match{Methods: []string{"HEAD"}}, Match{Methods: []string{"GET"}}, -1)
	f(Match{Hosts: []string{"*.a.com"}}, Match{Hosts: []string{"b.a.com", "*.c.a.com"}}, 0)
	f(Match{Hosts: []string{"*.a.com"}}, Match{Hosts: []string{"*.a.com"}}, 0)
	f(Match{Hosts: []string{"*.a.com"}}, Match{Hosts: []string{"a.com"}}, -1)
	f(Match{Hosts: []string{"*.a.com"}}, Match{}, -1)
	f(Match{Hosts: []string{"a.com:1"}}, Match{Hosts: []string{"a.com"}}, -1)
	f(Match{Hosts: []string{"a.com"}}, Match{Hosts: []string{"a.com:1"}}, 0)
	f(Match{Headers: []HeaderMatch{{"a", "1"}}}, Match{Headers: []HeaderMatch{{"A", "1"}, {"b", "2"}}}, 0)
	f(Match{Headers: []HeaderMatch{{"a", "1"}}}, Match{}, -1)
}

func FuzzFind(f *testing.F) {
	table := MustCompile(f, Match{Hosts: []string{"a.com", "*.a.com", "[::1]:80"}, Path: "/a/{x}/*"}, Match{Path: "/{y}"})
	f.Add("a.com:80", "/a/b/c")
	f.Add("[::1]", "*")
	f.Add("[", "")
	f.Add(strings.Repeat(".", 255), strings.Repeat("/", 100))
	f.Fuzz(func(t *testing.T, host, path string) {
		var p exchange.Params
		table.Find(request("GET", host, path), &p)
	})
}

// TestPatternsAreNormal: a pattern takes what its words mean, however they are written.
func TestPatternsAreNormal(t *testing.T) {
	f := func(pattern, path string, want bool) {
		t.Helper()
		if got := MustCompile(t, Match{Path: pattern}).Find(request("GET", "h", path), nil) == 0; got != want {
			t.Errorf("%q takes %q: %v", pattern, path, got)
		}
	}
	f("/%61dmin/*", "/admin/x", true)
	f("/caf%c3%a9", "/caf%C3%A9", true)
	f("/café/{id}", "/caf%C3%A9/1", true)
	f("/a%2fb", "/a%2Fb", true)
	f("/a%2Fb", "/a%2fb", true)
	f("/a%5cb%2F/*", "/a%5Cb%2f/x", true)
	f("/a%2Fb", "/a/b", false)
	f("/a%2Fb", "/A%2fb", false)
	g := func(pattern string, want error) {
		t.Helper()
		if _, err := Compile([]Match{{Path: pattern}}); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%q: %v", pattern, err)
		}
	}
	g("/a/%2e%2E/b", errDots)
	g("/%2e", errDots)
	g("/a/..;x", nil)
	g("/a%zz", nil)
	g("/a%00", nil)
	g("/"+strings.Repeat("a", 255)+"%2F", errLong)
}

func TestNormal(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		if got, err := Normal(path); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q %v", path, got, err)
		}
	}
	f("/%61/é/%c3%a9/", "/a/%C3%A9/%C3%A9/")
	f("/a%2fb", "/a%2Fb")
	f("/", "/")
	f("/a/../b", "")
	f("/a/%2e", "")
	f("/%zz", "")
}

func TestPreflights(t *testing.T) {
	table := MustCompile(t,
		Match{Path: "/v1/*", Methods: []string{"GET", "POST"}, Headers: []HeaderMatch{{"X-Version", "1"}}, Preflights: true},
		Match{Path: "/v1/*", Methods: []string{"PUT"}},
		Match{Path: "/v2/*", Methods: []string{"GET"}, Headers: []HeaderMatch{{"Accept", "text/html"}}, Preflights: true},
		Match{Path: "/v1/options", Methods: []string{"OPTIONS"}},
	)
	f := func(want int, path string, fields ...string) {
		t.Helper()
		if got := table.Find(request("OPTIONS", "h", path, fields...), nil); got != want {
			t.Errorf("%s %q: %d, want %d", path, fields, got, want)
		}
	}
	const origin, get = "Origin: https://a.example", "Access-Control-Request-Method: GET"
	f(0, "/v1/a", origin, get, "Access-Control-Request-Headers: authorization, X-VERSION")
	f(0, "/v1/a", origin, "Access-Control-Request-Method: POST", "X-Version: 1")
	f(-1, "/v1/a", origin, get)
	f(-1, "/v1/a", origin, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-version")
	f(-1, "/v1/a", get, "Access-Control-Request-Headers: x-version")
	f(-1, "/v1/a", origin, "Access-Control-Request-Headers: x-version")
	f(3, "/v1/options")
	f(0, "/v1/options", origin, get, "Access-Control-Request-Headers: x-version")
	f(2, "/v2/a", origin, get)
}

func TestAppendMethods(t *testing.T) {
	table := MustCompile(t,
		Match{Path: "/a/*", Methods: []string{"GET"}},
		Match{Path: "/a/b", Methods: []string{"PUT", "GET", "HEAD"}},
		Match{Hosts: []string{"x.example"}, Path: "/a/b", Methods: []string{"DELETE"}},
		Match{Path: "/c", Methods: []string{"GET"}, Headers: []HeaderMatch{{"x-a", "1"}}},
		Match{Path: "/d", Headers: []HeaderMatch{{"x-a", "1"}}},
	)
	f := func(want, host, path string, fields ...string) {
		t.Helper()
		if got := string(table.AppendMethods([]byte("+"), request("POST", host, path, fields...))); got != "+"+want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	f("GET, HEAD", "h", "/a")
	f("GET, HEAD, PUT", "h", "/a/b")
	f("DELETE, GET, HEAD, PUT", "x.example", "/a/b")
	f("", "h", "/c")
	f("GET, HEAD", "h", "/c", "x-a: 1")
	f("", "h", "/d")
	f("", "h", "/nothing")
}

func TestLax(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		got, ok := AppendLax([]byte("+"), []byte(path))
		if !ok {
			got = []byte("+refused")
		}
		if string(got) != "+"+want {
			t.Errorf("%q: %q, want %q", path, got[1:], want)
		}
		if Plain([]byte(path)) && path != want {
			t.Errorf("%q is not plain: some make %q of it", path, want)
		}
	}
	f("/", "/")
	f("/a/b", "/a/b")
	f("/a.b/c", "/a.b/c")
	f("/a%2Fb%5cc", "/a/b/c")
	f("//a///b//", "/a/b")
	f("/a;x=1/b;y", "/a/b")
	f("/;x/a", "/a")
	f("/a./b%20/%20c", "/a/b/c")
	f("/a%3Fb", "/a")
	f("/a%23b/c", "/a")
	f("/a%c0%80b", "/a")
	f("/%C1%A1%e0%81%a2%F0%80%81%A3", "/abc")
	f("/a%c0%afb", "/a/b")
	f("/%EF%BD%81%EF%BC%A2%ef%bd%9e", "/aB~")
	f("/a%EF%BC%8Fb%EF%BC%BCc", "/a/b/c")
	f("/caf%C3%A9", "/caf\xc3\xa9")
	f("/%252e", "/%2e")
	f("/%e0%a0%80", "/\xe0\xa0\x80")
	f("/a/%c0%ae%c0%ae/b", "refused")
	f("/a/..%20/b", "refused")
	f("/a%2F..%2Fb", "refused")
	f("/a/.;x/b", "refused")
	f("/%EF%BC%8E", "refused")
	f("/a/%20.%20./b", "refused")
	f("/...", "/")
	f("/a/.../b", "/a/b")
	f("/a/... ./b", "refused")
}
