package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is weir as a process of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout output
	stderr output
	done   chan struct{}
	code   int
}

// output collects what a process prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// startWeir runs weir with the arguments; the process is killed with the test if it still runs.
func startWeir(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], args...), done: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), asWeir+"=1"), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	return p
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %v: %v\n%s", s, err, p.stderr.String())
	}
}

// exit waits for the end and gives the exit status.
func (p *process) exit(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.code
	case <-time.After(within):
		p.t.Fatalf("still running after %s\n%s", within, p.stderr.String())
		return -1
	}
}

// wait waits until f holds.
func (p *process) wait(what string, f func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	p.t.Fatalf("not within 15 s: %s\nstdout:\n%s\nstderr:\n%s", what, p.stdout.String(), p.stderr.String())
}

// resources are what a leak would raise.
type resources struct{ rss, peak, fds int } // KiB, and a number

// resources reads /proc.
func (p *process) resources() (r resources) {
	dir := "/proc/" + strconv.Itoa(p.cmd.Process.Pid)
	fds, _ := os.ReadDir(dir + "/fd")
	r.fds = len(fds)
	status, _ := os.ReadFile(dir + "/status")
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			r.rss, _ = strconv.Atoi(strings.Fields(kb)[0])
		}
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			r.peak, _ = strconv.Atoi(strings.Fields(kb)[0])
		}
	}
	return r
}

// freeAddress is a loopback address nobody listens on at this moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// buildFilter builds an example's filter with stock Go, and gives its file.
func buildFilter(t *testing.T, example string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "filter.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, ".")
	cmd.Dir = filepath.Join("..", "..", "examples", example)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", example, err, text)
	}
	return file
}

// writeFile puts text in the file's place in one step.
func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".next", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".next", file); err != nil {
		t.Fatal(fmt.Errorf("replace: %w", err))
	}
}
