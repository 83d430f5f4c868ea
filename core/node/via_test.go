package node_test

import (
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/node"
)

func TestVia(t *testing.T) {
	r := through(t, strings.Replace(logged, "version: 1\n", "version: 1\nvia: weir-1\n", 1), func(c *coretest.Client) {
		for {
			head := c.Head()
			if head == "" {
				return
			}
			c.Send("HTTP/1.1 200 OK\r\nVia: 1.0 inner\r\nX-Via: " + field(head, "Via") + "\r\nContent-Length: 0\r\n\r\n")
		}
	})
	f := func(version, sent, up, down string) {
		t.Helper()
		k := r.Client()
		k.Send("GET / HTTP/" + version + "\r\nHost: a\r\n" + sent + "\r\n")
		answer, _ := k.Answer("GET")
		if got := answer.Header.Get("X-Via"); answer.StatusCode != 200 || got != up {
			t.Errorf("%q: the upstream got %q, want %q", sent, got, up)
		}
		if got := strings.Join(answer.Header.Values("Via"), "|"); got != down {
			t.Errorf("%q: the client got %q, want %q", sent, got, down)
		}
	}
	f("1.1", "", "1.1 weir-1", "1.0 inner|1.1 weir-1")
	f("1.0", "Via: 1.1 outer (one, two), 2.0 x\r\n", "1.1 outer (one, two), 2.0 x|1.0 weir-1", "1.0 inner|1.1 weir-1")
	// It may come by a few times, one weir behind the other, but not for ever.
	ten := strings.TrimSuffix(strings.Repeat("1.1 weir-1, ", 10), ", ")
	f("1.1", "Via: "+ten+"\r\n", ten+"|1.1 weir-1", "1.0 inner|1.1 weir-1")
	f("1.1", "Via: "+strings.Repeat("1.1 weir-2,", 20)+"\r\n", strings.Repeat("1.1 weir-2,", 20)+"|1.1 weir-1", "1.0 inner|1.1 weir-1")
	k := r.Client()
	k.Send("GET / HTTP/1.1\r\nHost: a\r\nVia: " + ten + "\r\nvia: 1.1 weir-1 (me)\r\n\r\n")
	answer, body := k.Answer("GET")
	wantError(t, r, answer, body, fault.Loop)
	if answer.Header.Get("Via") != "" {
		t.Error("weir has passed nothing on")
	}
}

func TestMaxForwards(t *testing.T) {
	r := through(t, strings.Replace(logged, "routes:", `routes:
  - {name: some, match: {path: /some, methods: [GET, OPTIONS]}, auth: none, upstream: api}
  - {name: fixed, match: {path: /fixed}, auth: none, respond: {status: 200, body: x}}`, 1), mirror)
	f := func(request, sent string, want string, allow string) {
		t.Helper()
		k := r.Client()
		method, _, _ := strings.Cut(request, " ")
		k.Send(request + " HTTP/1.1\r\nHost: a\r\n" + sent + "\r\n")
		answer, head := k.Answer(method)
		got := "here"
		if strings.HasPrefix(head, method) {
			got = field(head, "Max-Forwards")
		}
		if answer.StatusCode != 200 || got != want || answer.Header.Get("Allow") != allow {
			t.Errorf("%s %q: %d %q, Allow %q", request, sent, answer.StatusCode, got, answer.Header.Get("Allow"))
		}
	}
	const all = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
	f("OPTIONS /a", "", "", "")
	f("OPTIONS /a", "Max-Forwards: 7\r\n", "6", "")
	f("OPTIONS /a", "max-forwards: 1\r\n", "0", "")
	f("OPTIONS /a", "Max-Forwards: 0\r\n", "here", all)
	f("OPTIONS *", "Max-Forwards: 0\r\n", "here", all)
	f("OPTIONS *", "", "", "")
	f("OPTIONS /some", "Max-Forwards: 0\r\n", "here", "GET, OPTIONS, HEAD")
	f("OPTIONS /fixed", "Max-Forwards: 0\r\n", "here", "")
	f("OPTIONS /a", "Max-Forwards: -1\r\n", "-1", "") // says nothing
	f("OPTIONS /a", "Max-Forwards: 99999999999999999999\r\n", "99999999999999999999", "")
	f("GET /a", "Max-Forwards: 0\r\n", "0", "") // of TRACE and OPTIONS only
}

func TestForwardedPort(t *testing.T) {
	for i, trusted := range []string{"[]", `["127.0.0.0/8"]`} {
		r := through(t, strings.Replace(logged, "listeners:", "trusted_proxies: "+trusted+"\nlisteners:", 1), mirror)
		f := func(host, sent string, want ...string) {
			t.Helper()
			k := r.Client()
			k.Send("GET / HTTP/1.1\r\nHost: " + host + "\r\n" + sent + "\r\n")
			if _, head := k.Answer("GET"); field(head, "X-Forwarded-Port") != want[i] {
				t.Errorf("%s %q: %q, want %q", host, sent, field(head, "X-Forwarded-Port"), want[i])
			}
		}
		f("a", "", "80", "80")
		f("a:81", "", "81", "81")
		f("[::1]", "", "80", "80")
		f("[::1]:8443", "", "8443", "8443")
		f("a", "X-Forwarded-Proto: https\r\n", "80", "443")
		f("a:81", "X-Forwarded-Port: 9\r\nX_Forwarded_Port: 8\r\n", "81", "9")
		f("a", "X-Forwarded-Port: x\r\n", "80", "80")
		f("a", "X-Forwarded-Port: 70000\r\n", "80", "80")
		f("a", "X-Forwarded-Host: b:99\r\n", "80", "99")
	}
}

// TestMethodsThatAPathLacks: 405 says what there is (RFC 9110 §15.5.6), and only where it is the method that is wrong.
func TestMethodsThatAPathLacks(t *testing.T) {
	r := through(t, strings.Replace(logged, "  - {name: all, match: {path: /*}", `  - {name: a, match: {path: "/a/{id}", methods: [GET, PUT]}, auth: none, upstream: api}
  - {name: b, match: {path: /a/b, methods: [DELETE], headers: {x-b: "1"}}, auth: none, upstream: api}
  - {name: h, match: {host: h.example, path: /a/*, methods: [POST]}, auth: none, upstream: api}
  - {name: all, match: {path: /all/*}`, 1), mirror)
	f := func(method, path string, status int, allow string, fields ...string) {
		t.Helper()
		got, h, _ := r.Do(method, path, "", fields...)
		if got != status || h.Get("Allow") != allow {
			t.Errorf("%s %s: %d %q, want %d %q", method, path, got, h.Get("Allow"), status, allow)
		}
	}
	f("PATCH", "/a/1", 405, "GET, HEAD, PUT")
	f("PATCH", "/a/1", 405, "POST, GET, HEAD, PUT", "Host", "h.example")
	f("PATCH", "/a/b", 405, "DELETE, GET, HEAD, PUT", "X-B", "1")
	f("HEAD", "/a/1", 200, "")
	f("DELETE", "/a/b", 405, "GET, HEAD, PUT")
	f("DELETE", "/nothing", 404, "")
	f("TRACE", "/all/1", 405, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	wantRecord(t, r, fault.MethodRefused, `"method":"PATCH"`)
}

// TestPathsOfTheConfiguration: what is written in another form than requests have means the same, and what no request could
// have is told.
func TestPathsOfTheConfiguration(t *testing.T) {
	r := through(t, strings.Replace(logged, "routes:", `routes:
  - {name: strip, match: {path: "/caf%c3%a9/*"}, auth: none, strip_prefix: "/%63afé", upstream: api}
  - {name: put, match: {path: /put}, auth: none, rewrite: {path: "/ü/%41"}, upstream: api}`, 1), mirror)
	for path, want := range map[string]string{"/caf%C3%A9/x?y": "/x?y", "/put?z": "/%C3%BC/A?z"} {
		if _, _, head := r.Get(path); !strings.HasPrefix(head, "GET "+want+" ") {
			t.Errorf("%s: %q", path, head)
		}
	}
	s, err := config.Parse("weir.yaml", []byte(strings.Replace(strings.Replace(logged, "${UPSTREAM}", "127.0.0.1:1", 1), "routes:", `routes:
  - {name: strip, match: {path: "/a/%2e%2E/*"}, auth: none, strip_prefix: "/a/%2e%2E", upstream: api}
  - {name: put, match: {path: /put}, auth: none, rewrite: {path: "/%zz"}, upstream: api}`, 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	err = node.Check(s, nil)
	for _, want := range []string{"strip_prefix: never matches", "rewrite.path: never matches", "path \"/a/%2e%2E/*\": never matches"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("not told: %s\n%v", want, err)
		}
	}
}
