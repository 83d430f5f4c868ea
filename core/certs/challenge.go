package certs

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

const (
	// Challenge is the protocol of ALPN by which an authority asks for its proof (RFC 8737 §3). A connection that has
	// agreed on it carries no data: it ends after the handshake.
	Challenge = acmez.ACMETLS1Protocol
	// ChallengePath is where an authority asks for it by HTTP (RFC 8555 §8.3); the token follows.
	ChallengePath = "/.well-known/acme-challenge/"
)

// challenges are the proofs that are being asked for, of all managers. The zero value has none.
type challenges struct {
	pending atomic.Int32 // of HTTP
	mu      sync.Mutex
	tokens  map[string]proof
	certs   map[string]*tls.Certificate // by domain
}

// proof is what a token is answered with, and under which name.
type proof struct{ domain, text string }

// Answer gives what a request for path on a plain listener is answered with, if an authority has been told to ask for it
// there. While nothing is being issued it costs one atomic load.
func (r *Registry) Answer(host, path []byte) (text string, ok bool) {
	c := &r.challenges
	if c.pending.Load() == 0 || len(path) <= len(ChallengePath) || string(path[:len(ChallengePath)]) != ChallengePath {
		return "", false
	}
	name := string(host)
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	c.mu.Lock()
	p, ok := c.tokens[string(path[len(ChallengePath):])]
	c.mu.Unlock()
	// The name too: a page that has its own name point here (DNS rebinding) is told nothing.
	if !ok || !strings.EqualFold(name, p.domain) {
		return "", false
	}
	return p.text, true
}

// certificate gives the one that proves a domain by TLS; nil if that is not asked for.
func (c *challenges) certificate(domain string) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.certs[strings.ToLower(domain)]
}

// byHTTP and byTLS present proofs; acmez calls them.
type (
	byHTTP struct{ c *challenges }
	byTLS  struct{ c *challenges }
)

// Present is acmez.Solver's.
func (s byHTTP) Present(_ context.Context, asked acme.Challenge) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.tokens == nil {
		s.c.tokens = map[string]proof{}
	}
	s.c.tokens[asked.Token] = proof{asked.Identifier.Value, asked.KeyAuthorization}
	s.c.pending.Store(int32(len(s.c.tokens)))
	return nil
}

// CleanUp is acmez.Solver's.
func (s byHTTP) CleanUp(_ context.Context, asked acme.Challenge) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	delete(s.c.tokens, asked.Token)
	s.c.pending.Store(int32(len(s.c.tokens)))
	return nil
}

// Present is acmez.Solver's.
func (s byTLS) Present(_ context.Context, asked acme.Challenge) error {
	cert, err := acmez.TLSALPN01ChallengeCert(asked)
	if err != nil {
		return err
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.certs == nil {
		s.c.certs = map[string]*tls.Certificate{}
	}
	s.c.certs[strings.ToLower(asked.Identifier.Value)] = cert
	return nil
}

// CleanUp is acmez.Solver's.
func (s byTLS) CleanUp(_ context.Context, asked acme.Challenge) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	delete(s.c.certs, strings.ToLower(asked.Identifier.Value))
	return nil
}
