package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
)

// TestUpgrade replaces a node under load by new processes of itself, a few times or as often as WEIR_UPGRADES says: no
// connection is refused or reset, on TCP, on a unix socket and on the admin side.
func TestUpgrade(t *testing.T) {
	times := 3
	if n, err := strconv.Atoi(os.Getenv("WEIR_UPGRADES")); err == nil {
		times = n
	}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer up.Close()
	dir, address, admin := t.TempDir(), freeAddress(t), freeAddress(t)
	path := filepath.Join(dir, "weir.sock")
	c := newChain(t, dir, `version: 1
access_log: {output: "off"}
listeners: [{address: "`+address+`"}, {address: "unix:`+path+`"}]
admin: {address: "`+admin+`"}
timeouts: {drain: 5s}
upstreams: {api: {endpoints: ["`+up.URL+`"]}}
routes: [{match: {path: /*}, auth: none, upstream: api}]
`)
	c.await("weir serves", func() bool { return strings.Contains(c.log(), `"message":"serving"`) })

	stop := make(chan struct{})
	var load sync.WaitGroup
	var requests, failed atomic.Int64
	var first sync.Once
	ask := func(network, to, target string) {
		for {
			select {
			case <-stop:
				return
			default:
			}
			requests.Add(1)
			if err := askOnce(network, to, target); err != nil {
				failed.Add(1)
				first.Do(func() { t.Errorf("%s %s%s: %v", network, to, target, err) })
			}
		}
	}
	for range 4 {
		load.Go(func() { ask("tcp", address, "/") })
	}
	load.Go(func() { ask("unix", path, "/") })
	load.Go(func() { ask("tcp", admin, "/health") })
	pids := map[int]bool{c.pid: true}
	for range times {
		c.upgrade()
		pids[c.pid] = true
	}
	close(stop)
	load.Wait()
	if len(pids) != times+1 || failed.Load() > 0 || requests.Load() < int64(10*times) {
		t.Errorf("%d processes for %d upgrades, %d of %d requests failed", len(pids), times, failed.Load(), requests.Load())
	}
	coretest.Score(t, "G4", "failed", float64(failed.Load()))
	t.Logf("%d upgrades, %d connections, %d failed", times, requests.Load(), failed.Load())
}

// TestUpgradeFails: a new process that can't serve changes nothing, and the path of the socket stays.
func TestUpgradeFails(t *testing.T) {
	dir, address := t.TempDir(), freeAddress(t)
	good := `version: 1
listeners: [{address: "` + address + `"}]
routes: [{match: {path: /*}, auth: none, respond: {body: ok}}]
`
	c := newChain(t, dir, good)
	c.await("weir listens", func() bool { return listens(address) })
	writeFile(t, c.config, strings.Replace(good, "respond", "respnd", 1))
	c.signal(syscall.SIGUSR2)
	c.await("the failure is told", func() bool { return strings.Contains(c.log(), "hand-over failed; this process goes on") })
	if !strings.Contains(c.log(), `did you mean "respond"?`) {
		t.Errorf("the reason is not told:\n%s", c.log())
	}
	if err := askOnce("tcp", address, "/"); err != nil {
		t.Error(err)
	}
	writeFile(t, c.config, good)
	old := c.pid
	c.upgrade()
	if err := askOnce("tcp", address, "/"); err != nil || c.pid == old {
		t.Error(err, c.pid)
	}
}

// TestUpgradeFailsLate: a new process that has taken the sockets over and fails then leaves them as they were, paths of unix
// sockets included.
func TestUpgradeFailsLate(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	path, admin := filepath.Join(dir, "weir.sock"), filepath.Join(dir, "admin.sock")
	good := `version: 1
listeners: [{address: "unix:` + path + `"}]
admin: {address: "unix:` + admin + `"}
routes: [{match: {path: /*}, auth: none, respond: {body: ok}}]
`
	c := newChain(t, dir, good)
	c.await("weir serves", func() bool { return strings.Contains(c.log(), `"message":"serving"`) })
	writeFile(t, c.config, strings.Replace(good, "]", `, {address: "`+taken.Addr().String()+`"}]`, 1))
	c.signal(syscall.SIGUSR2)
	c.await("the failure is told", func() bool { return strings.Contains(c.log(), "hand-over failed; this process goes on") })
	if err := askOnce("unix", path, "/"); err != nil {
		t.Error(err)
	}
	if err := askOnce("unix", admin, "/health"); err != nil {
		t.Error(err)
	}
	writeFile(t, c.config, good)
	c.upgrade()
	if err := askOnce("unix", path, "/"); err != nil {
		t.Error(err)
	}
	c.signal(syscall.SIGTERM)
	c.await("the path goes with the last", func() bool { _, err := os.Lstat(path); return err != nil })
}

// TestStopDuringUpgrade: SIGTERM means the new process, too, while it does not serve yet, and waits for nobody.
func TestStopDuringUpgrade(t *testing.T) {
	dir, address := t.TempDir(), freeAddress(t)
	c := newChain(t, dir, `version: 1
listeners: [{address: "`+address+`"}]
routes: [{match: {path: /*}, auth: none, respond: {body: ok}}]
`)
	c.await("weir serves", func() bool { return strings.Contains(c.log(), `"message":"serving"`) })
	if err := os.Remove(c.config); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(c.config, 0o600); err != nil { // who reads it waits
		t.Fatal(err)
	}
	c.signal(syscall.SIGUSR2)
	child := 0
	c.await("the new process has begun", func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", c.pid))
		for _, children := range tasks {
			text, _ := os.ReadFile(children)
			if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				child = n
			}
		}
		return child != 0
	})
	defer func() { _ = syscall.Kill(child, syscall.SIGKILL) }()
	began := time.Now()
	c.signal(syscall.SIGTERM)
	c.await("both have ended", func() bool { return syscall.Kill(c.pid, 0) != nil && syscall.Kill(child, 0) != nil })
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("after %s", took)
	}
}

// TestUpgradeAdmin: while the old process drains, the admin side is the new one's alone: it is ready.
func TestUpgradeAdmin(t *testing.T) {
	began, end := make(chan struct{}), make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-end
	}))
	defer up.Close()
	dir, address, admin := t.TempDir(), freeAddress(t), freeAddress(t)
	c := newChain(t, dir, `version: 1
listeners: [{address: "`+address+`"}]
admin: {address: "`+admin+`"}
timeouts: {drain: 20s}
upstreams: {api: {endpoints: ["`+up.URL+`"]}}
routes: [{match: {path: /*}, auth: none, upstream: api}]
`)
	c.await("weir serves", func() bool { return strings.Contains(c.log(), `"message":"serving"`) })
	asked := make(chan error, 1)
	go func() { asked <- askOnce("tcp", address, "/") }()
	<-began
	c.upgrades++
	old := c.pid
	defer func() { _ = syscall.Kill(old, syscall.SIGKILL) }()
	c.signal(syscall.SIGUSR2)
	c.await("the old process drains", func() bool { return strings.Contains(c.log(), `"message":"draining"`) })
	for range 100 {
		if err := askOnce("tcp", admin, "/health/ready"); err != nil {
			t.Error(err)
			break
		}
	}
	close(end)
	if err := <-asked; err != nil {
		t.Error(err)
	}
	c.await("the old process has ended", func() bool { return syscall.Kill(old, 0) != nil })
	_, pid, _ := strings.Cut(c.log(), `"pid":`)
	pid, _, _ = strings.Cut(pid, ",")
	c.pid, _ = strconv.Atoi(pid)
}

// TestSocketActivation starts weir as systemd would: with listening sockets, their names and nothing to bind.
func TestSocketActivation(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "weir.yaml")
	writeFile(t, config, `version: 1
listeners: [{address: "systemd:web"}]
routes: [{match: {path: /*}, auth: none, respond: {body: ok}}]
`)
	// LISTEN_PID is the process' own number, which only a shell in its place knows beforehand.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" run -c "$1"`, os.Args[0], config)
	cmd.Env = append(os.Environ(), asWeir+"=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=web")
	cmd.ExtraFiles = []*os.File{file}
	c := startChain(t, dir, cmd)
	// The connection waits in the queue until weir has started: that is what the socket was opened before for.
	if err := askOnce("tcp", ln.Addr().String(), "/"); err != nil {
		t.Fatal(err, c.log())
	}
	c.upgrade()
	if err := askOnce("tcp", ln.Addr().String(), "/"); err != nil {
		t.Fatal(err, c.log())
	}

	p := startWeir(t, nil, "run", "-c", config)
	if code := p.exit(10 * time.Second); code == 0 || !strings.Contains(p.stderr.String(), `weir.yaml:2:13: listeners[0]: listen on systemd:web: systemd has given no socket of this name`) {
		t.Errorf("%d: %s", code, p.stderr.String())
	}
}

// askOnce asks over a connection of its own. Any failure but a proper answer is an error.
func askOnce(network, address, target string) error {
	nc, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", target); err != nil {
		return err
	}
	answer, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.ReadAll(answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != 200 {
		return errors.New(answer.Status)
	}
	return nil
}

// chain is a weir and the processes that replace it, one after the other.
type chain struct {
	t           *testing.T
	config, out string
	pid         int
	upgrades    int
}

// newChain starts the first.
func newChain(t *testing.T, dir, text string) *chain {
	config := filepath.Join(dir, "weir.yaml")
	writeFile(t, config, text)
	cmd := exec.Command(os.Args[0], "run", "-c", config)
	cmd.Env = append(os.Environ(), asWeir+"=1")
	return startChain(t, dir, cmd)
}

func startChain(t *testing.T, dir string, cmd *exec.Cmd) *chain {
	c := &chain{t: t, config: filepath.Join(dir, "weir.yaml"), out: filepath.Join(dir, "log")}
	log, err := os.Create(c.out)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log // files, for they outlive the process
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	c.pid = cmd.Process.Pid
	t.Cleanup(func() { _ = syscall.Kill(c.pid, syscall.SIGKILL) })
	return c
}

func (c *chain) log() string {
	text, _ := os.ReadFile(c.out)
	return string(text)
}

func (c *chain) signal(s syscall.Signal) {
	if err := syscall.Kill(c.pid, s); err != nil {
		c.t.Fatal(err)
	}
}

func (c *chain) await(what string, f func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if f() {
			return
		}
	}
	c.t.Fatalf("not within 15 s: %s\n%s", what, c.log())
}

// upgrade has the process replaced, and waits until the old one has gone.
func (c *chain) upgrade() {
	c.t.Helper()
	old := c.pid
	c.upgrades++
	c.signal(syscall.SIGUSR2)
	c.await("the new process serves", func() bool {
		told := strings.Split(c.log(), `"message":"handed over; draining"`)
		if len(told) <= c.upgrades {
			return false
		}
		_, pid, _ := strings.Cut(told[c.upgrades-1][strings.LastIndexByte(told[c.upgrades-1], '\n')+1:], `"pid":`)
		pid, _, _ = strings.Cut(pid, ",")
		n, err := strconv.Atoi(pid)
		if err == nil {
			c.pid = n
		}
		return err == nil
	})
	c.await("the old process has ended", func() bool { return syscall.Kill(old, 0) != nil })
}
