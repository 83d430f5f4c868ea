package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// proxy is one running proxy under test.
type proxy struct {
	name    string
	version string
	url     string
	cmd     *exec.Cmd
}

// field is everything that runs: the backend and the proxies before it.
type field struct {
	backend *proxy
	proxies []*proxy
}

// rival says how a proxy is started. Its configuration in rivals/ does the same work as weir's: forwarding fields, a
// request id, keep-alive without end on both sides, no log.
type rival struct {
	name, program, config string
	args                  func(config string) []string
	version               []string
}

var rivals = []rival{
	{"weir", "", "weir.yaml", func(c string) []string { return []string{"run", "-c", c} }, []string{"version"}},
	{"nginx", "nginx", "nginx.conf", func(c string) []string { return []string{"-c", c, "-g", "daemon off;"} }, []string{"-v"}},
	{"haproxy", "haproxy", "haproxy.cfg", func(c string) []string { return []string{"-db", "-f", c} }, []string{"-v"}},
}

// start starts the backend, weir and every rival that is there.
func start(o options, tmp string, out io.Writer) (_ *field, err error) {
	f := &field{}
	defer func() {
		if err != nil {
			f.stop()
		}
	}()
	nginx, err := find("nginx")
	if err != nil {
		return nil, fmt.Errorf("nginx is needed as the backend; `make bench-tools` installs it")
	}
	backend := rival{"backend", "nginx", "backend.conf", rivals[1].args, rivals[1].version}
	if f.backend, err = launch(backend, nginx, tmp, ""); err != nil {
		return nil, err
	}
	for _, r := range rivals {
		program := o.weir
		if r.program != "" {
			if program, err = find(r.program); err != nil {
				fmt.Fprintf(out, "%s is not on this machine and is left out\n", r.name)
				continue
			}
		}
		p, err := launch(r, program, tmp, strings.TrimPrefix(f.backend.url, "http://"))
		if err != nil {
			return nil, err
		}
		f.proxies = append(f.proxies, p)
	}
	return f, nil
}

// launch writes the configuration, starts the program and waits until it answers.
func launch(r rival, program, tmp, backend string) (*proxy, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join("bench", "rivals", r.config))
	if err != nil {
		return nil, err
	}
	config := filepath.Join(tmp, r.name+filepath.Ext(r.config))
	filled := strings.NewReplacer("@PORT@", strconv.Itoa(port), "@BACKEND@", backend, "@TMP@", tmp, "@NAME@", r.name,
		"@CPUS@", strconv.Itoa(runtime.NumCPU())).Replace(string(text))
	if err := os.WriteFile(config, []byte(filled), 0o600); err != nil {
		return nil, err
	}
	p := &proxy{name: r.name, url: "http://127.0.0.1:" + strconv.Itoa(port)}
	if v, err := exec.Command(program, r.version...).CombinedOutput(); err == nil {
		p.version, _, _ = strings.Cut(strings.TrimSpace(string(v)), "\n")
	}
	p.cmd = exec.Command(program, r.args(config)...)
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", r.name, err)
	}
	return p, p.answers()
}

// answers waits until the proxy gives what the backend says.
func (p *proxy) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		req, _ := http.NewRequestWithContext(ctx, "GET", p.url, nil)
		answer, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("status %d", answer.StatusCode)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", p.name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends everything that was started, and waits for it.
func (f *field) stop() {
	for _, p := range append(slices.Clone(f.proxies), f.backend) {
		if p != nil && p.cmd.Process != nil {
			_ = p.cmd.Process.Signal(syscall.SIGTERM)
			_ = p.cmd.Wait()
		}
	}
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// find looks for a program, also where system daemons lie.
func find(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", exec.ErrNotFound
}
