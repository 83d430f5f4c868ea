package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// program says how a proxy is started; its configuration lies beside this file.
type program struct {
	name, config string
	args         func(config string) []string
	version      []string
}

var programs = []program{
	{"weir", "weir.yaml", func(c string) []string { return []string{"run", "-c", c} }, []string{"version"}},
	{"haproxy", "haproxy.cfg", func(c string) []string { return []string{"-db", "-f", c} }, []string{"-v"}},
	{"nginx", "nginx.conf", func(c string) []string { return []string{"-c", c, "-g", "daemon off;"} }, []string{"-v"}},
}

// running is a started proxy.
type running struct {
	version string
	address string
	cmd     *exec.Cmd
}

// launch starts p before the origin and waits until it listens.
func (p *program) launch(path, dir, tmp, origin string) (*running, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, p.config))
	if err != nil {
		return nil, err
	}
	config := filepath.Join(tmp, p.config)
	filled := strings.NewReplacer("@PORT@", strconv.Itoa(port), "@ORIGIN@", origin, "@TMP@", tmp).Replace(string(text))
	if err := os.WriteFile(config, []byte(filled), 0o600); err != nil {
		return nil, err
	}
	r := &running{address: "127.0.0.1:" + strconv.Itoa(port)}
	if v, err := exec.Command(path, p.version...).CombinedOutput(); err == nil {
		r.version, _, _ = strings.Cut(strings.TrimSpace(string(v)), "\n")
	}
	r.cmd = exec.Command(path, p.args(config)...)
	r.cmd.Stderr = os.Stderr
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", r.address)
		if err == nil {
			return r, c.Close()
		}
		if time.Now().After(deadline) {
			r.stop()
			return nil, fmt.Errorf("%s does not listen: %w", p.name, err)
		}
	}
}

func (r *running) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	gone := make(chan struct{})
	go func() {
		_ = r.cmd.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		_ = r.cmd.Process.Kill()
		<-gone
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
