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
	claims := &certificateClaims{
		issuer: c.Issuer.String(), serial: hex.EncodeToString(c.SerialNumber.Bytes()), fingerprint: hex.EncodeToString(sum[:]),
		notAfter: strconv.FormatInt(c.NotAfter.Unix(), 10),
	}
	for _, u := range c.URIs {
		claims.san = append(claims.san, u.String())
	}
	claims.san = append(append(claims.san, c.DNSNames...), c.EmailAddresses...)
	subject := c.Subject.CommonName
	if len(claims.san) > 0 {
		subject = claims.san[0]
	}
	if subject == "" {
		subject = claims.fingerprint
	}
	for _, ip := range c.IPAddresses {
		claims.san = append(claims.san, ip.String())
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
type certificateClaims struct {
	san                                   []string
	issuer, serial, fingerprint, notAfter string
}

// Value is exchange.Claims's.
func (c *certificateClaims) Value(path string) (string, bool) {
	v := ""
	switch path {
	case "san":
		if len(c.san) == 1 {
			v = c.san[0]
		}
	case "issuer":
		v = c.issuer
	case "serial":
		v = c.serial
	case "fingerprint":
		v = c.fingerprint
	case "not_after":
		v = c.notAfter
	}
	return v, v != ""
}

// List is exchange.Claims's.
func (c *certificateClaims) List(path string) ([]string, bool) {
	if path == "san" {
		return c.san, len(c.san) > 0
	}
	v, ok := c.Value(path)
	if !ok {
		return nil, false
	}
	return []string{v}, true
}
