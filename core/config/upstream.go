package config

import "time"

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
	Metadata       string        // a JSON object for filters to read; empty: none
	MaxInFlight    int           // 0: no limit
	Queue          *Queue        // nil: what is above MaxInFlight is refused at once
	Retry          *Retry        // nil: none
	Timeouts       UpstreamTimeouts
	Keepalive      Keepalive
	TLS            *UpstreamTLS // nil: the system's roots, the endpoint's name, no client certificate
	Protocol       string       // ProtocolHTTP1 or ProtocolH2
	ProxyProtocol  string       // ProxyProtocolOff, ProxyProtocolV1 or ProxyProtocolV2
}

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
			Pos:            e.pos,
			Name:           e.name,
			Resolve:        30 * time.Second,
			Balance:        BalanceRoundRobin,
			PanicThreshold: 0.5,
			Timeouts:       UpstreamTimeouts{Connect: 2 * time.Second, ResponseHeader: 30 * time.Second, Idle: time.Minute},
			Keepalive:      Keepalive{MaxIdle: 256, IdleTimeout: time.Minute, MaxRequests: 1000},
			Protocol:       ProtocolHTTP1,
			ProxyProtocol:  ProxyProtocolOff,
		}
		d.declare(upstreams, e.name)
		readObject(d, e.value, upstreamKeys, u)
		d.checkUpstream(e.value, u)
	}
	return out
}

var upstreamKeys = []key[Upstream]{
	{"endpoints", must, func(d *decoder, v value, u *Upstream) { u.Endpoints, u.EndpointsFile = d.endpoints(v) }},
	{"metadata", now, func(d *decoder, v value, u *Upstream) { u.Metadata = d.metadata(v) }},
	{"resolve", now, func(d *decoder, v value, u *Upstream) { u.Resolve = d.resolveInterval(v) }},
	{"balance", now, func(d *decoder, v value, u *Upstream) { u.Balance = d.choice(v, balances) }},
	{"hash", now, func(d *decoder, v value, u *Upstream) { readObject(d, v, hashKeys, u) }},
	{"slow_start", now, func(d *decoder, v value, u *Upstream) { u.SlowStart = d.duration(v) }},
	{"health_check", now, func(d *decoder, v value, u *Upstream) { u.HealthCheck = d.healthCheck(v) }},
	{"ejection", now, func(d *decoder, v value, u *Upstream) { u.Ejection = d.ejection(v) }},
	{"panic_threshold", now, func(d *decoder, v value, u *Upstream) { u.PanicThreshold = d.fraction(v) }},
	{"breaker", now, func(d *decoder, v value, u *Upstream) { u.Breaker = d.breaker(v) }},
	{"max_in_flight", now, func(d *decoder, v value, u *Upstream) { u.MaxInFlight = d.count(v) }},
	{"queue", now, func(d *decoder, v value, u *Upstream) { u.Queue = d.queue(v) }},
	{"retry", now, func(d *decoder, v value, u *Upstream) { u.Retry = d.retry(v) }},
	{"timeouts", now, func(d *decoder, v value, u *Upstream) { readObject(d, v, upstreamTimeoutKeys, &u.Timeouts) }},
	{"keepalive", now, func(d *decoder, v value, u *Upstream) { readObject(d, v, keepaliveKeys, &u.Keepalive) }},
	{"tls", now, func(d *decoder, v value, u *Upstream) { u.TLS = d.upstreamTLS(v) }},
	{"protocol", now, func(d *decoder, v value, u *Upstream) { u.Protocol = d.choice(v, protocols) }},
	{"proxy_protocol", now, func(d *decoder, v value, u *Upstream) { u.ProxyProtocol = d.choice(v, proxyProtocols) }},
}

var balances = []word{{BalanceRoundRobin, now}, {BalanceLeastRequests, now}, {BalanceRandom, now}, {BalanceHash, now}}

var hashKeys = []key[Upstream]{
	{"on", must, func(d *decoder, v value, u *Upstream) { u.HashOn = d.selector(v, hashSelectors) }},
}

var hashSelectors = []selectorForm{{SelectHeader, true, now}, {SelectCookie, true, now}, {SelectIP, false, now}}

var protocols = []word{{ProtocolHTTP1, now}, {ProtocolH2, now}}

var proxyProtocols = []word{{ProxyProtocolOff, now}, {ProxyProtocolV1, now}, {ProxyProtocolV2, now}}

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

func (d *decoder) upstreamTLS(v value) *UpstreamTLS {
	t := &UpstreamTLS{Pos: v.pos}
	readObject(d, v, upstreamTLSKeys, t)
	if v.has("cert") != v.has("key") {
		d.fail(v.pos, "cert and key go together")
	}
	return t
}

// resolveInterval is at least a second: names are asked for over and over, and their servers belong to others, too.
func (d *decoder) resolveInterval(v value) time.Duration {
	before := len(d.problems.List)
	t := d.duration(v)
	if t < time.Second && len(d.problems.List) == before {
		d.fail(v.pos, "wants at least 1s")
	}
	return t
}

// checkUpstream checks that the parts of an upstream go together.
func (d *decoder) checkUpstream(v value, u *Upstream) {
	d.checkTwice(u.Endpoints)
	https := len(u.Endpoints) == 0
	for _, e := range u.Endpoints {
		https = https || e.Scheme != "http"
	}
	if u.TLS != nil && !https {
		d.warn(u.TLS.Pos, "tls is for https endpoints, and there is none here")
	}
	if u.Balance == BalanceHash && !v.has("hash") {
		d.fail(d.at(v, "balance"), "balance: hash needs the key %q: hash: {on: \"header:x-session\"}, cookie:name or ip", "hash")
	}
	if v.has("hash") && u.Balance != BalanceHash && u.Balance != "" {
		d.fail(d.at(v, "hash"), "hash is for balance: hash, and here it is %s", u.Balance)
	}
	if u.Queue != nil && u.MaxInFlight == 0 {
		d.fail(u.Queue.Pos, "a queue needs max_in_flight above 0: what is above it waits")
	}
	// A connection that many clients share cannot begin with the name of one.
	if u.Protocol == ProtocolH2 && u.ProxyProtocol != ProxyProtocolOff && u.ProxyProtocol != "" {
		d.fail(d.at(v, "proxy_protocol"), "proxy_protocol is not possible with protocol: h2, whose connections clients share")
	}
}
