package certs_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/certs"
	"github.com/weirproxy/weir/core/coretest"
)

// asks opens a listener that asks for clients' certificates of the authority in clients.pem.
func (r *rig) asks(server coretest.Issued, mode tls.ClientAuthType) (address string, close func()) {
	r.t.Helper()
	roots, err := r.OpenRoots(r.path("clients.pem"))
	if err != nil {
		r.t.Fatal(err)
	}
	return r.listen(certs.ListenerOptions{Pairs: []*certs.Pair{r.pair("s", server)}, Roots: roots, ClientAuth: mode})
}

func TestClientAuth(t *testing.T) {
	r := newRig(t)
	ca, other := coretest.NewAuthority(t), coretest.NewAuthority(t)
	r.write("clients.pem", ca.PEM)
	server := ca.Issue([]string{"s"}, nil, nil)
	good, bad := ca.Issue([]string{"good"}, nil, nil), other.Issue([]string{"bad"}, nil, nil)
	f := func(mode tls.ClientAuthType, client *coretest.Issued, want bool) {
		t.Helper()
		address, close := r.asks(server, mode)
		defer close()
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := &tls.Config{ServerName: "s", RootCAs: ca.Pool(), MaxVersion: version}
			if client != nil {
				pair := client.Pair(t)
				// Also to a server that does not name its authority: a client need not look.
				c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			if _, err := dial(address, c); (err == nil) != want {
				t.Errorf("mode %v, version %x: %v", mode, version, err)
			}
		}
	}
	f(tls.VerifyClientCertIfGiven, nil, true)
	f(tls.VerifyClientCertIfGiven, &good, true)
	f(tls.VerifyClientCertIfGiven, &bad, false)
	f(tls.RequireAndVerifyClientCert, nil, false)
	f(tls.RequireAndVerifyClientCert, &good, true)
	f(tls.RequireAndVerifyClientCert, &bad, false)
}

// TestRootsChange: new roots count for the next handshake, and a session that the old ones let in is not resumed.
func TestRootsChange(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		r := newRig(t)
		ca, before, after := coretest.NewAuthority(t), coretest.NewAuthority(t), coretest.NewAuthority(t)
		r.write("clients.pem", before.PEM)
		address, _ := r.asks(ca.Issue([]string{"s"}, nil, nil), tls.RequireAndVerifyClientCert)
		client := func(i coretest.Issued) *tls.Config {
			pair := i.Pair(t)
			return &tls.Config{
				ServerName: "s", RootCAs: ca.Pool(), MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4),
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
			}
		}
		old := client(before.Issue([]string{"old"}, nil, nil))
		for _, want := range []bool{false, true} {
			if s, err := dial(address, old); err != nil || s.DidResume != want {
				t.Fatalf("version %x: resumed %v, %v", version, s.DidResume, err)
			}
		}
		// Broken roots change nothing.
		r.write("clients.pem", after.PEM[:len(after.PEM)/2])
		r.eventually("broken roots are told", func() bool { return strings.Contains(r.log.String(), "changed roots are not usable") })
		if s, err := dial(address, old); err != nil || !s.DidResume {
			t.Errorf("version %x: resumed %v, %v", version, s.DidResume, err)
		}
		r.write("clients.pem", after.PEM)
		fresh := client(after.Issue([]string{"new"}, nil, nil))
		r.eventually("new roots count", func() bool { _, err := dial(address, fresh); return err == nil })
		// The ticket is still in the cache, and good but for its roots: there is a full handshake, which is refused.
		if s, err := dial(address, old); err == nil {
			t.Errorf("version %x: let in by roots that are gone (resumed %v)", version, s.DidResume)
		}
	}
}

func TestOpenRootsErrors(t *testing.T) {
	r := newRig(t)
	ca := coretest.NewAuthority(t)
	f := func(text, want string) {
		t.Helper()
		r.write("ca.pem", text)
		if _, err := r.OpenRoots(r.path("ca.pem")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("", "no certificate in it")
	f(ca.Issue(nil, nil, nil).Key, "no certificate in it")
	f(ca.PEM+ca.PEM[:100], "cut short")
	f("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "malformed")
	if _, err := r.OpenRoots(r.path("none")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}
