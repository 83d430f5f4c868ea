package plan

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/observe"
	"github.com/weirproxy/weir/core/upstream"
)

func (b *builder) openUpstreams() {
	for i := range b.spec.Upstreams {
		c := &b.spec.Upstreams[i]
		o, err := upstreamOptions(c)
		var u *upstream.Upstream
		if err == nil {
			u, err = upstream.Open(b.shared.Upstreams, o)
		}
		if err != nil {
			b.fail(c.Pos, "%w", err)
			continue
		}
		b.owns(u.Close)
		b.lease.Upstream(u.Name, observe.UpstreamOptions{
			Panics:   func() float64 { return flag(u.Panics()) },
			InFlight: func() float64 { return float64(u.InFlight()) },
			Waiting:  func() float64 { return float64(u.Waiting()) },
			Retries:  func() float64 { return float64(u.Retries()) },
		})
		b.upstreams[c.Name] = &Upstream{Upstream: u}
		b.plan.Upstreams = append(b.plan.Upstreams, b.upstreams[c.Name])
	}
	// Names are being resolved by now. The first requests should not be refused for want of that; but a name that can't
	// be resolved must not hold up a start or a reload.
	deadline := time.Now().Add(settleTime)
	for _, u := range b.plan.Upstreams {
		u.Settle(time.Until(deadline))
	}
}

// settleTime is how long a plan waits for the names of its upstreams.
const settleTime = time.Second

// EndpointMeters makes m count what is sent to the endpoints of upstreams, whichever plan they are in; for an
// upstream.Registry.
func EndpointMeters(m *observe.Metrics) func(e *upstream.Endpoint) (upstream.Meters, func()) {
	return func(e *upstream.Endpoint) (upstream.Meters, func()) {
		var state func() float64
		if e.Breaker != nil {
			state = func() float64 { return float64(e.Breaker.State()) }
		}
		lease := m.Lease()
		c := lease.Endpoint(e.Upstream, e.Name, state, func() float64 { return flag(e.Usable()) })
		return upstream.Meters{Requests: c.Requests, Errors: c.Errors}, lease.Close
	}
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

func upstreamOptions(c *config.Upstream) (upstream.Options, error) {
	o := upstream.Options{
		Name: c.Name, MaxInFlight: int64(c.MaxInFlight),
		Transport: upstream.Transport{
			Connect: orNone(c.Timeouts.Connect), ResponseHeader: orNone(c.Timeouts.ResponseHeader), Idle: orNone(c.Timeouts.Idle),
			MaxIdle: orNone(c.Keepalive.MaxIdle), IdleTimeout: orNone(c.Keepalive.IdleTimeout), MaxRequests: orNone(c.Keepalive.MaxRequests),
		},
	}
	if br := c.Breaker; br != nil {
		o.Breaker = &upstream.BreakerOptions{
			ConsecutiveFailures: br.ConsecutiveFailures, OpenFor: br.OpenFor, HalfOpenRequests: br.HalfOpenRequests,
		}
	}
	if q := c.Queue; q != nil {
		o.Queue = upstream.QueueOptions{Max: q.Max, Wait: q.Wait}
	}
	o.Retry = retryOptions(c.Retry)
	o.Transport.Protocol, o.Transport.ProxyProtocol = protocols[c.Protocol], proxyVersions[c.ProxyProtocol]
	o.Resolve, o.Balance, o.SlowStart, o.PanicThreshold = c.Resolve, balances[c.Balance], c.SlowStart, c.PanicThreshold
	o.Hash = upstream.HashOn{Kind: hashKinds[c.HashOn.Kind], Name: c.HashOn.Name}
	if h := c.HealthCheck; h != nil {
		o.Health = &upstream.HealthOptions{
			Path: h.Path, Interval: h.Interval, Timeout: h.Timeout, Healthy: h.Healthy, Unhealthy: h.Unhealthy,
		}
	}
	if e := c.Ejection; e != nil {
		o.Ejection = &upstream.EjectionOptions{ConsecutiveFailures: e.ConsecutiveFailures, For: e.For, Max: e.Max}
	}
	// Also where no endpoint is https as yet: files and operators may name some, and a certificate that can't be read
	// must not be found out then.
	_, key, err := upstreamTLS(c.TLS, "")
	if err != nil {
		return o, err
	}
	o.File, o.ParseKey = c.EndpointsFile, key
	o.Parse = func(name string, doc []byte) ([]upstream.EndpointOptions, error) {
		list, err := config.ParseEndpoints(name, doc)
		if err != nil {
			return nil, err
		}
		return endpointOptions(list, c)
	}
	o.Endpoints, err = endpointOptions(c.Endpoints, c)
	return o, err
}

var balances = map[string]upstream.Balance{
	config.BalanceRoundRobin: upstream.BalanceRoundRobin, config.BalanceLeastRequests: upstream.BalanceLeastRequests,
	config.BalanceRandom: upstream.BalanceRandom, config.BalanceHash: upstream.BalanceHash,
}

var hashKinds = map[config.SelectorKind]upstream.HashKind{
	config.SelectHeader: upstream.HashHeader, config.SelectCookie: upstream.HashCookie, config.SelectIP: upstream.HashIP,
}

func endpointOptions(list []config.Endpoint, c *config.Upstream) ([]upstream.EndpointOptions, error) {
	out := make([]upstream.EndpointOptions, len(list))
	for i := range list {
		e, o := &list[i], &out[i]
		*o = upstream.EndpointOptions{URL: e.Scheme + "://" + e.Address, Address: e.Address, SRV: e.SRV, Host: hostOf(e), Weight: e.Weight}
		name := e.Host()
		if e.SRV {
			o.URL = "srv+" + o.URL
			name = o.Host
		}
		if e.Scheme == "https" {
			var err error
			if o.TLS, o.TLSKey, err = upstreamTLS(c.TLS, name); err != nil {
				return nil, err
			}
			if c.Protocol == config.ProtocolH2 {
				o.TLS.NextProtos = []string{"h2"}
			}
		}
	}
	return out, nil
}

var protocols = map[string]upstream.Protocol{config.ProtocolHTTP1: upstream.HTTP1, config.ProtocolH2: upstream.HTTP2}

var proxyVersions = map[string]upstream.ProxyProtocol{
	config.ProxyProtocolOff: upstream.ProxyOff, config.ProxyProtocolV1: upstream.ProxyV1, config.ProxyProtocolV2: upstream.ProxyV2,
}

func retryOptions(c *config.Retry) *upstream.RetryOptions {
	if c == nil {
		return nil
	}
	o := &upstream.RetryOptions{Retries: c.Retries, Ratio: c.Ratio}
	for _, on := range c.On {
		switch on {
		case config.RetryConnect:
			o.Connect = true
		case config.RetryReset:
			o.Reset = true
		default:
			status, _ := strconv.Atoi(on) // the configuration has no other words
			o.Statuses = append(o.Statuses, status)
		}
	}
	return o
}

// orNone gives the engine's word for no limit, or none kept: it takes 0 for its default.
func orNone[N int | time.Duration](n N) N {
	if n == 0 {
		return -1
	}
	return n
}

// hostOf is an endpoint's name as Host says it: without the port that its scheme has anyway (RFC 9110 §4.2.3). For SRV
// records it is the domain that has the service, and so is the name in its certificate: the names in the records are what
// whoever answers for DNS says (RFC 6125 §6.2.1).
func hostOf(e *config.Endpoint) string {
	if e.SRV {
		host := e.Address
		for strings.HasPrefix(host, "_") {
			_, rest, ok := strings.Cut(host, ".")
			if !ok {
				break
			}
			host = rest
		}
		return host
	}
	if e.Scheme == "http" {
		return strings.TrimSuffix(e.Address, ":80")
	}
	return strings.TrimSuffix(e.Address, ":443")
}

// upstreamTLS makes the client's side of TLS to an endpoint. The key names what it was made of, file contents included, so
// that connections are kept over a reload exactly while that is the same.
func upstreamTLS(c *config.UpstreamTLS, host string) (*tls.Config, string, error) {
	t := &tls.Config{
		ServerName: host, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, VerifyConnection: strongKeys,
	}
	sum := sha256.New()
	if c == nil {
		return t, "system|" + host, nil
	}
	if c.ServerName != "" {
		t.ServerName = c.ServerName
	}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, "", fmt.Errorf("read ca: %w", err)
		}
		sum.Write(pem)
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, "", errors.New("read ca " + c.CA + ": no certificate in it")
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, "", fmt.Errorf("read client certificate %s: %w", c.Cert, err)
		}
		for _, der := range pair.Certificate {
			sum.Write(der)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, t.ServerName + "|" + hex.EncodeToString(sum.Sum(nil)), nil
}

// minRSA is what NIST SP 800-131A has asked for since 2014, in bits; crypto/x509 takes 1024.
const minRSA = 2048

// strongKeys refuses an upstream every chain of which has a key that can be broken.
func strongKeys(state tls.ConnectionState) (err error) {
	for _, chain := range state.VerifiedChains {
		if err = strongChain(chain); err == nil {
			return nil
		}
	}
	return err
}

func strongChain(chain []*x509.Certificate) error {
	for _, c := range chain {
		if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
			return fmt.Errorf("verify certificate of %s: an RSA key of %d bits; at least %d are needed", c.Subject, k.N.BitLen(), minRSA)
		}
	}
	return nil
}
