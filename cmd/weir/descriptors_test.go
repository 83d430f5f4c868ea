package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
)

// TestDescriptors: with 256 file descriptors and 1,000 clients weir takes no more than it can, and serves again as soon as
// they have gone.
func TestDescriptors(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("ok")) }))
	defer up.Close()
	dir, address := t.TempDir(), freeAddress(t)
	writeFile(t, dir+"/weir.yaml", `version: 1
access_log: {output: "off"}
listeners: [{address: "`+address+`"}]
upstreams: {api: {endpoints: ["`+up.URL+`"]}}
routes: [{match: {path: /*}, auth: none, upstream: api}]
`)
	cmd := exec.Command("/bin/sh", "-c", `ulimit -n 256; exec "$0" run -c "$1"`, os.Args[0], dir+"/weir.yaml")
	cmd.Env = append(os.Environ(), asWeir+"=1")
	c := startChain(t, dir, cmd)
	c.await("weir listens", func() bool { return listens(address) })
	var held []net.Conn
	for range 1000 {
		nc, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			break // the queue of the kernel is full
		}
		held = append(held, nc)
	}
	if len(held) < 300 {
		t.Fatalf("only %d connections", len(held))
	}
	c.await("weir has run out of descriptors", func() bool { return openFiles(c.pid) > 240 })
	for _, nc := range held {
		_ = nc.Close()
	}
	began := time.Now()
	if err := askOnce("tcp", address, "/"); err != nil {
		t.Fatalf("%v\n%s", err, c.log())
	}
	coretest.Score(t, "C2", "recovery", time.Since(began).Seconds())
	t.Logf("%d connections; served again %s after they had closed", len(held), time.Since(began).Round(time.Millisecond))
}

// openFiles counts a process' file descriptors.
func openFiles(pid int) int {
	p := process{cmd: &exec.Cmd{Process: &os.Process{Pid: pid}}}
	return p.resources().fds
}
