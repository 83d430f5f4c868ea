package node_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/fault"
)

// answering is an upstream that answers every request with its name.
func answering(t *testing.T, name string) string {
	return coretest.StartStill(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Name: %s\r\nContent-Length: 0\r\n\r\n", name)).Address()
}

func TestSplit(t *testing.T) {
	r := coretest.Start(t, `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
upstreams:
  a: {endpoints: ["http://${A}"]}
  b: {endpoints: ["http://${B}"]}
  c: {endpoints: ["http://${C}"]}
routes:
  - {name: all, match: {path: /*}, auth: none, split: [{upstream: a, weight: 70}, {upstream: b, weight: 25}, {upstream: c, weight: 5}]}
`, nil, coretest.Options{Env: map[string]string{"A": answering(t, "a"), "B": answering(t, "b"), "C": answering(t, "c")}})
	const n = 4000
	got := map[string]float64{}
	for range n {
		_, h, _ := r.Get("/")
		got[h.Get("X-Name")]++
	}
	// Six standard deviations: one run in half a billion is further off.
	for name, p := range map[string]float64{"a": 0.70, "b": 0.25, "c": 0.05} {
		if off := math.Abs(got[name] - n*p); off > 6*math.Sqrt(n*p*(1-p)) {
			t.Errorf("%s had %v of %d requests, want about %v", name, got[name], n, n*p)
		}
	}
	for name, c := range got {
		coretest.Eventually(t, fmt.Sprintf("%s to have %v counted", name, c), func() bool {
			m := grep(string(r.Node.Metrics()), `weir_upstream_requests_total{upstream="`+name+`",`)
			return strings.HasSuffix(m, fmt.Sprintf(" %.0f\n", c))
		})
	}
}

func TestFallback(t *testing.T) {
	closing := coretest.StartRaw(t, func(c *coretest.Client) { c.Head() })
	r := coretest.Start(t, `
version: 1
listeners: [{address: "127.0.0.1:0"}]
upstreams:
  dead: {endpoints: ["http://${DEAD}"], breaker: {consecutive_failures: 1, open_for: 1h, fallback: {upstream: standby}}}
  tired: {endpoints: ["http://${DEAD}"], breaker: {consecutive_failures: 1, open_for: 1h, fallback: {upstream: last}}}
  last: {endpoints: ["http://${DEAD}"], breaker: {consecutive_failures: 1, open_for: 1h, fallback: {respond: {status: 299, body: sorry, headers: {x-name: words}}}}}
  alone: {endpoints: ["http://${DEAD}"], breaker: {consecutive_failures: 1, open_for: 1h}}
  standby: {endpoints: ["http://${STANDBY}"]}
routes:
  - {name: dead, match: {path: /dead}, auth: none, upstream: dead}
  - {name: tired, match: {path: /tired}, auth: none, upstream: tired}
  - {name: last, match: {path: /last}, auth: none, upstream: last}
  - {name: alone, match: {path: /alone}, auth: none, upstream: alone}
  - {name: both, match: {path: /both}, auth: none, split: [{upstream: alone, weight: 1}, {upstream: dead, weight: 1}]}
`, nil, coretest.Options{Env: map[string]string{"DEAD": closing.Address(), "STANDBY": answering(t, "standby")}})
	f := func(path string, status int, name, text string) {
		t.Helper()
		got, h, body := r.Do("POST", path, "body")
		if got != status || h.Get("X-Name") != name || !strings.Contains(body, text) {
			t.Errorf("%s: %d %q %q, want %d %q", path, got, h.Get("X-Name"), body, status, name)
		}
	}
	for _, path := range []string{"/dead", "/tired", "/last", "/alone"} {
		f(path, 502, "", "Bad Gateway") // what opens the breaker is not saved
	}
	f("/dead", 200, "standby", "")
	f("/last", 299, "words", "sorry")
	f("/tired", 299, "words", "sorry")
	f("/alone", 503, "", "Service Unavailable")
	seen := map[int]bool{}
	for range 200 {
		status, _, _ := r.Get("/both")
		seen[status] = true
	}
	if !seen[200] || !seen[503] || len(seen) != 2 { // a share's own fallback, and no other share's
		t.Error(seen)
	}
	wantRecord(t, r, fault.BreakerOpen, `"route":"alone"`)
	coretest.Eventually(t, "the standby's requests in its own name", func() bool {
		return strings.Contains(r.Access.String(), `"upstream":"standby"`) && strings.Contains(grep(string(r.Node.Metrics()), "weir_upstream_requests_total"), `upstream="standby"`)
	})
}

// TestFallbackWithoutHealthyEndpoints: what stands in for an upstream with open breakers does so for one without endpoints.
func TestFallbackWithoutHealthyEndpoints(t *testing.T) {
	var status atomic.Int64
	status.Store(500)
	hold := make(chan struct{})
	var hanging atomic.Int64
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "hang" {
			hanging.Add(1)
			<-hold
		}
		w.Header().Set("X-Name", "sick")
		w.WriteHeader(int(status.Load()))
	}))
	defer sick.Close()
	defer close(hold)
	full := coretest.StartRaw(t, func(c *coretest.Client) { c.Head(); <-hold })
	r := coretest.Start(t, `
version: 1
listeners: [{address: "127.0.0.1:0"}]
upstreams:
  sick:
    endpoints: ["http://${SICK}"]
    panic_threshold: 0%
    max_in_flight: 1
    queue: {max: 10, wait: 10s}
    health_check: {path: /, interval: 20ms, unhealthy: 1, healthy: 1}
    breaker: {consecutive_failures: 1000, fallback: {upstream: standby}}
  standby: {endpoints: ["http://${STANDBY}"], max_in_flight: 1}
  full: {endpoints: ["http://${FULL}"], max_in_flight: 1, breaker: {fallback: {upstream: standby}}}
routes:
  - {name: sick, match: {path: /sick}, auth: none, upstream: sick}
  - {name: full, match: {path: /*}, auth: none, upstream: full}
`, nil, coretest.Options{Env: map[string]string{"SICK": sick.Listener.Addr().String(), "STANDBY": answering(t, "standby"), "FULL": full.Address()}})
	coretest.Eventually(t, "the standby answers", func() bool {
		code, h, _ := r.Do("POST", "/sick", "body")
		return code == 200 && h.Get("X-Name") == "standby"
	})
	for range 10 {
		if code, h, _ := r.Do("POST", "/sick", "body"); code != 200 || h.Get("X-Name") != "standby" {
			t.Error(code, h)
		}
	}
	status.Store(200)
	coretest.Eventually(t, "back", func() bool { _, h, _ := r.Get("/sick"); return h.Get("X-Name") == "sick" })
	// Also when requests hang on it still, as many as may: nobody waits for a place there.
	b := r.Client()
	b.Send("GET /sick?hang HTTP/1.1\r\nHost: a\r\n\r\n")
	coretest.Eventually(t, "it hangs", func() bool { return hanging.Load() == 1 })
	status.Store(500)
	coretest.Eventually(t, "it is unhealthy", func() bool { return !r.Node.Plan().Upstreams[0].Endpoints()[0].Usable() })
	began := time.Now()
	if code, h, _ := r.Do("POST", "/sick", "body"); code != 200 || h.Get("X-Name") != "standby" || time.Since(began) > soon {
		t.Error(code, h, time.Since(began))
	}
	// One that is full is not relieved: and the log says which it was.
	c := r.Client()
	c.Send(get)
	coretest.Eventually(t, "one in flight", func() bool { return r.Node.Plan().Upstreams[2].InFlight() == 1 })
	d := r.Client()
	d.Send(get)
	answer, body := d.Answer("GET")
	wantError(t, r, answer, body, fault.UpstreamBusy)
	wantRecord(t, r, fault.UpstreamBusy, `"upstream":"full"`)
}

const mirrored = `
version: 1
guards: {underscores: pass}
listeners: [{address: "127.0.0.1:0"}]
jwt: {sso: {secret: {file: secret}, algorithms: [HS256], require: [exp]}}
upstreams:
  api: {endpoints: ["http://${UPSTREAM}"]}
  shadow: {endpoints: ["http://${SHADOW}"]}
routes:
  - {name: some, match: {path: /some}, auth: none, upstream: api, mirror: {upstream: shadow, share: 10%}}
  - name: all
    match: {path: /*}
    auth: none
    strip_prefix: /v1
    host: inner.example
    headers: {request: {set: {x-user: "${identity.subject}"}}}
    upstream: api
    mirror: {upstream: shadow}
`

// count gives how many copies of a route came to an outcome.
func copies(r *coretest.Rig, route, outcome string) string {
	m := grep(string(r.Node.Metrics()), `weir_mirrored_requests_total{route="`+route+`",outcome="`+outcome+`"}`)
	_, n, _ := strings.Cut(strings.TrimSpace(m), "} ")
	return n
}

// from lists the fields with a value.
func from(h http.Header, value string) (names []string) {
	for name, values := range h {
		if strings.Contains(strings.Join(values, " "), value) {
			names = append(names, name)
		}
	}
	return names
}

func TestMirror(t *testing.T) {
	got := make(chan string, 1000)
	hold := make(chan struct{})
	shadow := coretest.StartRaw(t, func(c *coretest.Client) {
		for {
			q, err := http.ReadRequest(c.In)
			if err != nil {
				return
			}
			body, err := io.ReadAll(q.Body)
			if err != nil {
				got <- "cut"
				return
			}
			got <- fmt.Sprintf("%s %s %s %d bytes, length %d, user %q id %q via %q te %q", q.Method, q.RequestURI, q.Host, len(body), q.ContentLength,
				from(q.Header, "mallory"), q.Header.Get("X-Tag"), q.Header.Get("Via"), q.TransferEncoding)
			if strings.HasPrefix(q.RequestURI, "/hold") {
				<-hold
			}
			c.Send("HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nbad")
		}
	})
	up := coretest.StartRaw(t, func(c *coretest.Client) {
		for {
			q, err := http.ReadRequest(c.In)
			if err != nil {
				return
			}
			body, err := io.ReadAll(q.Body)
			if err != nil {
				return
			}
			c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		}
	})
	r := coretest.Start(t, mirrored, nil, coretest.Options{
		Env:   map[string]string{"UPSTREAM": up.Address(), "SHADOW": shadow.Address()},
		Files: map[string]string{"secret": hmacSecret},
	})
	next := func() string {
		select {
		case s := <-got:
			return s
		case <-time.After(10 * time.Second):
			t.Fatal("no copy came")
			return ""
		}
	}
	f := func(method, path, body, want string) {
		t.Helper()
		status, _, back := r.Do(method, path, body, "X-Tag", "7", "X-User", "mallory", "x_user", "mallory", "Cookie", "a=b")
		if status != 200 || back != body {
			t.Errorf("%s %s: %d, %d bytes", method, path, status, len(back))
		}
		if s := next(); s != want {
			t.Errorf("copy %s\nwant %s", s, want)
		}
	}
	const rest = `, user [] id "7" via "" te []`
	f("GET", "/v1/a%2Fb?x=1", "", "GET /a%2Fb?x=1 inner.example 0 bytes, length 0"+rest)
	f("POST", "/v1/a", "hello", "POST /a inner.example 5 bytes, length 5"+rest)
	large := strings.Repeat("x", 64<<10)
	f("PUT", "/big", large, "PUT /big inner.example 65536 bytes, length 65536"+rest)
	// Chunked, and pushed by pieces: the copy has the whole length, since it is known by then.
	c := r.Client()
	c.Send("POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	c.Send("2\r\nde\r\n0\r\n\r\n")
	if _, body := c.Answer("POST"); body != "abcde" {
		t.Errorf("%q", body)
	}
	if s := next(); !strings.HasPrefix(s, "POST /chunked inner.example 5 bytes, length 5") {
		t.Error(s)
	}
	sent := 4
	coretest.Eventually(t, "all copies answered", func() bool { return copies(r, "all", "sent") == fmt.Sprint(sent) })
	// Larger ones are not copied, whether they say so or not.
	if status, _, back := r.Do("POST", "/too", large+"x"); status != 200 || len(back) != len(large)+1 {
		t.Errorf("%d, %d bytes", status, len(back))
	}
	c.Send("POST /too HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n" + large + "\r\n1\r\nx\r\n0\r\n\r\n")
	if _, body := c.Answer("POST"); len(body) != len(large)+1 {
		t.Errorf("%d bytes", len(body))
	}
	coretest.Eventually(t, "two large ones counted", func() bool { return copies(r, "all", "large") == "2" })
	// One whose client leaves in the middle is none.
	c = r.Client()
	c.Send("POST /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
	c.Reset()
	coretest.Eventually(t, "a cut one counted", func() bool { return copies(r, "all", "cut") == "1" })
	// By chance.
	for range 500 {
		r.Get("/some")
	}
	some := 0
	coretest.Eventually(t, "about fifty copies", func() bool {
		for len(got) > 0 {
			<-got
			some++
		}
		return copies(r, "some", "sent") == fmt.Sprint(some)
	})
	if some < 10 || some > 95 { // six standard deviations
		t.Errorf("%d of 500 copied", some)
	}
	// A shadow that hangs holds nobody up, and beyond what may be under way no copies are made.
	for range 300 {
		if status, _, _ := r.Get("/hold"); status != 200 {
			t.Fatal(status)
		}
	}
	coretest.Eventually(t, "those above 256 counted", func() bool { return copies(r, "all", "busy") == "44" })
	close(hold)
	coretest.Eventually(t, "the others to end", func() bool { return copies(r, "all", "sent") == fmt.Sprint(sent+256) })
	if log := r.Access.String(); strings.Contains(log, "shadow") || strings.Contains(log, "500") && strings.Contains(log, `"status":500`) {
		t.Error("copies are in the log")
	}
}

// TestMirrorEnds: a copy that is under way when weir stops is cut, and one that can't be sent is counted.
func TestMirrorEnds(t *testing.T) {
	came := make(chan struct{}, 1)
	shadow := coretest.StartRaw(t, func(c *coretest.Client) {
		c.Head()
		came <- struct{}{}
		_, _ = c.Rest()
	})
	r := coretest.Start(t, mirrored, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), coretest.Options{
		Env: map[string]string{"SHADOW": shadow.Address()}, Files: map[string]string{"secret": hmacSecret},
	})
	if status, _, _ := r.Get("/a"); status != 200 {
		t.Fatal(status)
	}
	<-came
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	start := time.Now()
	r.Node.Drain()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	r = coretest.Start(t, strings.Replace(mirrored, "${SHADOW}", "127.0.0.1:1", 1), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), coretest.Options{
		Files: map[string]string{"secret": hmacSecret},
	})
	if status, _, _ := r.Get("/a"); status != 200 {
		t.Error(status)
	}
	coretest.Eventually(t, "a failed copy counted", func() bool { return copies(r, "all", "failed") == "1" })
}
