package certs

import (
	"crypto/tls"
	"sync/atomic"
)

// ListenerOptions are the parts of one listener's TLS. The listener owns them from now on.
type ListenerOptions struct {
	MinVersion uint16
	Protocols  []string // for ALPN (RFC 7301), the server's preference first
	Pairs      []*Pair  // in the order of preference
	ACME       *ACME    // nil: none
	Tickets    *Tickets // never nil
	Roots      *Roots   // nil: clients are not asked for certificates
	ClientAuth tls.ClientAuthType
}

// Listener is the server's side of TLS for one listener: a tls.Config whose certificates, roots and ticket keys follow
// their files.
type Listener struct {
	r     *Registry
	o     ListenerOptions
	pairs []*Pair // of the options and of ACME

	config *tls.Config
	inner  atomic.Pointer[tls.Config]
	names  atomic.Pointer[index]
}

// OpenListener makes one of its parts.
func (r *Registry) OpenListener(o ListenerOptions) *Listener {
	l := &Listener{r: r, o: o, pairs: o.Pairs}
	if o.ACME != nil {
		l.pairs = append(l.pairs[:len(l.pairs):len(l.pairs)], o.ACME.pairs...)
	}
	l.config = l.make()
	l.config.GetConfigForClient = l.configFor
	o.Tickets.attach(l.config)
	r.mu.Lock()
	defer r.mu.Unlock()
	l.refresh()
	r.listeners[l] = struct{}{}
	return l
}

// Config is what tls.Server takes. It stays the same for the life of l and must not be changed.
func (l *Listener) Config() *tls.Config { return l.config }

// Begin says that the listener is served now: from here on certificates are asked for and ticket keys are rotated. A
// plan that is only built, or refused, does neither.
func (l *Listener) Begin() {
	l.o.Tickets.begin()
	if l.o.ACME != nil {
		l.o.ACME.begin()
	}
}

// Issues reports whether some of its certificates are issued by an authority.
func (l *Listener) Issues() bool { return l.o.ACME != nil }

// Close gives the parts back. Handshakes under way may end.
func (l *Listener) Close() {
	l.r.mu.Lock()
	delete(l.r.listeners, l)
	l.r.mu.Unlock()
	l.o.Tickets.detach(l.config)
	l.o.Tickets.Close()
	for _, p := range l.o.Pairs {
		p.Close()
	}
	if l.o.Roots != nil {
		l.o.Roots.Close()
	}
	if l.o.ACME != nil {
		l.o.ACME.Close()
	}
}

// refresh takes the parts as they are. The registry's lock is held.
func (l *Listener) refresh() {
	l.names.Store(newIndex(l.pairs))
	// A fresh one and no clone: a clone of the outer configuration would carry its ticket keys of today for ever.
	l.inner.Store(l.make())
}

func (l *Listener) make() *tls.Config {
	c := &tls.Config{MinVersion: l.o.MinVersion, NextProtos: l.o.Protocols, CipherSuites: suites, GetCertificate: l.certificate}
	if l.o.Roots != nil {
		c.ClientAuth, c.ClientCAs = l.o.ClientAuth, l.o.Roots.pool.Load()
	}
	return c
}

// suites are those of TLS 1.2 with forward secrecy and authenticated encryption (RFC 9325 §4.2); those of TLS 1.3 all have
// both. What crypto/tls offers by itself has CBC with SHA-1 among it. It orders them as the hardware likes.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// configFor gives the configuration of the moment. It has no ticket keys, so that those of l.config count. A session that
// was begun under other roots is not resumed: crypto/tls looks for the end of its chain among the roots of now.
func (l *Listener) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if l.o.ACME != nil && len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == Challenge {
		if c := l.r.challenges.certificate(hello.ServerName); c != nil {
			return &tls.Config{
				MinVersion: tls.VersionTLS12, NextProtos: []string{Challenge}, Certificates: []tls.Certificate{*c}, SessionTicketsDisabled: true,
			}, nil
		}
	}
	return l.inner.Load(), nil
}

func (l *Listener) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return l.names.Load().find(hello), nil
}
