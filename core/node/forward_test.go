package node_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

// mirror gives the request back that arrived: its head as the answer's body.
func mirror(u *coretest.Client) {
	for {
		head := u.Head()
		if head == "" {
			return
		}
		u.Send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " + strconv.Itoa(len(head)) + "\r\n\r\n" + head)
	}
}

// field gives the values of a field, joined by |.
func field(head, name string) string {
	var all []string
	for line := range strings.SplitSeq(head, "\r\n") {
		if n, v, ok := strings.Cut(line, ": "); ok && strings.EqualFold(n, name) {
			all = append(all, v)
		}
	}
	return strings.Join(all, "|")
}

func TestForwarding(t *testing.T) {
	// [0] trusts nobody, [1] loopback and 10/8.
	var rigs [2]*coretest.Rig
	for i, trusted := range []string{"[]", `["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"]`} {
		rigs[i] = through(t, strings.Replace(logged, "listeners:", "trusted_proxies: "+trusted+"\nlisteners:", 1), mirror)
	}
	// What the client sends as fields; the X-Forwarded-For and X-Real-IP that the upstream gets, without and with trust.
	const me = "127.0.0.1"
	many := strings.TrimSuffix(strings.Repeat("10.0.0.1, ", 21), ", ")
	twenty := strings.TrimSuffix(strings.Repeat("10.0.0.1, ", 20), ", ")
	for _, c := range []struct{ sent, chain, real string }{
		{"", me, me},
		{"X-Forwarded-For: 203.0.113.7", "203.0.113.7, " + me, "203.0.113.7"},
		{"x-FORWARDED-for: 203.0.113.7", "203.0.113.7, " + me, "203.0.113.7"},
		{"X-Forwarded-For:   203.0.113.7  ", "203.0.113.7, " + me, "203.0.113.7"},
		{"X-Forwarded-For: 198.51.100.1, 203.0.113.7", "198.51.100.1, 203.0.113.7, " + me, "203.0.113.7"},
		{"X-Forwarded-For: 198.51.100.1,203.0.113.7,10.0.0.9", "198.51.100.1,203.0.113.7,10.0.0.9, " + me, "203.0.113.7"},
		{"X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.7", "198.51.100.1, 203.0.113.7, " + me, "203.0.113.7"},
		{"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 10.1.1.1", "203.0.113.7, 10.1.1.1, " + me, "203.0.113.7"},
		{"X-Forwarded-For: 10.0.0.2, 10.0.0.3", "10.0.0.2, 10.0.0.3, " + me, "10.0.0.2"},
		{"X-Forwarded-For: 203.0.113.7:4711", "203.0.113.7:4711, " + me, "203.0.113.7"},
		{"X-Forwarded-For: 2001:db8::1", "2001:db8::1, " + me, "2001:db8::1"},
		{"X-Forwarded-For: [2001:db8::1]", "[2001:db8::1], " + me, "2001:db8::1"},
		{"X-Forwarded-For: [2001:db8::1]:443", "[2001:db8::1]:443, " + me, "2001:db8::1"},
		{"X-Forwarded-For: 2001:DB8:0:0::1", "2001:DB8:0:0::1, " + me, "2001:db8::1"},
		{"X-Forwarded-For: fe80::1%eth0", "fe80::1%eth0, " + me, "fe80::1"},
		{"X-Forwarded-For: ::ffff:203.0.113.7", "::ffff:203.0.113.7, " + me, "203.0.113.7"},
		{"X-Forwarded-For: ::ffff:10.0.0.1, ::1", "::ffff:10.0.0.1, ::1, " + me, "::1"},
		{"X-Forwarded-For: garbage, 203.0.113.7", "garbage, 203.0.113.7, " + me, "203.0.113.7"}, // beyond the one that counts nothing is read
		{"X-Forwarded-For: 203.0.113.7, garbage", me, me},
		{"X-Forwarded-For: unknown", me, me},
		{"X-Forwarded-For: 203.0.113.7,", me, me},
		{"X-Forwarded-For: ,", me, me},
		{"X-Forwarded-For:", me, me},
		{"X-Forwarded-For: 203.0.113.007", me, me},
		{"X-Forwarded-For: 203.0.113", me, me},
		{"X-Forwarded-For: 1.2.3.4 5.6.7.8", me, me},
		{"X-Forwarded-For: [10.0.0.1", me, me},
		{"X-Forwarded-For: " + strings.Repeat("1", 100), me, me},
		{"X-Forwarded-For: " + twenty, twenty + ", " + me, "10.0.0.1"},
		{"X-Forwarded-For: " + many, me, me},
		{"X-Forwarded-For: 203.0.113.7, " + twenty, me, me},
		{"X-Real-IP: 203.0.113.7", me, me},
		{"Forwarded: for=203.0.113.7", me, me},
		{"X_Forwarded_For: 203.0.113.7", me, me},
	} {
		for i, r := range rigs {
			k := r.Client()
			sent := c.sent
			if sent != "" {
				sent += "\r\n"
			}
			k.Send("GET / HTTP/1.1\r\nHost: a.example:81\r\n" + sent + "Connection: close\r\n\r\n")
			answer, head := k.Answer("GET")
			if answer.StatusCode != 200 {
				t.Fatalf("%q: %d", c.sent, answer.StatusCode)
			}
			chain, real := me, me
			if i == 1 {
				chain, real = c.chain, c.real
			}
			if got := field(head, "X-Forwarded-For"); got != chain {
				t.Errorf("%q, rig %d: X-Forwarded-For %q, want %q", c.sent, i, got, chain)
			}
			if got := field(head, "X-Real-IP"); got != real {
				t.Errorf("%q, rig %d: X-Real-IP %q, want %q", c.sent, i, got, real)
			}
			if field(head, "Forwarded") != "" || strings.Contains(head, "X_F") || field(head, "X-Forwarded-Host") != "a.example:81" || field(head, "X-Forwarded-Proto") != "http" {
				t.Errorf("%q: %q", c.sent, head)
			}
		}
	}
	both := "X-Forwarded-Proto: HTTPS\r\nX-Forwarded-Host: outer.example\r\nX-Forwarded-Port: 99\r\n"
	for i, want := range []string{"http|a||", "HTTPS|outer.example||"} {
		k := rigs[i].Client()
		k.Send("GET / HTTP/1.1\r\nHost: a\r\n" + both + "\r\n")
		_, head := k.Answer("GET")
		if got := field(head, "X-Forwarded-Proto") + "|" + field(head, "X-Forwarded-Host") + "|" + field(head, "X-Forwarded-Port") + "|"; got != want {
			t.Errorf("rig %d: %s", i, got)
		}
	}
	for _, id := range []struct {
		sent string
		kept bool
	}{
		{"X-Request-Id: abc-1", true}, {"X-Request-Id: a b", false}, {"X-Request-Id: " + strings.Repeat("x", 129), false},
		{"X-Request-Id: a\r\nX-Request-Id: b", false}, {"X-Request-Id: a\"b", false}, {"X-Request-Id:", false},
	} {
		for i, r := range rigs {
			k := r.Client()
			k.Send("GET / HTTP/1.1\r\nHost: a\r\n" + id.sent + "\r\n\r\n")
			answer, head := k.Answer("GET")
			got := answer.Header.Get("X-Request-Id")
			if up := field(head, "X-Request-Id"); up != got {
				t.Errorf("%q: the upstream got %q, the client %q", id.sent, up, got)
			}
			if kept := "X-Request-Id: "+got == id.sent; kept != (id.kept && i == 1) || !kept && len(got) != 36 {
				t.Errorf("%q, rig %d: %q", id.sent, i, got)
			}
		}
	}
}

const identified = `
version: 1
guards: {underscores: %s}
listeners: [{address: "127.0.0.1:0"}]
jwt: {sso: {secret: {file: secret}, algorithms: [HS256], require: [exp]}}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {name: in, match: {path: /in/*}, auth: {jwt: sso}, upstream: api,
     headers: {request: {set: {x-user-id: "${identity.subject}", authorization: "Bearer ${identity.claim.inner}", x-plain: "v"}}}}
  - {name: open, match: {path: /*}, auth: none, upstream: api}
`

func TestIdentityFieldsAreNotTheClients(t *testing.T) {
	for _, mode := range []string{"drop", "pass"} {
		up := coretest.StartRaw(t, mirror)
		r := coretest.Start(t, strings.Replace(identified, "%s", mode, 1), nil, coretest.Options{
			Env: map[string]string{"UPSTREAM": up.Address()}, Files: map[string]string{"secret": hmacSecret},
		})
		token := mintHS256(t, map[string]any{"sub": "alice", "exp": 4e9})
		for _, name := range []string{"X-User-Id", "x-user-id", "X-USER-ID", "x_user_id", "X_User-Id", "X-uSER_iD"} {
			for _, path := range []string{"/open", "/in/a"} {
				k := r.Client()
				k.Send("GET " + path + " HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token + "\r\nX-Plain: mine\r\nX_Other: o\r\n" +
					"X_Forwarded_For: 6.6.6.6\r\nContent_Length: 7\r\n" + name + ": mallory\r\n\r\n")
				answer, head := k.Answer("GET")
				if answer.StatusCode != 200 || strings.Contains(head, "mallory") || strings.Contains(head, "6.6.6.6") || strings.Contains(head, "Content_Length") {
					t.Errorf("%s %s %s: %d %q", mode, name, path, answer.StatusCode, head)
				}
				// A field that carries the credential is read first, and never passed on where weir sets it.
				if field(head, "Authorization") != "" || field(head, "X-Plain") != "mine" {
					t.Errorf("%s %s: %q", mode, path, head)
				}
				if passed := field(head, "X_Other") == "o"; passed != (mode == "pass") {
					t.Errorf("%s: %q", mode, head)
				}
			}
		}
		if status, header, _ := r.Get("/in/a"); status != 401 || header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%d %v", status, header)
		}
		if status, header, _ := r.Get("/in/a", "Authorization", "Bearer x.y.z"); status != 401 || !strings.Contains(header.Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("%d %v", status, header)
		}
	}
}

func TestHostAndPath(t *testing.T) {
	up := coretest.StartRaw(t, mirror)
	r := coretest.Start(t, `
version: 1
listeners: [{address: "127.0.0.1:0"}]
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {name: own, match: {path: /own/*}, auth: none, upstream: api, host: upstream, strip_prefix: /own}
  - {name: named, match: {path: /named}, auth: none, upstream: api, host: inner.example, rewrite: {path: /other}}
  - {name: moved, match: {path: /moved}, auth: none, redirect: {to: "https://example.com/new", status: 301}}
  - {name: text, match: {path: /robots.txt}, auth: none, respond: {status: 203, body: "User-agent: *\n", headers: {content-type: text/plain}}}
  - {name: all, match: {path: /*}, auth: none, upstream: api}
`, nil, coretest.Options{Env: map[string]string{"UPSTREAM": up.Address()}})
	f := func(path, line, host string) {
		t.Helper()
		_, _, head := r.Get(path, "Host", "Outer.Example")
		if got, _, _ := strings.Cut(head, "\r\n"); got != "GET "+line+" HTTP/1.1" || field(head, "Host") != host {
			t.Errorf("%s: %q", path, head)
		}
	}
	f("/a/%7Eb/./c/../d?x=%41", "/a/~b/d?x=%41", "Outer.Example")
	f("/own?x", "/?x", up.Address())
	f("/own/a%2Fb?x=1", "/a%2Fb?x=1", up.Address())
	f("/named?q", "/other?q", "inner.example")
	k := r.Client()
	k.Send("GET / HTTP/1.0\r\n\r\n")
	if _, head := k.Answer("GET"); field(head, "Host") != up.Address() {
		t.Errorf("%q", head)
	}
	k = r.Client()
	k.Send("GET /moved HTTP/1.1\r\nHost: a\r\n\r\nHEAD /robots.txt HTTP/1.1\r\nHost: a\r\n\r\nGET /robots.txt HTTP/1.1\r\nHost: a\r\n\r\n")
	if answer, _ := k.Answer("GET"); answer.StatusCode != 301 || answer.Header.Get("Location") != "https://example.com/new" {
		t.Error(answer.StatusCode, answer.Header)
	}
	if answer, body := k.Answer("HEAD"); answer.StatusCode != 203 || answer.ContentLength != 14 || body != "" {
		t.Error(answer.StatusCode, answer.ContentLength, body)
	}
	if answer, body := k.Answer("GET"); answer.Header.Get("Content-Type") != "text/plain" || body != "User-agent: *\n" {
		t.Error(answer.Header, body)
	}
	// The log has what the client asked for.
	coretest.Eventually(t, "the paths as they came", func() bool {
		log := r.Access.String()
		return strings.Contains(log, `"path":"/own/a%2Fb?x=1"`) && strings.Contains(log, `"path":"/named?q"`)
	})
}

func TestListenerHealth(t *testing.T) {
	yaml := strings.Replace(plain, `"127.0.0.1:0"`, `"127.0.0.1:0", health: /health`, 1)
	r := coretest.Start(t, yaml, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("upstream"))
	}), coretest.Options{})
	f := func(method, path, want string, contentType string) {
		t.Helper()
		status, header, body := r.Do(method, path, "")
		if status != 200 || body != want || !strings.HasPrefix(header.Get("Content-Type"), contentType) || header.Get("X-Request-Id") == "" {
			t.Errorf("%s %s: %d %v %q", method, path, status, header, body)
		}
	}
	f("GET", "/health", `{"status":"healthy"}`, "application/json")
	f("GET", "/health/ready", `{"status":"ready","checks":{"listeners":{"status":"ok"},"upstreams":{"status":"ok"}}}`, "application/json")
	f("HEAD", "/health", "", "application/json")
	f("GET", "/healthy", "upstream", "text/plain")
	f("GET", "/health/other", "upstream", "text/plain")
	f("POST", "/health", "upstream", "text/plain")
}
