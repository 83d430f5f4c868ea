package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSignals walks through a node's life by signals: a bad file on reload changes nothing and is told with its place, a
// good one is served, log files are reopened, SIGTERM drains, a second one ends at once.
func TestSignals(t *testing.T) {
	held, asked := make(chan struct{}), make(chan struct{}, 1)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			asked <- struct{}{}
			<-held
		}
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	defer up.Close()
	defer close(held)
	dir, address, admin := t.TempDir(), freeAddress(t), freeAddress(t)
	file, log := filepath.Join(dir, "weir.yaml"), filepath.Join(dir, "access.log")
	text := func(path string) string {
		return `version: 1
access_log: {output: access.log}
listeners: [{address: "` + address + `"}]
admin: {address: "` + admin + `"}
timeouts: {drain: 30s}
upstreams: {api: {endpoints: ["` + up.URL + `"]}}
routes:
  - {name: one, match: {path: ` + path + `}, auth: none, upstream: api}
  - {name: held, match: {path: /held}, auth: none, upstream: api}
`
	}
	writeFile(t, file, text("/one"))
	p := startWeir(t, nil, "run", "-c", file)
	p.wait("weir listens", func() bool { return listens(address) && listens(admin) })
	status := func(path string) int {
		answer, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	if one, two := status("/one"), status("/two"); one != 200 || two != 404 {
		t.Fatalf("%d %d", one, two)
	}

	writeFile(t, file, strings.Replace(text("/two"), "upstream: api", "upstream: apl", 1))
	p.signal(syscall.SIGHUP)
	p.wait("the refusal is told", func() bool {
		return strings.Contains(p.stderr.String(), `weir.yaml:8:60: routes[0].upstream: there is no upstream \"apl\"; did you mean \"api\"?`)
	})
	if one, two := status("/one"), status("/two"); one != 200 || two != 404 {
		t.Errorf("after a bad file: %d %d", one, two)
	}
	if n := count(t, admin, "weir_config_last_reload_successful"); n != 0 {
		t.Errorf("weir_config_last_reload_successful %v", n)
	}

	writeFile(t, file, text("/two"))
	p.signal(syscall.SIGHUP)
	p.wait("the new route", func() bool { return status("/two") == 200 && status("/one") == 404 })

	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGUSR1)
	p.wait("a new log file", func() bool { _, err := os.Stat(log); return err == nil })
	status("/two?after=1")
	p.wait("a line in it", func() bool { b, _ := os.ReadFile(log); return strings.Contains(string(b), "after=1") })

	go func() {
		if answer, err := http.Get("http://" + address + "/held"); err == nil {
			answer.Body.Close()
		}
	}()
	<-asked
	p.signal(syscall.SIGTERM)
	p.wait("not ready while draining", func() bool {
		answer, err := http.Get("http://" + admin + "/health/ready")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusServiceUnavailable
	})
	if listens(address) {
		t.Error("still accepts while draining")
	}
	p.signal(syscall.SIGTERM)
	if code := p.exit(5 * time.Second); code != 1 {
		t.Errorf("exit status %d after a second SIGTERM", code)
	}
}
