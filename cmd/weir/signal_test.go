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
	p.wait("nothing accepted any more", func() bool { return !listens(address) })
	p.signal(syscall.SIGUSR1) // must wait for the end of the drain, and what comes after it must not
	time.Sleep(50 * time.Millisecond)
	p.signal(syscall.SIGTERM)
	if code := p.exit(5 * time.Second); code != 1 {
		t.Errorf("exit status %d after a second SIGTERM", code)
	}
}

// TestSignalsWhileStarting: one that asks for a reload does not end a node that has not read its configuration yet, and a
// storm of them does not drown the one that ends it. The configuration is a pipe, so that reading it lasts as long as it must.
func TestSignalsWhileStarting(t *testing.T) {
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	text := "version: 1\nlisteners: [{address: \"" + freeAddress(t) + "\"}]\nroutes: [{name: all, match: {path: /*}, auth: none, respond: {status: 200}}]\n"
	p := startWeir(t, nil, "run", "-c", file)
	var w *os.File
	reads := func() (err error) { // somebody has it open
		w, err = os.OpenFile(file, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		return err
	}
	feed := func() {
		_, _ = io.WriteString(w, text)
		w.Close()
		time.Sleep(50 * time.Millisecond) // or the next text would be a part of this one
	}
	p.wait("the configuration is read", func() bool { return reads() == nil })
	p.signal(syscall.SIGHUP)
	time.Sleep(10 * time.Millisecond)
	feed()
	p.wait("the node reads it too", func() bool { return reads() == nil })
	for range 50 {
		p.signal(syscall.SIGHUP)
		time.Sleep(time.Millisecond) // or many would be one
	}
	p.signal(syscall.SIGTERM)
	time.Sleep(10 * time.Millisecond)
	feed()
	p.wait("the node ends, after a reload or two", func() bool {
		if reads() == nil {
			feed()
		}
		select {
		case <-p.done:
			return true
		default:
			return false
		}
	})
	if p.code != 0 {
		t.Errorf("exit status %d: %s", p.code, p.stderr.String())
	}
}
