package identity

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/weirproxy/weir/core/exchange"
)

// MTLS is the provider of identities that clients' certificates prove.
const MTLS = "mtls"

// FromTLS gives what the client's certificate proves, once a connection; nil if it sent none that was verified.
func FromTLS(state *tls.ConnectionState) *exchange.Certificate {
	if len(state.VerifiedChains) == 0 || len(state.PeerCertificates) == 0 {
		return nil
	}
	return FromCertificate(state.PeerCertificates[0])
}

// FromCertificate gives the identity of a certificate that has been verified. Its subject is the first URI among the
// subject's alternative names, which is where SPIFFE puts it, else the first DNS name, else the first e-mail address,
// else the common name. One that has none of them, which is allowed, is called by its fingerprint: an empty subject would
// make all such clients one.
//
// Its claims are san (every alternative name: URIs, DNS names, e-mail addresses, IP addresses, in this order), issuer (as
// RFC 2253 writes it), serial and fingerprint (hexadecimal, SHA-256 of the certificate), and not_after (seconds since the
// epoch).
func FromCertificate(c *x509.Certificate) *exchange.Certificate {
	sum := sha256.Sum256(c.Raw)
	var san []string
	for _, u := range c.URIs {
		san = append(san, u.String())
	}
	san = append(append(san, c.DNSNames...), c.EmailAddresses...)
	fingerprint := hex.EncodeToString(sum[:])
	subject := c.Subject.CommonName
	if len(san) > 0 {
		subject = san[0]
	}
	if subject == "" {
		subject = fingerprint
	}
	for _, ip := range c.IPAddresses {
		san = append(san, ip.String())
	}
	claims := certificateClaims{
		"issuer": {c.Issuer.String()}, "serial": {hex.EncodeToString(c.SerialNumber.Bytes())}, "fingerprint": {fingerprint},
		"not_after": {strconv.FormatInt(c.NotAfter.Unix(), 10)},
	}
	if len(san) > 0 {
		claims["san"] = san
	}
	return &exchange.Certificate{
		Identity: exchange.Identity{Provider: MTLS, Subject: subject, Claims: claims}, Expires: c.NotAfter.Unix(),
	}
}

// CheckCertificate says whether a certificate still proves anything: it was verified at the handshake, and connections
// may live for days.
func CheckCertificate(c *exchange.Certificate, now time.Time) Reason {
	if now.Unix() > c.Expires {
		return Expired
	}
	return OK
}

// certificateClaims are what a certificate states.
type certificateClaims map[string][]string

// Value is exchange.Claims's.
func (c certificateClaims) Value(path string) (string, bool) {
	if v := c[path]; len(v) == 1 {
		return v[0], true
	}
	return "", false
}

// List is exchange.Claims's.
func (c certificateClaims) List(path string) ([]string, bool) {
	v, ok := c[path]
	return v, ok
}
