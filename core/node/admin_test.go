package node_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/filter"
)

const administered = `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "%s", token: "%t"}
upstreams:
  api: {endpoints: ["http://${UPSTREAM}"]}
  guarded: {endpoints: ["http://127.0.0.1:1"], breaker: {}}
routes:
  - {name: all, match: {host: a.example, path: /*, methods: [GET]}, auth: none, upstream: api}
  - {name: text, match: {path: /t}, auth: none, respond: {status: 204}}
  - {name: shared, match: {path: /s}, auth: none, split: [{upstream: api, weight: 1}, {upstream: guarded, weight: 3}], mirror: {upstream: guarded, share: 10%}}
  - {name: old, match: {path: /o}, auth: none, redirect: {to: /t}}
`

func TestAdmin(t *testing.T) {
	ff := &fake{}
	yaml := func(token string) string {
		return strings.NewReplacer("%s", "127.0.0.1:0", "%t", token).Replace(administered)
	}
	loaded := func() []filter.Status {
		return []filter.Status{{Name: "b"}, {Name: "a", Config: "2", Routes: []string{"z", "y"}}, {Name: "a", Config: "1"}}
	}
	r := coretest.Start(t, yaml("s3cret"), http.NotFoundHandler(), coretest.Options{Kinds: ff.kinds(false), Filters: loaded})
	ask := func(method, path, authorization string) (int, http.Header, string) {
		t.Helper()
		req, _ := http.NewRequest(method, "http://"+r.Node.AdminAddr().String()+path, nil)
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		answer, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		b, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, answer.Header, string(b)
	}
	const key = "Bearer s3cret"
	r.Get("/x", "Host", "a.example")
	f := func(method, path, authorization string, want int, part string) {
		t.Helper()
		status, h, body := ask(method, path, authorization)
		if status != want || !strings.Contains(body, part) {
			t.Errorf("%s %s: %d %v %.300q", method, path, status, h, body)
		}
	}
	f("GET", "/health", "", 200, `{"status":"healthy"}`)
	f("GET", "/health/ready", "", 200, `"status":"ready"`)
	f("POST", "/health", "", 405, `"error":"Method Not Allowed"`)
	for _, wrong := range []string{"", "Bearer", "Bearer s3cre", "Bearer s3cretx", "s3cret", "Basic s3cret"} {
		for _, path := range []string{"/metrics", "/routes", "/upstreams", "/filters", "/reload", "/debug/pprof/", "/nothing"} {
			f("GET", path, wrong, 401, `"error":"Unauthorized"`)
		}
	}
	for _, path := range []string{"/metrics", "/metrics/prometheus"} {
		for _, family := range []string{"http_requests_total", "circuit_breaker_state{", "weir_connections{", "go_goroutines"} {
			f("GET", path, key, 200, family)
		}
	}
	f("HEAD", "/metrics", key, 200, "")
	f("POST", "/metrics", key, 405, "GET only")
	f("GET", "/reload", key, 405, "POST only")
	f("GET", "/nothing", key, 404, `"error":"Not Found"`)
	f("GET", "/debug/pprof/goroutine?debug=1", key, 200, "goroutine profile")
	var routes []map[string]any
	_, _, body := ask("GET", "/routes", key)
	if err := json.Unmarshal([]byte(body), &routes); err != nil || len(routes) != 4 || routes[0]["upstream"] != "api" || routes[0]["filters"].([]any)[0] != "fake" {
		t.Errorf("%v %s", err, body)
	}
	for i, want := range []map[string]any{
		1: {"respond": 204.0},
		2: {
			"split":  []any{map[string]any{"upstream": "api", "share": 0.25}, map[string]any{"upstream": "guarded", "share": 0.75}},
			"mirror": map[string]any{"upstream": "guarded", "share": 0.1},
		},
		3: {"redirect": "/t"},
	} {
		for key := range want {
			if i >= len(routes) || !reflect.DeepEqual(routes[i][key], want[key]) {
				t.Errorf("route %d: no %s as it should be\n%s", i, key, body)
			}
		}
	}
	var upstreams []map[string]any
	_, _, body = ask("GET", "/upstreams", key)
	if err := json.Unmarshal([]byte(body), &upstreams); err != nil || len(upstreams) != 2 || upstreams[0]["requests"] != 1.0 || upstreams[1]["breaker"] != "closed" {
		t.Errorf("%v %s", err, body)
	}
	var loadedNow []map[string]any
	_, _, body = ask("GET", "/filters", key)
	if err := json.Unmarshal([]byte(body), &loadedNow); err != nil || len(loadedNow) != 3 || loadedNow[0]["config"] != "1" || loadedNow[2]["name"] != "b" ||
		!reflect.DeepEqual(loadedNow[1]["routes"], []any{"y", "z"}) || !reflect.DeepEqual(loadedNow[2]["routes"], []any{}) {
		t.Errorf("%v %s", err, body)
	}
	before := r.Node.Plan()
	f("POST", "/reload", key, 200, "reloaded")
	if r.Node.Plan() == before {
		t.Error("not reloaded")
	}
	// A reload exchanges the token too, and not for one that can't be read.
	r.Write(yaml("n3w"))
	f("POST", "/reload", key, 200, "reloaded")
	f("GET", "/routes", key, 401, "admin token required")
	f("GET", "/routes", "Bearer n3w", 200, "upstream")
	r.Write(strings.Replace(yaml("s3cret"), `token: "s3cret"`, "token: {file: none}", 1))
	f("POST", "/reload", "Bearer n3w", 422, "admin.token: read secret: open ")
	f("GET", "/routes", "Bearer n3w", 200, "upstream")
	r.Write(yaml("s3cret"))
	f("POST", "/reload", "Bearer n3w", 200, "reloaded")
	r.Write("version: 3")
	f("POST", "/reload", key, 422, "weir.yaml:1:10")

	// The address changes too, unless it is taken; the old one answers until then, also the reload that ends it.
	moved := filepath.Join(t.TempDir(), "admin")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r.Write(strings.Replace(yaml("s3cret"), "127.0.0.1:0\", token", taken.Addr().String()+"\", token", 1))
	f("POST", "/reload", key, 422, "address already in use")
	r.Write(strings.Replace(yaml("s3cret"), "127.0.0.1:0\", token", "unix:"+moved+"\", token", 1))
	f("POST", "/reload", key, 200, "reloaded")
	if r.Node.AdminAddr().String() != moved {
		t.Error(r.Node.AdminAddr())
	}
	r.Write(strings.Replace(yaml("s3cret"), "admin:", "#", 1))
	if err := r.Node.Reload(); err != nil || r.Node.AdminAddr() != nil {
		t.Error(err, r.Node.AdminAddr())
	}
}

func TestAdminOnUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	r := coretest.Start(t, strings.NewReplacer("%s", "unix:"+socket, `, token: "%t"`, "").Replace(administered), http.NotFoundHandler(), coretest.Options{})
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport}
	for path, want := range map[string]int{"/health": 200, "/upstreams": 200, "/filters": 200, "/x": 404} {
		answer, err := client.Get("http://weir" + path)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Body.Close(); answer.StatusCode != want {
			t.Errorf("%s: %s", path, answer.Status)
		}
	}
	if r.Node.AdminAddr().Network() != "unix" {
		t.Error(r.Node.AdminAddr())
	}
}
