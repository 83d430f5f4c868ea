package certs_test

import (
	"crypto/tls"
	"testing"

	"github.com/weirproxy/weir/core/certs"
	"github.com/weirproxy/weir/core/coretest"
)

// TestOffered tries every version and suite that crypto/tls knows, one at a time.
func TestOffered(t *testing.T) {
	r := newRig(t)
	ca := coretest.NewAuthority(t)
	pairs := func() []*certs.Pair {
		return []*certs.Pair{
			r.pair("ecdsa", ca.Issue([]string{"s"}, nil, nil)), r.pair("rsa", ca.Issue([]string{"s"}, coretest.RSAKey(t, 2048), nil)),
		}
	}
	f := func(minimum uint16, c *tls.Config, want bool) {
		t.Helper()
		address, close := r.listen(certs.ListenerOptions{MinVersion: minimum, Pairs: pairs()})
		defer close()
		c.ServerName, c.RootCAs = "s", ca.Pool()
		if s, err := dial(address, c); (err == nil) != want {
			t.Errorf("%x to %x, suites %x: %v, version %x, suite %s", c.MinVersion, c.MaxVersion, c.CipherSuites, err, s.Version, tls.CipherSuiteName(s.CipherSuite))
		}
	}
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		f(tls.VersionTLS12, &tls.Config{MinVersion: version, MaxVersion: version}, want)
		f(tls.VersionTLS13, &tls.Config{MinVersion: version, MaxVersion: version}, version == tls.VersionTLS13)
	}
	// With TLS 1.2 only those with forward secrecy and authenticated encryption.
	good := map[uint16]bool{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: true, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: true,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: true, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: true,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: true, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: true,
	}
	for _, list := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, s := range list {
			if s.SupportedVersions[0] != tls.VersionTLS13 {
				f(tls.VersionTLS12, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{s.ID}}, good[s.ID])
			}
		}
	}
}
