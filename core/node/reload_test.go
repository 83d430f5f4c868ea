package node_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

// numbered is a configuration whose /n answers n, with a proxied route beside it.
func numbered(n int) string {
	return fmt.Sprintf(`
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {name: n, match: {path: /n}, auth: none, respond: {body: "%d"}}
  - {name: all, match: {path: /*}, auth: none, upstream: api}
`, n)
}

func mustReload(t *testing.T, r *coretest.Rig, yaml string) {
	t.Helper()
	r.Write(yaml)
	if err := r.Node.Reload(); err != nil {
		t.Fatal(err)
	}
}

func TestReloadUnderLoad(t *testing.T) {
	r := coretest.Start(t, numbered(0), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(append([]byte(r.URL.Path+" "), b...))
	}), coretest.Options{})
	var stop atomic.Bool
	var served, failed atomic.Int64
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for n := 0; !stop.Load(); n++ {
				body := strings.Repeat("x", n%3000)
				path := fmt.Sprintf("/%d/%d", i, n)
				answer, err := client.Post(r.URL+path, "text/plain", strings.NewReader(body))
				if err != nil {
					failed.Add(1)
					t.Error(err)
					return
				}
				got, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil || answer.StatusCode != 200 || string(got) != path+" "+body {
					failed.Add(1)
					t.Errorf("%d %v: %.50q", answer.StatusCode, err, got)
					return
				}
				served.Add(1)
			}
		})
	}
	first := r.Node.Plan()
	for n := 1; n <= 100; n++ {
		old := r.Node.Plan()
		mustReload(t, r, numbered(n))
		if _, _, body := r.Get("/n"); body != fmt.Sprint(n) {
			t.Fatalf("after reload %d: %q", n, body)
		}
		if n%10 == 0 {
			<-old.Closed()
		}
	}
	<-first.Closed()
	coretest.Eventually(t, "load", func() bool { return served.Load() > 300 || failed.Load() > 0 })
	stop.Store(true)
	wg.Wait()
	if failed.Load() != 0 {
		t.Errorf("%d of %d failed", failed.Load(), served.Load())
	}
}

func TestNothingPilesUp(t *testing.T) {
	r := coretest.Start(t, numbered(0), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{})
	reload := func(n int) {
		for i := range n {
			old := r.Node.Plan()
			mustReload(t, r, numbered(i%2))
			r.Get("/")
			<-old.Closed()
		}
	}
	fds := func() int {
		all, _ := os.ReadDir("/proc/self/fd")
		return len(all)
	}
	reload(20)
	goroutines, files, series := runtime.NumGoroutine(), fds(), strings.Count(string(r.Node.Metrics()), "\n")
	reload(200)
	coretest.Eventually(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= goroutines+3 })
	if now := fds(); now > files+3 {
		t.Errorf("%d file descriptors, before %d", now, files)
	}
	if now := strings.Count(string(r.Node.Metrics()), "\n"); now > series+2 {
		t.Errorf("%d lines of metrics, before %d", now, series)
	}
}

func TestBadPlanChangesNothing(t *testing.T) {
	r := coretest.Start(t, numbered(7), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{})
	before := r.Node.Plan()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	f := func(yaml, want string) {
		t.Helper()
		r.Write(yaml)
		err := r.Node.Reload()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if r.Node.Plan() != before {
			t.Error("another plan")
		}
		if _, _, body := r.Get("/n"); body != "7" {
			t.Errorf("%q", body)
		}
		if m := string(r.Node.Metrics()); !strings.Contains(m, "weir_config_last_reload_successful 0") {
			t.Error(grep(m, "reload"))
		}
	}
	ok := numbered(8)
	f("version: 1\nroutes: [", "weir.yaml:2")
	f(strings.Replace(ok, "upstream: api", "upstream: apy", 1), `weir.yaml:8:`)
	f(strings.Replace(ok, `"127.0.0.1:0"`, fmt.Sprintf(`"127.0.0.1:0"}, {address: "127.0.0.1:0"}, {address: %q`, taken.Addr()), 1),
		"weir.yaml:4:65: listeners[2]: listen on "+taken.Addr().String()+": bind: address already in use")
	f(strings.Replace(ok, `"127.0.0.1:0"`, `"127.0.0.1:0", tls: {certificates: [{cert: none.crt, key: none.key}]}`, 1), "none.crt")
	f(strings.Replace(ok, `access_log: {output: "off"}`, `access_log: {output: "none/access.log"}`, 1), "weir.yaml:3:22: access_log.output: open log ")
	f(strings.Replace(ok, "path: /n", "path: /a*b", 1), "weir.yaml:7:")
	f(ok+"admin: {address: \""+taken.Addr().String()+"\"}\n", "listen on "+taken.Addr().String()+": bind: address already in use")
	if err := os.Remove(r.File); err != nil {
		t.Fatal(err)
	}
	if err := r.Node.Reload(); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	mustReload(t, r, ok)
	if m := string(r.Node.Metrics()); !strings.Contains(m, "weir_config_last_reload_successful 1") || !strings.Contains(m, "weir_reload_errors_total 8") {
		t.Error(grep(m, "reload"))
	}
	if !strings.Contains(r.Log.String(), "reload refused") {
		coretest.Eventually(t, "a word in the log", func() bool { return strings.Contains(r.Log.String(), "reload refused") })
	}
}

func TestListenersComeAndGo(t *testing.T) {
	dir := t.TempDir()
	with := func(more string) string {
		return strings.Replace(numbered(1), `"127.0.0.1:0"}`, `"127.0.0.1:0"}`+more, 1)
	}
	r := coretest.Start(t, with(""), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{})
	kept := r.Client()
	ask := func(c *coretest.Client) (*http.Response, error) {
		c.Send("GET /n HTTP/1.1\r\nHost: a\r\n\r\n")
		answer, _, err := coretest.ReadResponse(c.In, "GET")
		return answer, err
	}
	if _, err := ask(kept); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	// A socket that a dead process left behind is taken over.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	mustReload(t, r, with(`, {address: "127.0.0.1:0"}, {address: "unix:`+socket+`"}`))
	if n := len(r.Node.Addresses()); n != 3 {
		t.Fatal(r.Node.Addresses())
	}
	for _, a := range r.Node.Addresses() {
		coretest.Eventually(t, "the reload tells of "+a.String(), func() bool {
			_, said, _ := strings.Cut(r.Log.String(), `"message":"serving"`)
			return strings.Contains(said, a.String())
		})
	}
	if a := r.Node.Addresses()["127.0.0.1:0"].String(); a != r.Address {
		t.Errorf("moved from %s to %s", r.Address, a)
	}
	second := r.Node.Addresses()["127.0.0.1:0#2"].String()
	nc, err := net.Dial("tcp", second)
	if err != nil {
		t.Fatal(err)
	}
	idle := coretest.NewClient(t, nc)
	defer idle.Close()
	unix, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	for _, c := range []*coretest.Client{kept, idle, coretest.NewClient(t, unix)} {
		if answer, err := ask(c); err != nil || answer.StatusCode != 200 {
			t.Error(answer, err)
		}
	}
	// Another process' socket, and what is no socket, are left alone.
	busy := filepath.Join(dir, "busy")
	other, err := net.Listen("unix", busy)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	plainFile := filepath.Join(dir, "file")
	if err := os.WriteFile(plainFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{busy, plainFile} {
		r.Write(with(`, {address: "unix:` + path + `"}`))
		if err := r.Node.Reload(); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("%s: %v", path, err)
		}
	}
	mustReload(t, r, with(""))
	if _, err := net.Dial("tcp", second); err == nil {
		t.Error("the removed address accepts")
	}
	// Its idle connections are closed, those of the others stay.
	if _, err := idle.Rest(); err != nil {
		t.Error(err)
	}
	if _, err := ask(kept); err != nil {
		t.Error(err)
	}
}

func TestStateSurvivesReload(t *testing.T) {
	yaml := `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
upstreams: {api: {endpoints: ["http://${UPSTREAM}"], breaker: {consecutive_failures: 2, open_for: 1h}}}
routes:
  - {name: l, match: {path: /limited}, auth: none, respond: {status: 204}, limits: [{key: ip, rate: 3/h}]}
  - {name: all, match: {path: /*}, auth: none, upstream: api}
`
	var hits atomic.Int64
	r := coretest.Start(t, yaml, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		w.WriteHeader(503)
	}), coretest.Options{})
	for range 2 {
		r.Get("/")
		r.Get("/limited")
	}
	for range 5 {
		mustReload(t, r, yaml+"# another\n")
	}
	if status, _, _ := r.Get("/limited"); status != 204 {
		t.Error(status)
	}
	if status, _, _ := r.Get("/limited"); status != 429 {
		t.Error(status)
	}
	r.Get("/")
	if hits.Load() != 2 {
		t.Errorf("the breaker let %d through", hits.Load())
	}
	// Another policy is another breaker.
	mustReload(t, r, strings.Replace(yaml, "consecutive_failures: 2", "consecutive_failures: 3", 1))
	r.Get("/")
	if hits.Load() != 3 {
		t.Errorf("%d hits", hits.Load())
	}
}

func TestAccessLogMoves(t *testing.T) {
	file := strings.Replace(numbered(1), `"off"`, "a.log", 1)
	r := coretest.Start(t, numbered(0), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{})
	if err := r.Node.ReopenLogs(); err != nil {
		t.Error(err)
	}
	mustReload(t, r, file)
	r.Get("/in-a")
	log := filepath.Join(filepath.Dir(r.File), "a.log")
	read := func(want string) func() bool {
		return func() bool {
			b, _ := os.ReadFile(log)
			return strings.Contains(string(b), want)
		}
	}
	coretest.Eventually(t, "a line in a.log", read("/in-a"))
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := r.Node.ReopenLogs(); err != nil {
		t.Error(err)
	}
	r.Get("/anew")
	coretest.Eventually(t, "a line in the new a.log", read("/anew"))
	mustReload(t, r, strings.Replace(numbered(2), `"off"`, "stdout", 1))
	r.Get("/on-stdout")
	coretest.Eventually(t, "a line on stdout", func() bool { return strings.Contains(r.Access.String(), "/on-stdout") })
	mustReload(t, r, strings.Replace(numbered(2), `"off"`, "stdout}\nlog: {level: error", 1))
}
