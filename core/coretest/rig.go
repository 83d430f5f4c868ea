package coretest

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/node"
)

// Rig is a running weir before an upstream, on loopback sockets of the system's choice.
type Rig struct {
	T        testing.TB
	Node     *node.Node
	Upstream *httptest.Server
	File     string // the configuration's; write it and call Reload
	Address  string // of the first listener
	URL      string
	Log      *Buffer // process log
	Access   *Buffer // access log, if it goes to stdout
}

// Options of a Rig.
type Options struct {
	Kinds []filter.Kind
	// Filters lists those that are loaded, for the admin side.
	Filters func() []filter.Status
	// Figures appends metrics that filters count.
	Figures func(dst []byte) []byte
	Env     map[string]string // UPSTREAM among them for a Rig without a handler
	Files   map[string]string // beside the configuration, by name

	Discard bool // what the access log has for stdout goes nowhere
}

// Start serves the configuration, in which ${UPSTREAM} is the upstream's host:port, and ends it with the test. A nil
// handler is no upstream.
func Start(t testing.TB, yaml string, handler http.Handler, o Options) *Rig {
	t.Helper()
	r := &Rig{T: t, File: filepath.Join(t.TempDir(), "weir.yaml"), Log: &Buffer{}, Access: &Buffer{}}
	variables := map[string]string{}
	maps.Copy(variables, o.Env)
	if handler != nil {
		r.Upstream = httptest.NewServer(handler)
		t.Cleanup(r.Upstream.Close)
		variables["UPSTREAM"] = r.Upstream.Listener.Addr().String()
	}
	r.Write(yaml)
	for name, text := range o.Files {
		if err := os.WriteFile(filepath.Join(filepath.Dir(r.File), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := func(name string) (string, bool) {
		v, ok := variables[name]
		return v, ok
	}
	stdout := io.Writer(r.Access)
	if o.Discard {
		stdout = io.Discard
	}
	n, err := node.Start(node.Options{
		Load:  func() (*config.Spec, error) { return config.Load(r.File, env) },
		Kinds: o.Kinds, Filters: o.Filters, Figures: o.Figures, Log: r.Log, Stdout: stdout,
	})
	if err != nil {
		t.Fatalf("start weir:\n%v", err)
	}
	r.Node = n
	t.Cleanup(func() { n.Drain() })
	r.Address = n.Addresses()[n.Plan().Listeners[0].Key].String()
	r.URL = "http://" + r.Address
	return r
}

// Write replaces the configuration file, in one step as an operator's tool would.
func (r *Rig) Write(yaml string) {
	r.T.Helper()
	next := r.File + ".next"
	if err := os.WriteFile(next, []byte(yaml), 0o600); err != nil {
		r.T.Fatal(err)
	}
	before := time.Now().Add(-time.Second) // what was written just now would be waited for
	if err := os.Chtimes(next, before, before); err != nil {
		r.T.Fatal(err)
	}
	if err := os.Rename(next, r.File); err != nil {
		r.T.Fatal(err)
	}
}

// Raw sends bytes over a connection of its own and gives everything that comes back until weir closes or nothing has
// come for wait.
func (r *Rig) Raw(request string, wait time.Duration) string {
	r.T.Helper()
	c := r.Dial()
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		r.T.Fatal(err)
	}
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		_ = c.SetReadDeadline(time.Now().Add(wait))
		n, err := c.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

// Dial opens a connection to weir.
func (r *Rig) Dial() net.Conn {
	r.T.Helper()
	c, err := net.Dial("tcp", r.Address)
	if err != nil {
		r.T.Fatal(err)
	}
	return c
}

// Get asks for a path and gives status, header and body.
func (r *Rig) Get(path string, header ...string) (int, http.Header, string) {
	r.T.Helper()
	return r.Do("GET", path, "", header...)
}

// Do sends a request over the default client; header is name, value, ….
func (r *Rig) Do(method, path, body string, header ...string) (int, http.Header, string) {
	r.T.Helper()
	req, err := http.NewRequest(method, r.URL+path, strings.NewReader(body))
	if err != nil {
		r.T.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Add(header[i], header[i+1])
	}
	answer, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.T.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		r.T.Fatalf("read answer: %v", err)
	}
	return answer.StatusCode, answer.Header, string(got)
}

// ReadResponse reads one answer off a raw connection.
func ReadResponse(br *bufio.Reader, method string) (*http.Response, string, error) {
	answer, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(answer.Body)
	return answer, string(body), err
}
