package node_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

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

func TestServesAgainAfterRunningOutOfFiles(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), childVariable+"="+strings.Replace(numbered(5), "${UPSTREAM}", "127.0.0.1:1", 1))
	child.Stderr = os.Stderr
	var log coretest.Buffer
	child.Stderr = &log
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
	defer func() {
		in.Close()
		if err := child.Wait(); err != nil {
			t.Errorf("%v\n%s", err, log.String())
		}
	}()
	address, err := bufio.NewReader(out).ReadString('\n')
	if address = strings.TrimSpace(address); err != nil {
		t.Fatal(address, err)
	}
	var all []net.Conn
	for range 100 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	coretest.Eventually(t, "the listener is out of files", func() bool { return strings.Contains(log.String(), "too many open files") })
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
