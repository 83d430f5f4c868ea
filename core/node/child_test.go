package node_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/node"
)

const childVariable = "WEIR_TEST_CHILD"

// serveInChild serves the configuration that the environment holds, with few file descriptors, until its input ends.
func serveInChild() bool {
	yaml := os.Getenv(childVariable)
	if yaml == "" {
		return false
	}
	if err := fewFiles(48); err != nil {
		fmt.Println(err)
		return true
	}
	n, err := node.Start(node.Options{
		Load: func() (*config.Spec, error) { return config.Parse("weir.yaml", []byte(yaml), nil) },
	})
	if err != nil {
		fmt.Println(err)
		return true
	}
	fmt.Println(n.Addresses()["127.0.0.1:0"])
	_, _ = io.Copy(io.Discard, os.Stdin)
	n.Drain()
	return true
}

// startChild starts a process that serves yaml with 48 file descriptors, and gives its address and its log.
func startChild(t *testing.T, yaml string) (address string, log *coretest.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), childVariable+"="+yaml)
	log = &coretest.Buffer{}
	child.Stderr = log
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := child.Wait(); err != nil {
			t.Errorf("%v\n%s", err, log.String())
		}
	})
	address, err = bufio.NewReader(out).ReadString('\n')
	if address = strings.TrimSpace(address); err != nil {
		t.Fatal(address, err)
	}
	return address, log
}

// exhaust opens connections to address until nobody there can accept another.
func exhaust(t *testing.T, address string, log *coretest.Buffer) (all []net.Conn) {
	t.Helper()
	for range 100 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	coretest.Eventually(t, "the listener is out of files", func() bool { return strings.Contains(log.String(), "too many open files") })
	return all
}

func TestServesAgainAfterRunningOutOfFiles(t *testing.T) {
	address, log := startChild(t, strings.Replace(numbered(5), "${UPSTREAM}", "127.0.0.1:1", 1))
	began := time.Now()
	all := exhaust(t, address, log)
	// Whenever a descriptor becomes free, accepting succeeds once and fails again. That is told at times, not each time.
	for _, c := range all[:40] {
		c.Close()
		again, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, again)
	}
	for _, c := range all {
		c.Close()
	}
	coretest.Eventually(t, "an answer", func() bool {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		defer c.Close()
		k := coretest.NewClient(t, c)
		k.Send("GET /n HTTP/1.1\r\nHost: a\r\n\r\n")
		_, body, err := coretest.ReadResponse(k.In, "GET")
		return err == nil && body == "5"
	})
	if lines, most := strings.Count(log.String(), "too many open files"), 1+int(time.Since(began)/(10*time.Second)); lines > most {
		t.Errorf("%d lines, want at most %d\n%s", lines, most, log.String())
	}
}

// TestOwnDescriptorsBlameNobody: what fails because weir has no descriptor left is not counted against the endpoint, whose
// breaker would open.
func TestOwnDescriptorsBlameNobody(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	defer up.Close()
	address, log := startChild(t, `version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
upstreams:
  api:
    endpoints: ["`+up.URL+`"]
    breaker: {consecutive_failures: 1}
routes: [{match: {path: /*}, auth: none, upstream: api}]
`)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	k := coretest.NewClient(t, c)
	ask := func() int {
		k.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		r, _, err := coretest.ReadResponse(k.In, "GET")
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode
	}
	all := exhaust(t, address, log)
	coretest.Eventually(t, "no connection to the upstream either", func() bool { return ask() == 503 })
	for _, c := range all {
		c.Close()
	}
	coretest.Eventually(t, "an answer", func() bool { return ask() == 200 })
	if strings.Contains(log.String(), "circuit breaker") {
		t.Error(log.String())
	}
}

func TestConnectionsCap(t *testing.T) {
	r := coretest.Start(t, strings.Replace(plain, "routes:", "guards: {connections: 3}\nroutes:", 1), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{})
	var all []*coretest.Client
	for range 3 {
		c := r.Client()
		c.Send(get)
		c.Answer("GET")
		all = append(all, c)
	}
	c := r.Client()
	if got, _ := c.Rest(); got != "" {
		t.Errorf("%q", got)
	}
	if m := grep(string(r.Node.Metrics()), "weir_connections{"); !strings.Contains(m, `state="refused"} 1`) || !strings.Contains(m, `state="open"} 3`) {
		t.Error(m)
	}
	all[0].Close()
	coretest.Eventually(t, "room for another", func() bool {
		c := r.Client()
		defer c.Close()
		c.Send(get)
		_, _, err := coretest.ReadResponse(c.In, "GET")
		return err == nil
	})
}
