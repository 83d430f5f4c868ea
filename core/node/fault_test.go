package node_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/fault"
)

// logged is plain with an access log.
var logged = strings.Replace(plain, `access_log: {output: "off"}`, "log: {level: debug}", 1)

// wantError checks that an answer is weir's own to a fault, and that the fault was recorded.
func wantError(t *testing.T, r *coretest.Rig, answer *http.Response, body string, kind fault.Kind) {
	t.Helper()
	var got struct{ Error, Message string }
	if err := json.Unmarshal([]byte(body), &got); err != nil || got.Error == "" || got.Message == "" {
		t.Errorf("%s: body %q: %v", kind, body, err)
	}
	if answer.StatusCode != kind.Status() || answer.Header.Get("X-Request-Id") == "" || answer.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s: %d %v", kind, answer.StatusCode, answer.Header)
	}
	wantRecord(t, r, kind, `"request_id":"`+answer.Header.Get("X-Request-Id")+`"`)
}

// wantRecord waits for the access log's line about a fault.
func wantRecord(t *testing.T, r *coretest.Rig, kind fault.Kind, also string) {
	t.Helper()
	coretest.Eventually(t, "a line with "+kind.String()+" and "+also, func() bool {
		for line := range strings.Lines(r.Access.String()) {
			if strings.Contains(line, `"fault":"`+kind.String()+`"`) && strings.Contains(line, also) {
				return true
			}
		}
		return false
	})
}

func TestFaultsOfClients(t *testing.T) {
	yaml := strings.Replace(logged, "routes:", `timeouts: {header: 100ms, body_idle: 100ms}
guards: {header_bytes: 1KiB, header_fields: 10, underscores: refuse}
routes:
  - {name: small, match: {path: /small}, auth: none, upstream: api, body_bytes: 4B}
  - {name: inside, match: {path: /inside}, auth: none, upstream: api, ip: {allow: [10.0.0.0/8]}}
  - {name: outside, match: {path: /outside}, auth: none, upstream: api, ip: {deny: [127.0.0.0/8]}}
  - {name: posts, match: {path: /posts, methods: [POST]}, auth: none, upstream: api}
  - {name: limited, match: {path: /limited}, auth: none, upstream: api, limits: [{name: one, key: route, rate: 1/d}]}`, 1)
	yaml = strings.Replace(yaml, "path: /*", "path: /any/*", 1)
	r := coretest.Start(t, yaml, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}), coretest.Options{})
	r.Get("/limited")
	f := func(request string, kind fault.Kind) {
		t.Helper()
		c := r.Client()
		c.Send(request)
		answer, body := c.Answer("GET")
		wantError(t, r, answer, body, kind)
	}
	const tail = " HTTP/1.1\r\nHost: a\r\n\r\n"
	f("GET /any/\x01"+tail, fault.BadRequest)
	f("\x00\x00\x00\x00", fault.BadRequest)
	f("GET /any/ HTTP/1.1\nHost: a\r\n\r\n", fault.BadRequest)
	f("GET /any/ HTTP/1.1\r\nHost: a\r\nX_A: b\r\n\r\n", fault.BadRequest)
	f("TRACE /any/"+tail, fault.MethodRefused)
	f("GET /any/ HTTP/2.0\r\nHost: a\r\n\r\n", fault.VersionUnknown)
	f("GET /any/ HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("y", 1100)+"\r\n\r\n", fault.HeaderTooLarge)
	f("GET /any/ HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("y", 1100), fault.HeaderTooLarge)
	f("GET /any/ HTTP/1.1\r\nHost: a\r\n"+strings.Repeat("X: y\r\n", 12)+"\r\n", fault.HeaderTooLarge)
	f("POST /any/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", fault.CodingUnknown)
	f("GET /nowhere"+tail, fault.NoRoute)
	f("GET /posts"+tail, fault.MethodRefused)
	f("GET /inside"+tail, fault.Forbidden)
	f("GET /outside"+tail, fault.Forbidden)
	f("GET /limited"+tail, fault.LimitExceeded)
	f("POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", fault.BodyTooLarge)
	f("POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", fault.BodyTooLarge)
	f("POST /any/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", fault.BadRequest)
	f("GET /any/", fault.RequestTimeout)
	f("POST /any/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel", fault.RequestTimeout)

	// Cut in the middle of the body: there is nobody to answer, perhaps, and the upstream is told nothing complete.
	c := r.Client()
	c.Send("POST /any/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	if answer, body := c.Answer("POST"); answer.StatusCode == 400 {
		wantError(t, r, answer, body, fault.BodyTruncated)
	}
	// Another protocol at the wrong door is not answered in plain text.
	c = r.Client()
	c.Send("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
	if got, _ := c.Rest(); got != "" {
		t.Errorf("TLS was answered with %q", got)
	}
	// An idle connection ends without a word.
	c = r.Client()
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	if got, err := c.Rest(); got != "" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if m := string(r.Node.Metrics()); !strings.Contains(m, `weir_fault_total{kind="method_refused",source="client"} 2`) {
		t.Errorf("faults are not counted once each:\n%s", grep(m, "weir_fault_total"))
	}
}

func grep(text, word string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestFaultsOfUpstreams(t *testing.T) {
	yaml := strings.Replace(logged, `["http://${UPSTREAM}"]`, `["http://${UPSTREAM}"], timeouts: {response_header: 150ms, idle: 150ms, connect: 500ms}`, 1)
	f := func(name string, kind fault.Kind, serve func(u *coretest.Client)) {
		t.Run(name, func(t *testing.T) {
			var hits atomic.Int64
			r := through(t, yaml, func(u *coretest.Client) { hits.Add(1); serve(u) })
			for _, method := range []string{"GET", "POST"} {
				hits.Store(0)
				c := r.Client()
				began := time.Now()
				c.Send(method + " / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
				answer, body := c.Answer(method)
				took := time.Since(began)
				wantError(t, r, answer, body, kind)
				if took > soon || kind == fault.UpstreamTimeout && took < 140*time.Millisecond {
					t.Errorf("answered after %s", took)
				}
				if hits.Load() != 1 {
					t.Errorf("%s was sent %d times", method, hits.Load())
				}
			}
			if m := string(r.Node.Metrics()); !strings.Contains(m, `kind="`+kind.String()+`"} 2`) {
				t.Error(grep(m, "weir_upstream_errors_total"))
			}
		})
	}
	f("resets", fault.UpstreamReset, func(u *coretest.Client) { u.Head(); u.Reset() })
	f("closes", fault.ResponseTruncated, func(u *coretest.Client) { u.Head() })
	f("hangs", fault.UpstreamTimeout, func(u *coretest.Client) { u.Head(); _, _ = u.Rest() })
	f("drips", fault.UpstreamTimeout, func(u *coretest.Client) {
		u.Head()
		for _, b := range "HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", 1000) {
			if _, err := u.Write([]byte{byte(b)}); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	f("garbage", fault.BadResponse, func(u *coretest.Client) { u.Head(); u.Send("SSH-2.0-x\r\n\r\n") })
	f("bare line feed", fault.BadResponse, func(u *coretest.Client) { u.Head(); u.Send("HTTP/1.1 200 OK\nA: b\r\n\r\n") })
	f("two lengths", fault.BadResponse, func(u *coretest.Client) {
		u.Head()
		u.Send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
	})
	f("large head", fault.BadResponse, func(u *coretest.Client) {
		u.Head()
		u.Send("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 40<<10) + "\r\n\r\n")
	})
	f("unasked 101", fault.BadResponse, func(u *coretest.Client) {
		u.Head()
		u.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	})
	f("endless 1xx", fault.BadResponse, func(u *coretest.Client) {
		u.Head()
		u.Send(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 200))
	})
	t.Run("refuses", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		r := coretest.Start(t, yaml, nil, coretest.Options{Env: map[string]string{"UPSTREAM": ln.Addr().String()}})
		c := r.Client()
		c.Send(get)
		answer, body := c.Answer("GET")
		wantError(t, r, answer, body, fault.ConnectFailed)
	})
}

// The clock of response_header starts when the request has been sent, not when its upload began.
func TestSlowUploadIsNotLate(t *testing.T) {
	yaml := strings.Replace(plain, `["http://${UPSTREAM}"]`, `["http://${UPSTREAM}"], timeouts: {response_header: 200ms}`, 1)
	r := coretest.Start(t, yaml, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(120 * time.Millisecond)
	}), coretest.Options{})
	c := r.Client()
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
	for range 5 {
		time.Sleep(80 * time.Millisecond)
		c.Send("x")
	}
	if answer, _ := c.Answer("POST"); answer.StatusCode != 200 {
		t.Error(answer.Status)
	}
}

func TestRouteTimeout(t *testing.T) {
	yaml := strings.Replace(logged, "auth: none", "auth: none, timeout: 200ms", 1)
	gone := make(chan struct{}, 8)
	r := coretest.Start(t, yaml, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			_, _ = w.Write([]byte("begun"))
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		gone <- struct{}{}
	}), coretest.Options{})
	for _, request := range []string{get, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx"} {
		c := r.Client()
		began := time.Now()
		c.Send(request)
		answer, body := c.Answer("GET")
		took := time.Since(began)
		wantError(t, r, answer, body, fault.ExchangeTimeout)
		if !answer.Close || took < 180*time.Millisecond || took > soon {
			t.Errorf("close %t after %s", answer.Close, took)
		}
		<-gone
	}
	c := r.Client()
	c.Send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
	if got, err := c.Rest(); err == nil || !strings.Contains(got, "begun") {
		t.Errorf("%q %v", got, err)
	}
	<-gone
}

func TestMaxInFlight(t *testing.T) {
	yaml := strings.Replace(logged, `["http://${UPSTREAM}"]`, `["http://${UPSTREAM}"], max_in_flight: 2`, 1)
	var now, most atomic.Int64
	hold := make(chan struct{})
	r := coretest.Start(t, yaml, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-hold
		now.Add(-1)
	}), coretest.Options{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { r.Get("/") })
	}
	coretest.Eventually(t, "two in flight", func() bool { return now.Load() == 2 })
	c := r.Client()
	c.Send(get)
	answer, body := c.Answer("GET")
	wantError(t, r, answer, body, fault.UpstreamBusy)
	close(hold)
	wg.Wait()
	if status, _, _ := r.Get("/"); status != 200 || most.Load() != 2 {
		t.Errorf("%d, at most %d in flight", status, most.Load())
	}
}
