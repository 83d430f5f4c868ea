package plan

import (
	"crypto/tls"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/weirproxy/weir/core/certs"
	"github.com/weirproxy/weir/core/config"
)

func (b *builder) listeners() {
	for i := range b.spec.Listeners {
		c := &b.spec.Listeners[i]
		l := Listener{
			Pos: c.Pos, Address: c.Address.String(), Network: string(c.Address.Network), Target: c.Address.Text, Health: c.Health, H2C: c.H2C,
		}
		if c.ProxyProtocol != nil {
			l.ProxyFrom = prefixes(c.ProxyProtocol.Trusted)
		}
		// Port 0 may stand there several times: each is an address of its own.
		l.Key = l.Address
		for n := 2; slices.ContainsFunc(b.plan.Listeners, func(o Listener) bool { return o.Key == l.Key }); n++ {
			l.Key = l.Address + "#" + strconv.Itoa(n)
		}
		if c.TLS != nil {
			l.TLS = b.listenerTLS(l.Key, c.TLS)
		}
		b.plan.Listeners = append(b.plan.Listeners, l)
	}
}

// listenerTLS opens what a listener's TLS is made of. The parts are shared with other plans, so that their state outlives
// a reload: certificates that have been taken since, the keys of sessions.
func (b *builder) listenerTLS(key string, c *config.ListenerTLS) *tls.Config {
	r := b.shared.Certs
	o := certs.ListenerOptions{MinVersion: tls.VersionTLS12, Protocols: []string{"h2", "http/1.1"}}
	if c.MinVersion == "1.3" {
		o.MinVersion = tls.VersionTLS13
	}
	before := len(b.problems.List)
	var close []func()
	for i := range c.Certificates {
		cert := &c.Certificates[i]
		if p, err := r.OpenPair(cert.Cert, cert.Key); err != nil {
			b.fail(cert.Pos, "%w", err)
		} else {
			o.Pairs, close = append(o.Pairs, p), append(close, p.Close)
		}
	}
	if a := c.ClientAuth; a != nil && a.Mode != config.ClientAuthNone {
		var err error
		if o.Roots, err = r.OpenRoots(a.CA); err != nil {
			b.fail(a.Pos, "%w", err)
		} else {
			close = append(close, o.Roots.Close)
		}
		o.ClientAuth = clientAuth[a.Mode]
	}
	var err error
	if t := c.TicketKeys; t == nil {
		o.Tickets, err = r.OpenTickets(key, "", 0)
	} else if o.Tickets, err = r.OpenTickets(key, t.File, t.Rotate); err != nil {
		b.fail(t.Pos, "%w", err)
	}
	if err == nil {
		close = append(close, o.Tickets.Close)
	}
	if c.ACME != nil {
		if o.ACME, err = r.OpenACME(b.acme(c.ACME)); err != nil {
			b.fail(c.ACME.Pos, "%w", err)
		} else {
			close = append(close, o.ACME.Close)
		}
	}
	if len(b.problems.List) > before {
		for _, f := range close {
			f()
		}
		return nil
	}
	l := r.OpenListener(o)
	b.owns(func() error { l.Close(); return nil })
	b.plan.secure = append(b.plan.secure, l)
	return l.Config()
}

var clientAuth = map[string]tls.ClientAuthType{
	config.ClientAuthRequest: tls.VerifyClientCertIfGiven, config.ClientAuthRequire: tls.RequireAndVerifyClientCert,
}

// acme says how domains are proved: by a plain listener if there is one, and by the one that asks.
func (b *builder) acme(c *config.ACME) certs.ACMEOptions {
	o := certs.ACMEOptions{Domains: slices.Clone(c.Domains), Email: c.Email, Directory: c.Directory, CA: c.CA, TLS: true}
	if b.spec.StateDir != "" {
		o.Dir = filepath.Join(b.spec.StateDir, "acme")
	}
	o.HTTP = slices.ContainsFunc(b.spec.Listeners, func(l config.Listener) bool {
		return l.TLS == nil && l.Address.Network == config.TCP
	})
	return o
}
