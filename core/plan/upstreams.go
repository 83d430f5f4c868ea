package plan

import (
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
		b.upstreams[c.Name] = b.counted(u)
		b.plan.Upstreams = append(b.plan.Upstreams, b.upstreams[c.Name])
	}
}

func (b *builder) counted(u *upstream.Upstream) *Upstream {
	out := &Upstream{Upstream: u}
	b.lease.Retries(u.Name, func() float64 { return float64(u.Retries()) })
	for _, e := range u.Endpoints() {
		var state func() float64
		if e.Breaker != nil {
			state = func() float64 { return float64(e.Breaker.State()) }
		}
		out.Metrics = append(out.Metrics, b.lease.Endpoint(u.Name, e.Name, state))
	}
	return out
}

func upstreamOptions(c *config.Upstream) (upstream.Options, error) {
	o := upstream.Options{
		Name: c.Name, MaxInFlight: int64(c.MaxInFlight),
		Transport: upstream.Transport{
			Connect: orNone(c.Timeouts.Connect), ResponseHeader: orNone(c.Timeouts.ResponseHeader), Idle: orNone(c.Timeouts.Idle),
			MaxIdle: orNone(c.Keepalive.MaxIdle), IdleTimeout: orNone(c.Keepalive.IdleTimeout), MaxRequests: orNone(c.Keepalive.MaxRequests),
			ProxyProtocol: proxyVersions[c.ProxyProtocol],
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
	if c.Protocol == config.ProtocolH2 {
		o.Transport.Protocol = upstream.HTTP2
	}
	for i := range c.Endpoints {
		e := &c.Endpoints[i]
		eo := upstream.EndpointOptions{Address: e.Address, Host: hostOf(e), Weight: e.Weight}
		if e.Scheme == "https" {
			var err error
			if eo.TLS, eo.TLSKey, err = upstreamTLS(c.TLS, e.Host()); err != nil {
				return o, err
			}
			if c.Protocol == config.ProtocolH2 {
				eo.TLS.NextProtos = []string{"h2"}
			}
		}
		o.Endpoints = append(o.Endpoints, eo)
	}
	return o, nil
}

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

// hostOf is an endpoint's name as Host says it: without the port that its scheme has anyway (RFC 9110 §4.2.3).
func hostOf(e *config.Endpoint) string {
	if e.Scheme == "http" {
		return strings.TrimSuffix(e.Address, ":80")
	}
	return strings.TrimSuffix(e.Address, ":443")
}

// upstreamTLS makes the client's side of TLS to an endpoint. The key names what it was made of, file contents included, so
// that connections are kept over a reload exactly while that is the same.
func upstreamTLS(c *config.UpstreamTLS, host string) (*tls.Config, string, error) {
	t := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
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
