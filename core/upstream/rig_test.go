package upstream_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/upstream"
	"github.com/weirproxy/weir/core/wire"
)

// down is a client that is told interim answers, and nothing else by this package.
type down struct {
	mu       sync.Mutex
	informed []string
	on       func()
}

func (d *down) Inform(x *exchange.Exchange) error {
	if d.on != nil {
		d.on()
	}
	var b strings.Builder
	b.Write(wire.AppendResponse(nil, x, 0, false))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.informed = append(d.informed, b.String())
	return nil
}

func (d *down) WriteHead(*exchange.Exchange, int64) error { panic("not the engine's") }
func (d *down) WriteBody([]byte, bool) error              { panic("not the engine's") }
func (d *down) Finish(*exchange.Header) error             { panic("not the engine's") }
func (d *down) Abort()                                    { panic("not the engine's") }
func (d *down) Tunnel() (exchange.Pipe, []byte, error)    { panic("not the engine's") }

// part is a body that comes in pieces and is never known to be at hand.
type part struct{ io.Reader }

func (part) Whole() bool { return false }

// request is what a client asks. A body goes out at once; stream makes it one of unknown length that is pulled.
type request struct {
	method, target string
	body           string
	stream         io.Reader
	fields         []string // name, value, …
	trailer        []string // the same, after a stream
	down           *down
	client         exchange.Client
	cancel         func(exchange.Handle) // is given the exchange's handle before it is sent
	trailers       bool
	link           exchange.Link // the client's connection
	seen           func([]byte)  // is given the body's pieces as they come
}

// linkFunc is a client's connection of which only this is known: how reading from it ends.
type linkFunc func()

func (f linkFunc) Abort()     { f() }
func (f linkFunc) AbortRead() { f() }

// answer is what became of it.
type answer struct {
	status  int
	header  string // its fields as lines
	body    string
	trailer string
	err     error
	tries   int
}

func (a answer) String() string {
	return fmt.Sprintf("%d after %d tries, %q %q %q: %v", a.status, a.tries, a.header, a.body[:min(len(a.body), 50)], a.trailer, a.err)
}

func (a answer) kind() fault.Kind { return fault.KindOf(a.err) }

// ask sends one request by u and reads the answer to its end, as the proxy does.
func ask(u *upstream.Upstream, r request) (a answer) {
	x := exchange.Acquire()
	defer exchange.Release(x)
	q := &x.Request
	q.Version, q.Trailers = exchange.HTTP11, r.trailers
	q.Method, q.Target = []byte(r.method), []byte(r.target)
	if r.method == "" {
		q.Method = []byte("GET")
	}
	if r.target == "" {
		q.Target = []byte("/")
	}
	for i := 0; i+1 < len(r.fields); i += 2 {
		q.Header.AddString(r.fields[i], []byte(r.fields[i+1]))
	}
	q.Body.Init(0, nil)
	switch {
	case r.stream != nil:
		for i := 0; i+1 < len(r.trailer); i += 2 {
			q.Trailer.AddString(r.trailer[i], []byte(r.trailer[i+1]))
		}
		q.Body.Init(-1, part{r.stream})
	case r.body != "":
		q.Body.Replace([]byte(r.body))
	}
	if r.down == nil {
		r.down = &down{}
	}
	x.Down, x.Client = r.down, r.client
	x.Bind(exchange.ClientLeg, r.link)
	if r.cancel != nil {
		r.cancel(x.Handle())
	}
	k, err := u.Send(x, nil)
	a.tries = x.Record.Tries
	if err != nil {
		a.err = err
		return a
	}
	a.status = x.Response.Status
	a.header = lines(&x.Response.Header)
	var body strings.Builder
	buf := make([]byte, 4096)
	for a.err == nil {
		var p []byte
		p, a.err = x.Response.Body.Next(buf)
		body.Write(p)
		if r.seen != nil {
			r.seen(p)
		}
	}
	if a.err == io.EOF {
		a.err = nil
	} else {
		a.err = k.Explain(a.err)
	}
	a.body, a.trailer = body.String(), lines(&x.Response.Trailer)
	k.Close(a.err)
	return a
}

func lines(h *exchange.Header) string {
	var b strings.Builder
	for i := range h.Len() {
		f := h.At(i)
		b.WriteString(string(f.Name) + ": " + string(f.Value) + "\n")
	}
	return b.String()
}

// open makes an upstream, with a registry of its own, that ends with the test.
func open(t testing.TB, o upstream.Options, addresses ...string) *upstream.Upstream {
	t.Helper()
	r := upstream.NewRegistry(upstream.RegistryOptions{})
	u := reopen(t, r, o, addresses...)
	t.Cleanup(func() {
		_ = u.Close()
		r.Close()
	})
	return u
}

func reopen(t testing.TB, r *upstream.Registry, o upstream.Options, addresses ...string) *upstream.Upstream {
	t.Helper()
	if o.Name == "" {
		o.Name = "api"
	}
	for _, a := range addresses {
		o.Endpoints = append(o.Endpoints, upstream.EndpointOptions{Address: a, Host: "api.test"})
	}
	u, err := upstream.Open(r, o)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// long reports whether the long versions of tests are asked for.
func long() bool { return os.Getenv("WEIR_LONG") != "" }

// size picks between the size of a test in the suite and its long version.
func size(short, longer int) int {
	if long() {
		return longer
	}
	return short
}

// message reads one request off u: its head, and its body if it has a Content-Length or is chunked. "" is the end.
func message(u *coretest.Client) (head, body string) {
	head = u.Head()
	low := strings.ToLower(head)
	switch {
	case strings.Contains(low, "transfer-encoding: chunked"):
		for {
			line, err := u.In.ReadString('\n')
			if err != nil {
				return "", ""
			}
			var n int
			for _, c := range strings.TrimSpace(line) {
				n = n*16 + strings.IndexRune("0123456789abcdef", c)
			}
			if n == 0 {
				return head, body + strings.TrimSuffix(u.Head(), "\r\n")
			}
			b := make([]byte, n+2)
			if _, err := io.ReadFull(u.In, b); err != nil {
				return "", ""
			}
			body += string(b[:n])
		}
	case strings.Contains(low, "content-length: "):
		i := strings.Index(low, "content-length: ") + len("content-length: ")
		var n int
		for ; low[i] >= '0' && low[i] <= '9'; i++ {
			n = n*10 + int(low[i]-'0')
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(u.In, b); err != nil {
			return "", ""
		}
		return head, string(b)
	}
	return head, ""
}

// closedPort is an address where nobody listens.
func closedPort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// tee is what has come of a body and was not waited for.
type tee struct {
	mu  sync.Mutex
	got string
}

func (b *tee) see(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got += string(p)
}

// wait waits for text to come next, and takes it.
func (b *tee) wait(t testing.TB, text string) {
	t.Helper()
	coretest.Eventually(t, "more of the body", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		if !strings.HasPrefix(b.got, text) {
			return false
		}
		b.got = b.got[len(text):]
		return true
	})
}
