package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
)

// Transport is how endpoints of an upstream are connected to. It is part of an endpoint's meaning: another transport is
// another endpoint. The zero value of a limit takes the default that stands beside it.
type Transport struct {
	Connect        time.Duration // 2 s
	ResponseHeader time.Duration // 30 s
	Idle           time.Duration // between two reads or writes of a body; 60 s
	MaxIdle        int           // idle connections kept; 256
	IdleTimeout    time.Duration // how long; 60 s
	MaxRequests    int           // per connection; 1000
	HeaderBytes    int           // of an answer's head; 32 KiB
	HeaderFields   int           // 100
}

func (t Transport) withDefaults() Transport {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	num := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	set(&t.Connect, 2*time.Second)
	set(&t.ResponseHeader, 30*time.Second)
	set(&t.Idle, time.Minute)
	set(&t.IdleTimeout, time.Minute)
	num(&t.MaxIdle, 256)
	num(&t.MaxRequests, 1000)
	num(&t.HeaderBytes, 32<<10)
	num(&t.HeaderFields, 100)
	return t
}

// EndpointOptions name one endpoint.
type EndpointOptions struct {
	Address string // host:port, or unix:/path
	Host    string // what Host says when the route asks for the upstream's own name
	Weight  int    // 1 without
	TLS     *tls.Config
	TLSKey  string // tells TLS configurations apart over reloads
}

// Endpoint is one address of an upstream with its idle connections and its breaker. It is shared by all plans that name
// it, and safe for concurrent use.
type Endpoint struct {
	Name    string // address as configured, for logs and metrics
	Host    []byte
	Breaker *Breaker // nil without

	options   EndpointOptions
	transport Transport
	key       string
	upstream  string
	refs      int // guarded by the Registry

	requests, failures, opened atomic.Int64

	mu     sync.Mutex
	idle   []*conn // the one used last at the end
	closed bool
}

// Stats counts requests sent, those of them that failed by the endpoint's fault, and connections opened.
func (e *Endpoint) Stats() (requests, failures, opened int64) {
	return e.requests.Load(), e.failures.Load(), e.opened.Load()
}


// acquire gives an idle connection that is still quiet, or dials. fresh asks for a new one.
func (e *Endpoint) acquire(fresh bool) (*conn, error) {
	if !fresh {
		if c := e.pop(); c != nil {
			return c, nil
		}
	}
	nc, err := e.dial()
	if err != nil {
		return nil, &fault.Fault{Kind: fault.ConnectFailed, Text: "connect", Err: err}
	}
	e.opened.Add(1)
	return &conn{c: netio.New(nc), ep: e}, nil
}

func (e *Endpoint) pop() *conn {
	oldest := clock.Nano() - int64(e.transport.IdleTimeout)
	for {
		e.mu.Lock()
		n := len(e.idle)
		if n == 0 {
			e.mu.Unlock()
			return nil
		}
		c := e.idle[n-1]
		e.idle[n-1] = nil
		e.idle = e.idle[:n-1]
		e.mu.Unlock()
		if c.since > oldest && c.c.Quiet() {
			c.reused = true
			return c
		}
		_ = c.c.Close()
	}
}

// release takes a connection back on which nothing is under way.
func (e *Endpoint) release(c *conn) {
	c.since = clock.Nano()
	e.mu.Lock()
	if e.closed || len(e.idle) >= e.transport.MaxIdle {
		e.mu.Unlock()
		_ = c.c.Close()
		return
	}
	e.idle = append(e.idle, c)
	e.mu.Unlock()
}

// sweep closes what has been idle for too long.
func (e *Endpoint) sweep(now int64) {
	oldest := now - int64(e.transport.IdleTimeout)
	e.mu.Lock()
	n := 0
	for n < len(e.idle) && e.idle[n].since <= oldest {
		n++
	}
	old := append([]*conn(nil), e.idle[:n]...)
	e.idle = append(e.idle[:0], e.idle[n:]...)
	e.mu.Unlock()
	for _, c := range old {
		_ = c.c.Close()
	}
}

func (e *Endpoint) close() {
	e.mu.Lock()
	idle := e.idle
	e.idle, e.closed = nil, true
	e.mu.Unlock()
	for _, c := range idle {
		_ = c.c.Close()
	}
}

// dial connects, by name over every address that the name has, IPv6 and IPv4 (RFC 8305).
func (e *Endpoint) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), e.transport.Connect)
	defer cancel()
	network, address := "tcp", e.options.Address
	if path, ok := cutUnix(address); ok {
		network, address = "unix", path
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, address)
	if err != nil || e.options.TLS == nil {
		return nc, err
	}
	t := tls.Client(netio.New(nc), e.options.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return t, nil
}

func cutUnix(address string) (string, bool) {
	const prefix = "unix:"
	if len(address) > len(prefix) && address[:len(prefix)] == prefix {
		return address[len(prefix):], true
	}
	return "", false
}
