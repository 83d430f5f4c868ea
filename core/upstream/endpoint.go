package upstream

import (
	"context"
	"crypto/tls"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/metric"
	"github.com/weirproxy/weir/core/netio"
)

// Transport is how endpoints of an upstream are connected to. It is part of an endpoint's meaning: another transport is
// another endpoint. The zero value of a limit takes the default that stands beside it; a negative one is no limit, or none
// kept for MaxIdle.
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

// withDefaults fills in what is not set. After it 0 is no limit, and for MaxIdle none.
func (t Transport) withDefaults() Transport {
	t.Connect = orDefault(t.Connect, 2*time.Second)
	t.ResponseHeader = orDefault(t.ResponseHeader, 30*time.Second)
	t.Idle = orDefault(t.Idle, time.Minute)
	t.MaxIdle = orDefault(t.MaxIdle, 256)
	t.IdleTimeout = orDefault(t.IdleTimeout, time.Minute)
	t.MaxRequests = orDefault(t.MaxRequests, 1000)
	t.HeaderBytes = orDefault(t.HeaderBytes, 32<<10)
	t.HeaderFields = orDefault(t.HeaderFields, 100)
	return t
}

func orDefault[N int | time.Duration](n, v N) N {
	switch {
	case n == 0:
		return v
	case n < 0:
		return 0
	}
	return n
}

// EndpointOptions name one endpoint as the configuration does: an address, or a name that stands for as many endpoints as
// it has addresses.
type EndpointOptions struct {
	URL     string // as the operator knows it; "" is made of Address
	Address string // host:port, or unix:/path; the name alone where SRV is set
	SRV     bool   // Address is the name of SRV records (RFC 2782)
	Host    string // what Host says when the route asks for the upstream's own name
	Weight  int    // 1 without; of every address that a name has
	TLS     *tls.Config
	TLSKey  string // tells TLS configurations apart over reloads

	label string // the endpoint's name, if it is not Address
}

// Endpoint is one address of an upstream with its idle connections and its breaker. It is shared by all plans that name
// it, and safe for concurrent use.
type Endpoint struct {
	Name     string // host:port as configured, with the address if that is a name; for logs and metrics
	Upstream string // the name of the upstream
	Host     []byte
	Breaker  *Breaker // nil without

	options   EndpointOptions
	transport Transport
	key       string
	refs      int          // guarded by the Registry
	told      BreakerState // of the Registry's goroutine
	meters    Meters
	gone      func() // what meters' owner wants to hear; or nil

	inFlight  atomic.Int64
	streak    atomic.Int32 // failures since the last success
	recovered atomic.Bool  // the breaker has closed again; for the group
	usable    atomic.Bool  // as the newest group sees it

	requests, failures, opened atomic.Int64

	mu     sync.Mutex
	idle   []*conn // the one used last at the end
	closed bool
}

// Meters counts what is sent to an endpoint: tries, and those that failed by their fault.Kind. nil ones count nothing.
type Meters struct {
	Requests *metric.Counter
	Errors   *metric.Indexed
}

// Stats counts requests sent, those of them that failed by the endpoint's fault, and connections opened.
func (e *Endpoint) Stats() (requests, failures, opened int64) {
	return e.requests.Load(), e.failures.Load(), e.opened.Load()
}

// Usable reports whether requests are sent to e, its breaker aside: it is healthy and not ejected.
func (e *Endpoint) Usable() bool { return e.usable.Load() }

// acquire gives an idle connection that is still quiet, or dials. fresh asks for a new one.
func (e *Endpoint) acquire(x *exchange.Exchange, fresh bool) (*conn, error) {
	if !fresh {
		if c := e.pop(); c != nil {
			return c, nil
		}
	}
	nc, err := e.dial(x)
	if err != nil {
		return nil, &fault.Fault{Kind: fault.ConnectFailed, Text: "connect", Err: err}
	}
	e.opened.Add(1)
	return &conn{c: netio.New(nc), ep: e}, nil
}

func (e *Endpoint) pop() *conn {
	oldest := e.oldest(clock.Nano())
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

// oldest is since when a connection may have been idle.
func (e *Endpoint) oldest(now int64) int64 {
	if e.transport.IdleTimeout == 0 {
		return math.MinInt64
	}
	return now - int64(e.transport.IdleTimeout)
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
	oldest := e.oldest(now)
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

// dial connects, by name over every address that the name has, IPv6 and IPv4 (RFC 8305), until x is cancelled.
func (e *Endpoint) dial(x *exchange.Exchange) (net.Conn, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if e.transport.Connect > 0 {
		ctx, cancel = context.WithTimeout(ctx, e.transport.Connect)
		defer cancel()
	}
	watch := time.AfterFunc(dialWatch, func() { endWith(ctx, cancel, x) })
	defer watch.Stop()
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

// dialWatch is how often a dial that takes long looks whether it is still wanted.
const dialWatch = 100 * time.Millisecond

// endWith cancels ctx once x has been cancelled: x can abort connections only, and a dial has none yet.
func endWith(ctx context.Context, cancel func(), x *exchange.Exchange) {
	tick := time.NewTicker(dialWatch)
	defer tick.Stop()
	for ctx.Err() == nil && x.Cause() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	cancel()
}

func cutUnix(address string) (string, bool) {
	const prefix = "unix:"
	if len(address) > len(prefix) && address[:len(prefix)] == prefix {
		return address[len(prefix):], true
	}
	return "", false
}
