package node_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

// A kept connection that turns out dead costs a GET a second try, and only one that can be sent as it was.
func TestSecondTry(t *testing.T) {
	f := func(request string, want int, tries int64) {
		t.Helper()
		var heads atomic.Int64
		r := through(t, plain, func(u *coretest.Client) {
			for n := 0; u.Head() != ""; n++ {
				if heads.Add(1); n == 1 {
					return // the second request on a connection is taken and not answered
				}
				u.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		})
		c := r.Client()
		c.Send(get) // leaves a kept connection
		c.Answer("GET")
		c.Send(request)
		if answer, _ := c.Answer("GET"); answer.StatusCode != want || heads.Load() != 1+tries {
			t.Errorf("%.20q: %d after %d tries", request, answer.StatusCode, heads.Load()-1)
		}
	}
	f(get, 200, 2)
	f("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 502, 1)
	f("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 502, 1)
	f("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n\r\n", 502, 1)
}

// Heads beyond the largest pooled buffer are sent as any other, with and without a body.
func TestLargeHeads(t *testing.T) {
	yaml := strings.Replace(plain, "routes:", "guards: {header_bytes: 256KiB}\nroutes:", 1)
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d %s", len(r.Header.Get("X-Large")), b)
	}))
	up.Config.MaxHeaderBytes = 1 << 20
	up.Start()
	defer up.Close()
	r := coretest.Start(t, yaml, nil, coretest.Options{Env: map[string]string{"UPSTREAM": up.Listener.Addr().String()}})
	c := r.Client()
	for _, size := range []int{4 << 10, 9 << 10, 17 << 10, 63 << 10, 65 << 10, 200 << 10} {
		large := "X-Large: " + strings.Repeat("x", size) + "\r\n"
		for _, body := range []string{"", "hello", strings.Repeat("y", 100<<10)} {
			c.Send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s", large, len(body), body))
			if answer, got := c.Answer("POST"); answer.StatusCode != 200 || got != fmt.Sprintf("%d %s", size, body) {
				t.Errorf("%d, %d: %d %.40q", size, len(body), answer.StatusCode, got)
			}
		}
	}
}

// 0 is none wherever the configuration says so, and not the engine's default.
func TestNothingKept(t *testing.T) {
	const zero = `timeouts: {connect: 0, response_header: 0, idle: 0}, keepalive: {max_idle: %s, idle_timeout: 0, max_requests: %s}`
	f := func(idle, most string, requests int, want int64) {
		t.Helper()
		yaml := strings.Replace(plain, `["http://${UPSTREAM}"]`, `["http://${UPSTREAM}"], `+fmt.Sprintf(zero, idle, most), 1)
		r := coretest.Start(t, yaml, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{})
		for range requests {
			r.Get("/")
		}
		if _, _, opened := r.Node.Plan().Upstreams[0].Endpoints()[0].Stats(); opened != want {
			t.Errorf("max_idle %s, max_requests %s: %d connections for %d requests", idle, most, opened, requests)
		}
	}
	f("0", "0", 5, 5)
	f("1", "0", 5, 1)
	f("1", "2", 6, 3)
	f("1", "1", 4, 4)
}

func TestEndpointsTakeTurns(t *testing.T) {
	var hits [3]atomic.Int64
	env := map[string]string{}
	var failing atomic.Bool
	for i := range hits {
		up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hits[i].Add(1)
			if i == 2 && failing.Load() {
				w.WriteHeader(500)
			}
		}))
		defer up.Close()
		env[string(rune('A'+i))] = up.Listener.Addr().String()
	}
	yaml := strings.Replace(plain, `["http://${UPSTREAM}"]`,
		`["http://${A}", "http://${B}", {url: "http://${C}", weight: 2}], breaker: {consecutive_failures: 1, open_for: 1h}`, 1)
	r := coretest.Start(t, yaml, nil, coretest.Options{Env: env})
	for range 40 {
		r.Get("/")
	}
	if a, b, c := hits[0].Load(), hits[1].Load(), hits[2].Load(); a != 10 || b != 10 || c != 20 {
		t.Error(a, b, c)
	}
	// An endpoint whose breaker is open is passed over.
	failing.Store(true)
	bad := 0
	for range 40 {
		if status, _, _ := r.Get("/"); status != 200 {
			bad++
		}
	}
	if bad != 1 || hits[2].Load() != 21 {
		t.Errorf("%d failed, %d hits", bad, hits[2].Load())
	}
}
