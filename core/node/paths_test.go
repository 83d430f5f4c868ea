package node_test

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

// lenient are servers as they are: each reads the path that it is sent in its own way, and says which it serves.
var lenient = map[string]func(p string) string{
	// Decodes once, makes several slashes one, resolves dots.
	"nginx": func(p string) string { return path.Clean("/" + decoded(p)) },
	// Cuts parameters off before it decodes.
	"servlet": func(p string) string { return path.Clean("/" + decoded(cutParameters(p))) },
	// Decodes, then cuts parameters off.
	"late parameters": func(p string) string { return path.Clean("/" + cutParameters(decoded(p))) },
	// Takes a backslash for a slash, drops dots and spaces at the ends of names.
	"windows": func(p string) string {
		var all []string
		for _, s := range strings.Split(strings.ReplaceAll(decoded(p), `\`, "/"), "/") {
			if t := strings.TrimRight(s, ". "); t != "" || s != "." && s != ".." {
				s = t
			}
			all = append(all, s)
		}
		return path.Clean("/" + strings.Join(all, "/"))
	},
	// Ends the path where a C string or a URL does.
	"strings": func(p string) string {
		p = decoded(p)
		if i := strings.IndexAny(p, "\x00?#"); i >= 0 {
			p = p[:i]
		}
		return path.Clean("/" + strings.TrimSpace(p))
	},
	// Takes overlong and full-width characters for the plain ones.
	"unicode": func(p string) string { return path.Clean("/" + narrow(shortened(decoded(p)))) },
	// Trims names, as path matchers of some frameworks do.
	"trimming": func(p string) string {
		all := strings.Split(decoded(p), "/")
		for i := range all {
			all[i] = strings.TrimSpace(all[i])
		}
		return path.Clean("/" + strings.Join(all, "/"))
	},
	"all at once": func(p string) string {
		p = narrow(shortened(decoded(p)))
		if i := strings.IndexAny(p, "\x00?#"); i >= 0 {
			p = p[:i]
		}
		var all []string
		for _, s := range strings.Split(cutParameters(strings.ReplaceAll(p, `\`, "/")), "/") {
			if t := strings.TrimRight(strings.TrimSpace(s), ". "); s != "." && s != ".." {
				s = t
			}
			all = append(all, s)
		}
		return path.Clean("/" + strings.Join(all, "/"))
	},
	// One such server behind another.
	"twice": func(p string) string { return path.Clean("/" + decoded(path.Clean("/"+decoded(cutParameters(p))))) },
}

func decoded(p string) string {
	if d, err := url.PathUnescape(p); err == nil {
		return d
	}
	return p
}

// narrow makes full-width characters the plain ones, as NFKC does.
func narrow(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 0xff01 && r <= 0xff5e {
			r -= 0xfee0
		}
		b.WriteRune(r)
	}
	return b.String()
}

func cutParameters(p string) string {
	all := strings.Split(p, "/")
	for i := range all {
		all[i], _, _ = strings.Cut(all[i], ";")
	}
	return strings.Join(all, "/")
}

// shortened decodes overlong UTF-8 of two and three bytes.
func shortened(s string) string {
	var out []byte
	for i := 0; i < len(s); i++ {
		switch {
		case (s[i] == 0xc0 || s[i] == 0xc1) && i+1 < len(s):
			out = append(out, s[i]<<6|s[i+1]&0x3f)
			i++
		case s[i] == 0xe0 && i+2 < len(s) && s[i+1] < 0xa0:
			out = append(out, s[i+1]<<6|s[i+2]&0x3f)
			i += 2
		default:
			out = append(out, s[i])
		}
	}
	return string(out)
}

// spellings are paths that somebody may read as base + "/admin" or as something below it.
func spellings(base string) []string {
	encode := func(format string, s string, which func(i int) bool) string {
		var b strings.Builder
		for i := range len(s) {
			if which(i) {
				fmt.Fprintf(&b, format, s[i])
			} else {
				b.WriteByte(s[i])
			}
		}
		return b.String()
	}
	words := []string{"admin"}
	for i := range 5 {
		one := func(j int) bool { return i == j }
		but := func(j int) bool { return i != j }
		for _, format := range []string{"%%%02x", "%%%02X", "%%25%02x", "%%2525%02x"} {
			words = append(words, encode(format, "admin", one), encode(format, "admin", but))
		}
		wide := []rune("admin")
		wide[i] += 0xfee0
		words = append(words, url.PathEscape(string(wide)))
		words = append(words, "admin"[:i]+fmt.Sprintf("%%%02x%%%02X", 0xc0|"admin"[i]>>6, 0x80|"admin"[i]&0x3f)+"admin"[i+1:])
		words = append(words, "admin"[:i]+fmt.Sprintf("%%e0%%%02X%%%02x", 0x80|"admin"[i]>>6, 0x80|"admin"[i]&0x3f)+"admin"[i+1:])
	}
	before := []string{
		"/", "//", "///", "/./", "/x/../", "/%2e/", "/x/%2e%2e/", "/x/.%2E/", "/.%2f", "/;/", "/;x/", "/;x=1;y/", "/.;/", "/x/..;/", "/x/..;y/",
		"/x;y/../", "/%20/", "/%20", "/%2f", "/%2F/", "/%5c", "/%5C", "/x%2f..%2f", "/x%5c..%5c", "/..%2f", "/%2e%2e%2f", "/%252f", "/%252e%252e/",
		"/x/%252e%252e/", "/%c0%af", "/x/%c0%ae%c0%ae/", "/%e0%80%af", "/%ef%bc%8f", "/%EF%BC%8E/", "/x/..%20/", "/x/..%2520/", "/x/%20../", "/x/%2e%2e%3b/",
		"/x/..%00/", "/x/..%c0%80/", "/%00/", "/%3b/", "/%3bx/", "/x/..%3f/", `/\`, `/x\..\`, "/%u002f", "/x//../", "/x/.../../", "/..;/", "/x%2f%2e%2e%2f",
	}
	after := []string{
		"", "/", "/users", ";", ";x", ";x=1/users", "/;x/users", "%3b", "%3Bx", ".", "..", "...", "%2e", "%2E%20", "%20", "%20/users", "%00", "%00.html", "%0a",
		"%0d%0a", "%09", "%23", "%23x/users", "%3f", "%3Fx", "/..;/admin", "/.", "/./users", "//", "//users", "%2f", "%2Fusers", "%5c", "%5Cusers", "%255cusers",
		"%252f", "%252Fusers", "%c0%af", "%c0%afusers", "%c0%80", "%e0%80%af", "%ef%bc%8fusers", "%EF%BC%BCusers", "%u002f", "?x", "#x", "/%2e%2e/admin",
		"/..%20/admin", "/x/../users", `\`, `\users`, "/..;x/admin/users", "%25", "%", "%2", "%zz", ".%2f", ";.css", "%3b.css", "%20%20", ".;x",
	}
	var all []string
	for _, b := range before {
		for _, a := range after {
			all = append(all, base+b+"admin"+a)
		}
	}
	for _, w := range words {
		for _, b := range []string{"/", "//", "/;/", "/x%2f../"} {
			for _, a := range []string{"", "/users", "%2fusers", ";x", "%20", "."} {
				all = append(all, base+b+w+a)
			}
		}
	}
	for _, p := range slices.Clone(all[:60]) {
		all = append(all, "http://a"+p, "HTTP://A"+p)
	}
	return all
}

// TestNoSpellingIsAWayAround: whatever form a path comes in, no upstream is made to serve what a route guards to somebody
// whom the route would not have let in.
func TestNoSpellingIsAWayAround(t *testing.T) {
	const head = `
version: 1
access_log: {output: "off"}
GUARDS
listeners: [{address: "127.0.0.1:0"}]
jwt: {sso: {secret: {file: secret}, algorithms: [HS256]}}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
`
	admin := func(p string) bool { return p == "/admin" || strings.HasPrefix(p, "/admin/") }
	bypasses := 0
	defer func() { coretest.Score(t, "A12", "bypasses", float64(bypasses)) }()
	for _, c := range []struct {
		name, guards, routes, base string
		guarded                    func(p string) bool
	}{
		{"auth", "", `
  - {match: {path: /admin/*}, auth: {jwt: sso}, upstream: api}
  - {match: {path: /*}, auth: none, upstream: api}`, "", admin},
		{"address", "", `
  - {match: {path: /admin/*}, auth: none, ip: {allow: [10.0.0.0/8]}, upstream: api}
  - {match: {path: "/{a}"}, auth: none, upstream: api}
  - {match: {path: "/{a}/{b}"}, auth: none, upstream: api}
  - {match: {path: /*}, auth: none, upstream: api}`, "", admin},
		{"pattern in another form", "", `
  - {match: {path: "/%61dm%49n/*"}, auth: none, respond: {status: 200}}
  - {match: {path: "/%61dm%69n/*"}, auth: {jwt: sso}, upstream: api}
  - {match: {path: /*}, auth: none, upstream: api}`, "", admin},
		{"prefix", "", `
  - {match: {path: /app/admin/*}, auth: {jwt: sso}, strip_prefix: /app, upstream: api}
  - {match: {path: /app/*}, auth: none, strip_prefix: /app, upstream: api}`, "/app", admin},
		{"host", "", `
  - {match: {host: a, path: /admin/*}, auth: {jwt: sso}, upstream: api}
  - {match: {path: /*}, auth: none, upstream: api}`, "", admin},
		{"island", "", `
  - {match: {path: /public/*}, auth: none, upstream: api}
  - {match: {path: /*}, auth: {jwt: sso}, upstream: api}`, "/public", func(p string) bool { return p != "/public" && !strings.HasPrefix(p, "/public/") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := coretest.StartRaw(t, mirror)
			r := coretest.Start(t, strings.Replace(head, "GUARDS\n", c.guards, 1)+strings.TrimPrefix(c.routes, "\n"), nil, coretest.Options{
				Env: map[string]string{"UPSTREAM": up.Address()}, Files: map[string]string{"secret": hmacSecret},
			})
			ask := func(target string) (status int, sent string) {
				k := r.Client()
				defer k.Close()
				k.Send("GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n")
				answer, body := k.Answer("GET")
				if rest, ok := strings.CutPrefix(body, "GET "); ok && answer.StatusCode == 200 {
					sent, _, _ = strings.Cut(rest, " HTTP/1.1\r\n")
				}
				return answer.StatusCode, sent
			}
			all := spellings(c.base)
			if len(all) < 300 {
				t.Fatalf("%d spellings", len(all))
			}
			passed := 0
			for _, target := range all {
				_, sent := ask(target)
				if sent == "" {
					continue
				}
				passed++
				asked, _, _ := strings.Cut(sent, "?")
				for name, read := range lenient {
					if p := read(asked); c.guarded(p) {
						bypasses++
						t.Errorf("%s goes on as %s, and %s serves %s", target, sent, name, p)
					}
				}
			}
			t.Logf("%d of %d spellings went on to the upstream", passed, len(all))
			// The guarded ones are guarded, and what only looks odd passes as it is.
			guarded := c.base + "/admin/users"
			if c.name == "island" {
				guarded = "/admin/users"
			}
			if status, _ := ask(guarded); status != 401 && status != 403 {
				t.Error(status)
			}
			for _, target := range []string{
				"/open/x", "/files/a%2Fb", "/files/a%2fb", "/files//b", "/v;x=1/a", "/caf%C3%A9", "/a.b/c..d", "/x/%25", "/administrator", "/x/admin", "/a%20b", "/x?to=/admin/..;/",
			} {
				if status, sent := ask(c.base + target); status != 200 || strings.TrimPrefix(sent, "/public") != target {
					t.Errorf("%s: %d %q", target, status, sent)
				}
			}
		})
	}
}
