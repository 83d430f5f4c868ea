package identity

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"
)

func TestFromCertificate(t *testing.T) {
	uri := func(s string) []*url.URL { u, _ := url.Parse(s); return []*url.URL{u} }
	until := time.Unix(2e9, 0)
	sum := sha256.Sum256([]byte("raw"))
	print := hex.EncodeToString(sum[:])
	f := func(c x509.Certificate, subject string, san ...string) {
		t.Helper()
		c.SerialNumber, c.NotAfter, c.Raw = big.NewInt(0xabcdef), until, []byte("raw")
		c.Issuer = pkix.Name{CommonName: "ca", Organization: []string{"o"}}
		got := FromCertificate(&c)
		id := &got.Identity
		if id.Subject != subject || id.Provider != "mtls" || got.Expires != 2e9 {
			t.Errorf("%q by %s until %d, want %q", id.Subject, id.Provider, got.Expires, subject)
		}
		if list, _ := id.ClaimList("san"); !slices.Equal(list, san) {
			t.Errorf("san %q, want %q", list, san)
		}
		for claim, want := range map[string]string{
			"issuer": "CN=ca,O=o", "serial": "abcdef", "not_after": "2000000000",
			"fingerprint": print,
		} {
			v, ok := id.Claim(claim)
			list, _ := id.ClaimList(claim)
			if !ok || v != want || len(list) != 1 || list[0] != want {
				t.Errorf("%s is %q, want %q", claim, v, want)
			}
		}
	}
	all := x509.Certificate{
		URIs: uri("spiffe://example.org/one"), DNSNames: []string{"a.example", "b.example"}, EmailAddresses: []string{"a@example.com"},
		IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}, Subject: pkix.Name{CommonName: "cn"},
	}
	f(all, "spiffe://example.org/one", "spiffe://example.org/one", "a.example", "b.example", "a@example.com", "10.0.0.1")
	all.URIs = nil
	f(all, "a.example", "a.example", "b.example", "a@example.com", "10.0.0.1")
	all.DNSNames = nil
	f(all, "a@example.com", "a@example.com", "10.0.0.1")
	all.EmailAddresses = nil
	// An address says where a client is, not who.
	f(all, "cn", "10.0.0.1")
	all.IPAddresses, all.Subject = nil, pkix.Name{Organization: []string{"o"}}
	f(all, print)

	if FromTLS(&tls.ConnectionState{}) != nil || FromTLS(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{&all}}) != nil {
		t.Error("a certificate that nobody verified is somebody")
	}
	c := FromCertificate(&x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: until})
	for at, want := range map[time.Time]Reason{until: OK, until.Add(time.Second): Expired} {
		if got := CheckCertificate(c, at); got != want {
			t.Errorf("%v at %v", got, at)
		}
	}
}
