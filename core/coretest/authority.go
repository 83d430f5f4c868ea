package coretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// Authority issues certificates for tests.
type Authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  crypto.Signer
	PEM  string // of its own certificate
}

// NewAuthority makes a root.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	return issueAuthority(t, nil, nil)
}

// SelfSigned makes a certificate for names that nobody vouches for.
func SelfSigned(t testing.TB, names []string) Issued {
	a := NewAuthority(t)
	return a.Issue(names, a.key, func(c *x509.Certificate) { c.Subject = a.cert.Subject })
}

// Intermediate makes an authority below a, with the given key or one of its own choice.
func (a *Authority) Intermediate(key crypto.Signer) *Authority {
	a.t.Helper()
	return issueAuthority(a.t, a, key)
}

func issueAuthority(t testing.TB, parent *Authority, key crypto.Signer) *Authority {
	t.Helper()
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	a := &Authority{t: t, key: key}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority " + rand.Text()[:6]}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	by, signer := template, key
	if parent != nil {
		by, signer = parent.cert, parent.key
	}
	a.cert, a.PEM = sign(t, template, by, key.Public(), signer)
	return a
}

// Pool has a as its only root.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// Issued is a certificate and its key, as PEM.
type Issued struct{ Cert, Key string }

// Pair is i for crypto/tls.
func (i Issued) Pair(t testing.TB) tls.Certificate {
	t.Helper()
	p, err := tls.X509KeyPair([]byte(i.Cert), []byte(i.Key))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Issue makes a certificate of an hour for names, with a P-256 key, for both sides of TLS. change, if not nil, may change
// all of that first; key, if not nil, is the one to certify.
func (a *Authority) Issue(names []string, key crypto.Signer, change func(*x509.Certificate)) Issued {
	a.t.Helper()
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			a.t.Fatal(err)
		}
	}
	template := &x509.Certificate{
		DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(template)
	}
	_, cert := sign(a.t, template, a.cert, key.Public(), a.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return Issued{cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))}
}

// RSAKey makes a key of so many bits.
func RSAKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, string) {
	t.Helper()
	var err error
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
