package upstream

import (
	"crypto/tls"
	"sync/atomic"
	"time"
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
	refs      int          // guarded by the Registry
	told      BreakerState // of the Registry's goroutine

	requests, failures, opened atomic.Int64

	conns conns
	h2    streams
}

// Stats counts requests sent, those of them that failed by the endpoint's fault, and connections opened.
func (e *Endpoint) Stats() (requests, failures, opened int64) {
	return e.requests.Load(), e.failures.Load(), e.opened.Load()
}

// allow asks the breaker, if there is one.
func (e *Endpoint) allow(now int64) (Ticket, bool) {
	if e.Breaker == nil {
		return Ticket{}, true
	}
	return e.Breaker.Allow(now)
}
