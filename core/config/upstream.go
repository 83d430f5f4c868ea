package config

import (
	"net"
	"net/url"
	"strings"
	"time"
)

// Upstream is a set of endpoints that serve the same thing.
type Upstream struct {
	Pos            Pos
	Name           string
	Endpoints      []Endpoint    // at least one, unless EndpointsFile is set
	EndpointsFile  string        // resolved path of a watched file that lists endpoints; empty: none
	Resolve        time.Duration // how often names of endpoints are resolved anew
	Balance        string        // one of the Balance words
	HashOn         Selector      // of BalanceHash: header, cookie or ip
	SlowStart      time.Duration // over which a new or recovered endpoint gets its full share; 0: at once
	HealthCheck    *HealthCheck  // nil: none
	Ejection       *Ejection     // nil: none
	PanicThreshold float64       // fraction of endpoints that must be usable, else all are used; 0: never
	Breaker        *Breaker      // nil: none
	MaxInFlight    int           // 0: no limit
	Queue          *Queue        // nil: what is above MaxInFlight is refused at once
	Retry          *Retry        // nil: none
	Timeouts       UpstreamTimeouts
	Keepalive      Keepalive
	TLS            *UpstreamTLS // nil: the system's roots, the endpoint's name, no client certificate
	Protocol       string       // ProtocolHTTP1 or ProtocolH2
	ProxyProtocol  string       // ProxyProtocolOff, ProxyProtocolV1 or ProxyProtocolV2
}

// HealthCheck asks every endpoint by itself whether it can be used.
type HealthCheck struct {
	Pos                Pos
	Path               string
	Interval, Timeout  time.Duration
	Healthy, Unhealthy int // answers in a row that change the state; 2xx and 3xx are healthy
}

// Ejection takes an endpoint that fails out of rotation for a time.
type Ejection struct {
	Pos                 Pos
	ConsecutiveFailures int
	For                 time.Duration // times the number of ejections in a row
	Max                 float64       // fraction of the endpoints that may be out at once
}

// Queue holds requests above max_in_flight.
type Queue struct {
	Pos  Pos
	Max  int
	Wait time.Duration
}

// Retry repeats requests that failed, where that can do no harm.
type Retry struct {
	Pos     Pos
	Retries int      // beyond the first try
	On      []string // RetryConnect, RetryReset or a status: "502", "503", "504"
	Ratio   float64  // of the requests of the last seconds that may be retries
}

// The words of Retry.On that are no status.
const (
	RetryConnect = "connect"
	RetryReset   = "reset"
)

// The words of an upstream.
const (
	BalanceRoundRobin    = "round_robin"
	BalanceLeastRequests = "least_requests"
	BalanceRandom        = "random" // the better of two
	BalanceHash          = "hash"
	ProtocolHTTP1        = "http1"
	ProtocolH2           = "h2"
	ProxyProtocolOff     = "off"
	ProxyProtocolV1      = "v1"
	ProxyProtocolV2      = "v2"
)

// Endpoint is one address of an upstream.
type Endpoint struct {
	Pos     Pos
	Scheme  string // http or https
	Address string // host:port, always with a port; the name alone where SRV is set
	Weight  int    // 1 unless given
	SRV     bool   // Address is the name of SRV records (RFC 2782) that list the endpoints
}

// Host returns the name or address of e without its port and brackets.
func (e *Endpoint) Host() string {
	host, _, _ := net.SplitHostPort(e.Address)
	return host
}

// Breaker opens for an endpoint after so many failures in a row.
type Breaker struct {
	Pos                 Pos
	ConsecutiveFailures int
	OpenFor             time.Duration
	HalfOpenRequests    int
	Fallback            *Fallback // nil: 503 while the upstream is open
}

// Fallback is what happens instead while every endpoint's breaker is open. Exactly one of its fields is set.
type Fallback struct {
	Pos      Pos
	Upstream string
	Respond  *Respond
}

// UpstreamTimeouts are those of the upstream's side. 0 is none.
type UpstreamTimeouts struct {
	Connect        time.Duration // with the TLS handshake
	ResponseHeader time.Duration // from the last byte of the request to the end of the answer's header section
	Idle           time.Duration // between two bytes of a body, in either direction
}

// Keepalive bounds the connections that wait for their next request.
type Keepalive struct {
	MaxIdle     int // an endpoint; 0: none are kept
	IdleTimeout time.Duration
	MaxRequests int // of one connection; 0: no limit
}

// UpstreamTLS is the client's side of TLS, for https endpoints. Paths are resolved.
type UpstreamTLS struct {
	Pos        Pos
	CA         string // PEM of the roots; empty: the system's
	ServerName string // empty: the endpoint's name
	Cert       string // empty: no client certificate
	Key        string
}

func (d *decoder) upstreams(v value) []Upstream {
	entries := d.fields(v)
	out := make([]Upstream, len(entries))
	for i, e := range entries {
		u := &out[i]
		*u = Upstream{
			Pos:           e.pos,
			Name:          e.name,
			Balance:       BalanceRoundRobin,
			Timeouts:      UpstreamTimeouts{Connect: 2 * time.Second, ResponseHeader: 30 * time.Second, Idle: time.Minute},
			Keepalive:     Keepalive{MaxIdle: 256, IdleTimeout: time.Minute, MaxRequests: 1000},
			Protocol:      ProtocolHTTP1,
			ProxyProtocol: ProxyProtocolOff,
		}
		d.declare(upstreams, e.name)
		readObject(d, e.value, upstreamKeys, u)
		d.checkUpstream(u)
	}
	return out
}

var upstreamKeys = []key[Upstream]{
	{"endpoints", must, func(d *decoder, v value, u *Upstream) { u.Endpoints = d.endpoints(v) }},
	{"balance", now, func(d *decoder, v value, u *Upstream) { u.Balance = d.choice(v, balances) }},
	{"hash", later, names[Upstream]("on")},
	{"slow_start", later, nil},
	{"health_check", later, names[Upstream]("path", "interval", "timeout", "healthy", "unhealthy")},
	{"ejection", later, names[Upstream]("consecutive_failures", "for", "max")},
	{"breaker", now, func(d *decoder, v value, u *Upstream) { u.Breaker = d.breaker(v) }},
	{"max_in_flight", now, func(d *decoder, v value, u *Upstream) { u.MaxInFlight = d.count(v) }},
	{"queue", later, names[Upstream]("max", "wait")},
	{"retry", later, names[Upstream]("retries", "on", "ratio")},
	{"timeouts", now, func(d *decoder, v value, u *Upstream) { readObject(d, v, upstreamTimeoutKeys, &u.Timeouts) }},
	{"keepalive", now, func(d *decoder, v value, u *Upstream) { readObject(d, v, keepaliveKeys, &u.Keepalive) }},
	{"tls", now, func(d *decoder, v value, u *Upstream) { u.TLS = d.upstreamTLS(v) }},
	{"protocol", now, func(d *decoder, v value, u *Upstream) { u.Protocol = d.choice(v, protocols) }},
	{"proxy_protocol", now, func(d *decoder, v value, u *Upstream) { u.ProxyProtocol = d.choice(v, proxyProtocols) }},
}

var endpointKeys = []key[Endpoint]{
	{"url", now, func(d *decoder, v value, e *Endpoint) { d.endpointURL(v, e) }},
	{"weight", now, func(d *decoder, v value, e *Endpoint) { e.Weight = int(d.integer(v, 1, 1000)) }},
	{"file", later, nil},
}

var schemes = []word{{"http", now}, {"https", now}, {"srv+http", later}, {"srv+https", later}}

var balances = []word{{BalanceRoundRobin, now}, {"least_requests", later}, {"random", later}, {"hash", later}}

var protocols = []word{{ProtocolHTTP1, now}, {"h2", later}}

var proxyProtocols = []word{{ProxyProtocolOff, now}, {"v1", later}, {"v2", later}}

var breakerKeys = []key[Breaker]{
	{"consecutive_failures", now, func(d *decoder, v value, b *Breaker) { b.ConsecutiveFailures = d.positive(v) }},
	{"open_for", now, func(d *decoder, v value, b *Breaker) { b.OpenFor = d.positiveDuration(v) }},
	{"half_open_requests", now, func(d *decoder, v value, b *Breaker) { b.HalfOpenRequests = d.positive(v) }},
	{"fallback", later, names[Breaker]("upstream", "respond")},
}

var upstreamTimeoutKeys = []key[UpstreamTimeouts]{
	{"connect", now, func(d *decoder, v value, t *UpstreamTimeouts) { t.Connect = d.duration(v) }},
	{"response_header", now, func(d *decoder, v value, t *UpstreamTimeouts) { t.ResponseHeader = d.duration(v) }},
	{"idle", now, func(d *decoder, v value, t *UpstreamTimeouts) { t.Idle = d.duration(v) }},
}

var keepaliveKeys = []key[Keepalive]{
	{"max_idle", now, func(d *decoder, v value, k *Keepalive) { k.MaxIdle = d.count(v) }},
	{"idle_timeout", now, func(d *decoder, v value, k *Keepalive) { k.IdleTimeout = d.duration(v) }},
	{"max_requests", now, func(d *decoder, v value, k *Keepalive) { k.MaxRequests = d.count(v) }},
}

var upstreamTLSKeys = []key[UpstreamTLS]{
	{"ca", now, func(d *decoder, v value, t *UpstreamTLS) { t.CA = d.path(v) }},
	{"server_name", now, func(d *decoder, v value, t *UpstreamTLS) { t.ServerName = d.text(v) }},
	{"cert", now, func(d *decoder, v value, t *UpstreamTLS) { t.Cert = d.path(v) }},
	{"key", now, func(d *decoder, v value, t *UpstreamTLS) { t.Key = d.path(v) }},
}

func (d *decoder) breaker(v value) *Breaker {
	b := &Breaker{Pos: v.pos, ConsecutiveFailures: 5, OpenFor: 30 * time.Second, HalfOpenRequests: 1}
	readObject(d, v, breakerKeys, b)
	return b
}

func (d *decoder) upstreamTLS(v value) *UpstreamTLS {
	t := &UpstreamTLS{Pos: v.pos}
	readObject(d, v, upstreamTLSKeys, t)
	if v.has("cert") != v.has("key") {
		d.fail(v.pos, "cert and key go together")
	}
	return t
}

func (d *decoder) endpoints(v value) []Endpoint {
	if v.kind == object && v.has("file") {
		var e Endpoint
		readObject(d, v, endpointKeys, &e)
		return nil
	}
	items := d.items(v)
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "at least one endpoint is needed")
	}
	out := make([]Endpoint, len(items))
	for i, item := range items {
		e := &out[i]
		*e = Endpoint{Pos: item.pos, Weight: 1}
		if item.kind != object {
			d.endpointURL(item, e)
			continue
		}
		readObject(d, item, endpointKeys, e)
		if !item.has("url") && !item.has("file") {
			d.fail(item.pos, "the key %q is missing", "url")
		}
	}
	return out
}

func (d *decoder) endpointURL(v value, e *Endpoint) {
	s := d.text(v)
	if s == "" {
		return
	}
	scheme, _, ok := strings.Cut(s, "://")
	if !ok {
		d.fail(v.pos, "wants a URL such as http://10.0.0.1:9000, not %q", s)
		return
	}
	known := false
	for _, w := range schemes {
		if w.name == scheme && w.state == later {
			d.later(v.pos, scheme)
			return
		}
		known = known || w.name == scheme
	}
	u, err := url.Parse(s)
	if err != nil || !known || u.Hostname() == "" || strings.ContainsAny(u.Hostname(), "%* ") {
		d.fail(v.pos, "wants a URL such as http://10.0.0.1:9000 or https://example.com, not %q", s)
		return
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	if !isPort(port) || port == "0" {
		d.fail(v.pos, "the port %q is not one", port)
		return
	}
	if u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		d.fail(v.pos, "an endpoint is a scheme, a host and a port; a path goes into rewrite, credentials into headers")
		return
	}
	e.Scheme, e.Address = scheme, net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func (d *decoder) checkUpstream(u *Upstream) {
	seen := map[string]bool{}
	https := len(u.Endpoints) == 0
	for _, e := range u.Endpoints {
		https = https || e.Scheme != "http"
		if e.Address != "" && seen[e.Address] {
			d.fail(e.Pos, "the endpoint %s stands in the list twice; a weight gives it more", e.Address)
		}
		seen[e.Address] = true
	}
	if u.TLS != nil && !https {
		d.warn(u.TLS.Pos, "tls is for https endpoints, and there is none here")
	}
}
