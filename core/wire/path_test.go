package wire_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/route"
	"github.com/weirproxy/weir/core/wire"
)

// guarded are routes as one has them before a catch-all that lets everybody in.
var guarded = []string{"/admin", "/admin/*", "/api/v1/keys", "/a/b", "/*"}

func table(t testing.TB) *route.Table {
	var matches []route.Match
	for _, p := range guarded {
		matches = append(matches, route.Match{Path: p})
	}
	all, err := route.Compile(matches)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// reading is what some upstream makes of a path before it looks for what lies there.
type reading struct {
	name string
	read func(path string) string
}

var (
	// standard decodes once, all but what would be a separator, and removes dots (RFC 3986 §6.2.2).
	standard = reading{"decodes once", func(p string) string { return undot(unescape(p, "/\\")) }}
	// eager are upstreams that take encoded, doubled and backward slashes for slashes.
	eager = []reading{
		{"decodes slashes, too", func(p string) string { return undot(unescape(p, "")) }},
		{"decodes and merges slashes", func(p string) string { return undot(merge(unescape(p, ""))) }},
		{"takes backslashes for slashes", func(p string) string { return undot(strings.ReplaceAll(unescape(p, ""), `\`, "/")) }},
	}
)

// TestDisguisedPaths spells a guarded path in hundreds of ways. Whatever is not refused is routed as the upstream will read
// it: by default as a standard one does, with the stricter options as an eager one does, too.
func TestDisguisedPaths(t *testing.T) {
	all := disguises()
	if len(all) < 300 {
		t.Fatalf("%d spellings", len(all))
	}
	strict := wire.Defaults
	strict.RefuseSlashes, strict.MergeSlashes = true, true
	tab := table(t)
	caught := 0
	for _, target := range all {
		if r, path, ok := routed(t, tab, &wire.Defaults, target); ok {
			caught += agree(t, tab, target, path, r, standard)
		}
		if r, path, ok := routed(t, tab, &strict, target); ok {
			for _, as := range append(eager, standard) {
				caught += agree(t, tab, target, path, r, as)
			}
		}
	}
	if caught < 500 { // most spellings must reach the guarded route, or nothing has been tested
		t.Errorf("%d spellings were routed as the path that they are", caught)
	}
}

// disguises spells /admin, /admin/x and /api/v1/keys.
func disguises() (all []string) {
	for _, p := range []string{"/admin", "/admin/x", "/api/v1/keys"} {
		for i := 1; i < len(p); i++ { // one character, in each spelling
			for _, f := range []string{"%%%02x", "%%%02X", "%%25%02x", "%%%%%02x", "%%u00%02x", "%%c0%%%02x"} {
				all = append(all, p[:i]+fmt.Sprintf(f, p[i])+p[i+1:])
			}
		}
		whole := ""
		for _, c := range []byte(p[1:]) {
			whole += fmt.Sprintf("%%%02x", c)
		}
		all = append(all, "/"+whole, "/"+strings.ReplaceAll(whole, "%2f", "/"), "/"+strings.ToUpper(whole))
		for _, in := range []string{".", "x/..", "%2e", "x/%2e%2e", "x/.%2e", "x/%2E.", "%252e", "x/%252e%252e", "x/..;", "..;", ".;", "..%2f", "x/..%2f", "x%2f..", "", "/", "%2f", "%5c", "..%5c", "x/..%5c", ";", ";a=b", "%3b",
			"..%00", "%00", "%0a", "%20", "..%20", "%09", "...", "....", "%2e%2e%2f", "x/%2e%2e%2f", `\`, `..\`, `x/..\`, "..%c0%af", "%c0%ae%c0%ae", "x/%c0%ae%c0%ae"} {
			all = append(all, "/"+in+p, p+"/"+in, strings.Replace(p, "/", "/"+in+"/", 2), p+in)
		}
	}
	return all
}

// routed gives the route that target finds under lim, and the path that goes to the upstream.
func routed(t *testing.T, tab *route.Table, lim *wire.Limits, target string) (r int, path string, ok bool) {
	x := exchange.Acquire()
	defer exchange.Release(x)
	head := "GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n"
	if _, err := wire.ParseRequest([]byte(head), false, lim, &x.Request); err != nil {
		return 0, "", false
	}
	r = tab.Find(&x.Request, &x.Params)
	if r < 0 {
		t.Fatalf("%q: no route", target)
	}
	if string(x.Request.Target) != string(x.Request.Path) {
		t.Fatalf("%q: target %q, path %q", target, x.Request.Target, x.Request.Path)
	}
	return r, string(x.Request.Path), true
}

// agree counts a guarded path that was found, and fails t if the upstream's reading of the path belongs to an earlier route.
func agree(t testing.TB, tab *route.Table, target, path string, r int, as reading) int {
	read := as.read(path)
	x := exchange.Acquire()
	defer exchange.Release(x)
	x.Request.Method, x.Request.Path = []byte("GET"), []byte(read)
	if there := tab.Find(&x.Request, &x.Params); there != r {
		t.Errorf("%q goes as %q by route %s; an upstream that %s reads %q, which belongs to %s", target, path, guarded[r], as.name, read, guarded[there])
	}
	if r < len(guarded)-1 {
		return 1
	}
	return 0
}

// FuzzRoute: no path is routed in one way and read by the upstream in another, after one more decoding.
func FuzzRoute(f *testing.F) {
	for _, d := range disguises() {
		f.Add(d)
	}
	tab := table(f)
	strict := wire.Defaults
	strict.RefuseSlashes, strict.MergeSlashes = true, true
	f.Fuzz(func(t *testing.T, target string) {
		if strings.ContainsAny(target, "?#\r\n ") || !strings.HasPrefix(target, "/") {
			return
		}
		if r, path, ok := routed(t, tab, &wire.Defaults, target); ok {
			agree(t, tab, target, path, r, standard)
		}
		if r, path, ok := routed(t, tab, &strict, target); ok {
			for _, as := range append(eager, standard) {
				agree(t, tab, target, path, r, as)
			}
		}
	})
}

// unescape decodes once, but for what decodes to one of keep.
func unescape(s, keep string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		var c byte
		if s[i] == '%' && i+2 < len(s) {
			if n, err := fmt.Sscanf(s[i+1:i+3], "%02x", &c); n == 1 && err == nil && strings.IndexByte(keep, c) < 0 {
				b.WriteByte(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func merge(s string) string {
	for strings.Contains(s, "//") {
		s = strings.ReplaceAll(s, "//", "/")
	}
	return s
}

// undot removes dot segments (RFC 3986 §5.2.4).
func undot(s string) string {
	var out []string
	segments := strings.Split(s, "/")[1:]
	for i, seg := range segments {
		last := i == len(segments)-1
		switch {
		case seg == "." && !last:
		case seg == ".":
			out = append(out, "")
		case seg == "..":
			out = out[:max(len(out)-1, 0)]
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, seg)
		}
	}
	return "/" + strings.Join(out, "/")
}
