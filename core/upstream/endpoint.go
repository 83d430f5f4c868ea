package upstream

import (
	"crypto/tls"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/metric"
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
	Protocol       Protocol
	ProxyProtocol  ProxyProtocol
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

	broken     atomic.Int64  // tries that failed without an answer
	lastKind   atomic.Uint32 // how the last of them did: a fault.Kind
	toldBroken int64         // of the Registry's goroutine, as toldAt
	toldAt     int64

	conns conns
	h2    streams
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
