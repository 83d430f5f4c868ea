package node_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

// named starts a server that says its name, and its status if that is not 200.
func named(t *testing.T, name string, status *atomic.Int64) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status != nil && status.Load() != 0 {
			w.WriteHeader(int(status.Load()))
		}
		_, _ = io.WriteString(w, name)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// answers gives who answers n requests, each once.
func answers(r *coretest.Rig, n int) string {
	seen := map[string]bool{}
	for range n {
		status, _, body := r.Get("/")
		seen[fmt.Sprint(status, " ", body[:min(len(body), 1)])] = true
	}
	all := ""
	for _, s := range []string{"200 a", "200 b", "200 c", "503 {", "500 b"} {
		if seen[s] {
			all += s[4:]
		}
	}
	return all
}

func admin(t *testing.T, r *coretest.Rig, method, path, body string) (int, string) {
	t.Helper()
	req, _ := http.NewRequest(method, "http://"+r.Node.AdminAddr().String()+path, strings.NewReader(body))
	answer, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(b)
}

const listed = `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
upstreams: {api: {endpoints: {file: endpoints.yaml}, breaker: {}}}
routes: [{name: all, match: {path: /*}, auth: none, upstream: api}]
`

func TestEndpointsFromFileAndOperator(t *testing.T) {
	a, b, c := named(t, "a", nil), named(t, "b", nil), named(t, "c", nil)
	item := func(address string) string { return "- http://" + address + "\n" }
	r := coretest.Start(t, listed, nil, coretest.Options{Files: map[string]string{"endpoints.yaml": item(a)}})
	file := filepath.Join(filepath.Dir(r.File), "endpoints.yaml")
	if got := answers(r, 3); got != "a" {
		t.Error(got)
	}
	series := func(want ...string) {
		t.Helper()
		coretest.Eventually(t, "series of "+fmt.Sprint(want), func() bool {
			m := string(r.Node.Metrics())
			for _, family := range []string{"circuit_breaker_state{", "weir_upstream_endpoint_usable{", "weir_upstream_requests_total{"} {
				if strings.Count(m, "\n"+family) != len(want) {
					return false
				}
				for _, address := range want {
					if !strings.Contains(m, "\n"+family+`upstream="api",endpoint="`+address+`"}`) {
						return false
					}
				}
			}
			return true
		})
	}
	series(a)
	if err := os.WriteFile(file, []byte(item(b)+"- {url: \"http://"+c+"\", weight: 2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	coretest.Eventually(t, "the file is read", func() bool { return answers(r, 6) == "bc" })
	series(b, c)
	if err := os.WriteFile(file, []byte("- htp://x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const path = "/upstreams/api/endpoints"
	coretest.Eventually(t, "the problem is shown", func() bool {
		_, body := admin(t, r, "GET", path, "")
		return strings.Contains(body, "endpoints.yaml:1:3: [0]: wants a URL")
	})
	if got := answers(r, 6); got != "bc" {
		t.Error(got)
	}

	f := func(method, path, body string, status int, part, want string) {
		t.Helper()
		got, text := admin(t, r, method, path, body)
		if got != status || !strings.Contains(text, part) || !json.Valid([]byte(text)) {
			t.Errorf("%s %s %s: %d %s", method, path, body, got, text)
		}
		if got := answers(r, 6); got != want {
			t.Errorf("%s %s %s: %s answer, want %s", method, path, body, got, want)
		}
	}
	f("GET", path, "", 200, `"source": "file"`, "bc")
	f("PUT", path, `{"url": "http://`+a+`"}`, 200, `"source": "operator"`, "abc")
	f("GET", path, "", 200, `"set": true`, "abc")
	f("DELETE", path+"?url=http://"+b, "", 200, `"set": true`, "ac")
	f("DELETE", path+"?url=http://"+b, "", 404, "no such endpoint", "ac")
	f("PUT", path, `["http://`+b+`"]`, 200, b, "b")
	f("DELETE", path+"?url=http://"+b, "", 409, "the last endpoint", "b")
	f("PUT", path, ``, 422, "the body is a list of endpoints", "b")
	f("PUT", path, `[]`, 422, "at least one endpoint is needed", "b")
	f("PUT", path, `[{"url": "http://x:1", "weigt": 1}]`, 422, `did you mean \"weight\"`, "b")
	f("PUT", path, `["http://x:1", "http://x:1"]`, 422, "twice", "b")
	f("PUT", path, `["http://x:99999"]`, 422, "99999", "b")
	f("PUT", path, `["http://`, 422, "", "b")
	f("PUT", path, strings.Repeat("x", 2<<20), 413, "too large", "b")
	f("DELETE", path+"?ulr=http://"+b, "", 422, "only parameter is url", "b")
	f("POST", path, "", 405, "GET, PUT, DELETE only", "b")
	f("GET", "/upstreams/apis/endpoints", "", 404, "no upstream", "b")
	f("GET", "/upstreams/a/b/endpoints", "", 404, "nothing here", "b")
	// It outlives reloads, also to another configuration, and files.
	mustReload(t, r, listed)
	mustReload(t, r, strings.Replace(listed, "breaker: {}", "balance: random, breaker: {}", 1))
	if err := os.WriteFile(file, []byte(item(a)), 0o600); err != nil {
		t.Fatal(err)
	}
	f("GET", path, "", 200, `"set": true`, "b")
	coretest.Eventually(t, "the file is read meanwhile", func() bool {
		_, body := admin(t, r, "GET", path, "")
		return !strings.Contains(body, "problems")
	})
	f("DELETE", path, "", 200, `"set": false`, "a")
	series(a)
	f("GET", "/upstreams", "", 200, `"upstream": "api"`, "a")
}

// A name that can't be resolved does not stop weir, nor its reload; its upstream answers 503, and weir is not ready until
// every upstream has had an endpoint.
func TestUnknownNameAtStart(t *testing.T) {
	yaml := strings.Replace(listed, "{file: endpoints.yaml}", `["http://nowhere.invalid:80"]`, 1)
	r := coretest.Start(t, yaml, nil, coretest.Options{})
	if got := answers(r, 2); got != "{" {
		t.Errorf("%q", got)
	}
	ready := func(want int, part string) {
		t.Helper()
		if status, body := admin(t, r, "GET", "/health/ready", ""); status != want || !strings.Contains(body, part) {
			t.Errorf("%d %s", status, body)
		}
	}
	ready(503, `"upstreams":{"status":"failed","detail":"no usable endpoint as yet: api"}`)
	coretest.Eventually(t, "two faults are counted", func() bool { // an exchange is recorded after its answer
		return strings.HasSuffix(grep(string(r.Node.Metrics()), `weir_fault_total{kind="no_endpoint"`), " 2\n")
	})
	// localhost has addresses of both families in many systems; the server listens on one.
	_, port, _ := net.SplitHostPort(named(t, "a", nil))
	mustReload(t, r, strings.Replace(yaml, "nowhere.invalid:80", "localhost:"+port, 1))
	if got := answers(r, 2); got != "a" {
		t.Errorf("%q", got)
	}
	ready(200, "ready")
	if m := grep(string(r.Node.Metrics()), "weir_upstream_requests_total{"); !strings.Contains(m, `endpoint="localhost:`+port+` (127.0.0.1)"`) {
		t.Error(m)
	}
	mustReload(t, r, yaml)
	ready(200, "ready")
}

func TestHealthAndEjectionEndToEnd(t *testing.T) {
	var sick atomic.Int64
	a, b := named(t, "a", nil), named(t, "b", &sick)
	list := fmt.Sprintf("endpoints: [\"http://%s\", \"http://%s\"], panic_threshold: 0%%, ", a, b)
	with := func(more string) string {
		return strings.Replace(listed, "endpoints: {file: endpoints.yaml}, breaker: {}", list+more, 1)
	}
	r := coretest.Start(t, with("health_check: {path: /, interval: 20ms, timeout: 20ms, unhealthy: 2}"), nil, coretest.Options{})
	coretest.Eventually(t, "both", func() bool { return answers(r, 4) == "ab" })
	sick.Store(500)
	coretest.Eventually(t, "b is out", func() bool { return answers(r, 4) == "a" })
	if m := grep(string(r.Node.Metrics()), "weir_upstream_endpoint_usable{"); !strings.Contains(m, b+"\"} 0") || !strings.Contains(m, a+"\"} 1") {
		t.Error(m)
	}
	coretest.Eventually(t, "log", func() bool { return strings.Contains(r.Log.String(), "endpoint unhealthy") })
	sick.Store(0)
	coretest.Eventually(t, "b is back", func() bool { return answers(r, 4) == "ab" })

	mustReload(t, r, with("ejection: {consecutive_failures: 3, for: 300ms, max: 50%}"))
	sick.Store(500)
	coretest.Eventually(t, "b is ejected", func() bool { return answers(r, 4) == "a" })
	coretest.Eventually(t, "shown", func() bool {
		_, body := admin(t, r, "GET", "/upstreams/api/endpoints", "")
		return strings.Contains(body, "ejected_for")
	})
	sick.Store(0)
	coretest.Eventually(t, "b is back", func() bool { return answers(r, 4) == "ab" })
}

// Tries that fail are counted at the endpoint that they failed at, by what went wrong.
func TestErrorsByEndpoint(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	r := coretest.Start(t, plain, nil, coretest.Options{Env: map[string]string{"UPSTREAM": ln.Addr().String()}})
	for range 3 {
		r.Get("/")
	}
	for _, want := range []string{
		`weir_upstream_requests_total{upstream="api",endpoint="` + ln.Addr().String() + `"} 3`,
		`weir_upstream_errors_total{upstream="api",endpoint="` + ln.Addr().String() + `",kind="connect_failed"} 3`,
	} {
		if m := string(r.Node.Metrics()); !strings.Contains(m, want) {
			t.Errorf("no %s in\n%s", want, grep(m, "weir_upstream"))
		}
	}
}

// An endpoint that leaves lets what is under way end, gets nothing new, and its idle connections are closed.
func TestEndpointLeaves(t *testing.T) {
	var open, hits atomic.Int64
	arrived, hold := make(chan struct{}), make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		if r.URL.Path == "/hold" {
			close(arrived)
			<-hold
		}
		_, _ = io.WriteString(w, "a")
	}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		switch st {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	s.Start()
	defer s.Close()
	a, b := s.Listener.Addr().String(), named(t, "b", nil)
	r := coretest.Start(t, strings.Replace(listed, "{file: endpoints.yaml}", `["http://`+a+`"]`, 1), nil, coretest.Options{})
	held := make(chan string)
	go func() {
		_, _, body := r.Get("/hold")
		held <- body
	}()
	<-arrived
	r.Get("/") // leaves a second connection idle
	if open.Load() != 2 {
		t.Fatal(open.Load())
	}
	if status, body := admin(t, r, "PUT", "/upstreams/api/endpoints", `["http://`+b+`"]`); status != 200 {
		t.Fatal(body)
	}
	if got := answers(r, 5); got != "b" || hits.Load() != 2 {
		t.Errorf("%s, %d hits", got, hits.Load())
	}
	coretest.Eventually(t, "the idle connection is closed", func() bool { return open.Load() == 1 })
	close(hold)
	if body := <-held; body != "a" {
		t.Error(body)
	}
	coretest.Eventually(t, "the last connection is closed", func() bool { return open.Load() == 0 })
}
