package plan

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/weirproxy/weir/core/config"
)

func (b *builder) listeners() {
	const noSystemd = "sockets of systemd are not supported yet"
	if a := b.spec.Admin; a != nil && a.Address.Network == config.Systemd {
		b.fail(a.Pos, noSystemd)
	}
	for i := range b.spec.Listeners {
		c := &b.spec.Listeners[i]
		l := Listener{
			Pos: c.Pos, Address: c.Address.String(), Network: string(c.Address.Network), Target: c.Address.Text, Health: c.Health, H2C: c.H2C,
		}
		if c.Address.Network == config.Systemd {
			b.fail(c.Pos, noSystemd)
		}
		if c.TLS != nil {
			l.TLS = b.listenerTLS(c.TLS)
		}
		// Port 0 may stand there several times: each is an address of its own.
		l.Key = l.Address
		for n := 2; slices.ContainsFunc(b.plan.Listeners, func(o Listener) bool { return o.Key == l.Key }); n++ {
			l.Key = l.Address + "#" + strconv.Itoa(n)
		}
		b.plan.Listeners = append(b.plan.Listeners, l)
	}
}

// listenerTLS loads the certificates. The one that fits the client's SNI is chosen, the first if none does.
func (b *builder) listenerTLS(c *config.ListenerTLS) *tls.Config {
	t := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if c.MinVersion == "1.3" {
		t.MinVersion = tls.VersionTLS13
	}
	for _, cert := range c.Certificates {
		pair, err := tls.LoadX509KeyPair(cert.Cert, cert.Key)
		if err != nil {
			b.fail(cert.Pos, "%w", fmt.Errorf("load certificate %s with key %s: %w", cert.Cert, cert.Key, err))
			continue
		}
		if left := time.Until(pair.Leaf.NotAfter); left < expirySoon {
			b.shared.Log.Warn().Str("certificate", cert.Cert).Time("not_after", pair.Leaf.NotAfter).Bool("expired", left <= 0).
				Msg("a certificate expires soon, or has expired")
		}
		t.Certificates = append(t.Certificates, pair)
	}
	return t
}

// expirySoon is when a certificate should have been renewed: ACME clients do it 30 days before.
const expirySoon = 14 * 24 * time.Hour
