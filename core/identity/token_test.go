package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests mint with the standard library only, so that no fault of the verifying library cancels itself out.

const (
	iss  = "https://issuer.example"
	aud  = "weir-tests"
	unix = int64(1_900_000_000)
)

var (
	now    = time.Unix(unix, 500_000_000)
	secret = []byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

	rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	rsaTwo = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	p256   = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	p384   = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	p521   = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)) })
	edKey  = sync.OnceValue(func() ed25519.PrivateKey {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return must(k, err)
	})
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func b64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// signer signs the bytes before the last dot.
type signer func(signed []byte) []byte

func mint(header, payload string, sign signer) string {
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	return signed + "." + b64(sign([]byte(signed)))
}

func digest(h crypto.Hash, text []byte) []byte {
	d := h.New()
	d.Write(text)
	return d.Sum(nil)
}

func signHMAC(newHash func() hash.Hash, key []byte) signer {
	return func(text []byte) []byte {
		m := hmac.New(newHash, key)
		m.Write(text)
		return m.Sum(nil)
	}
}

func signPKCS1(k *rsa.PrivateKey, h crypto.Hash) signer {
	return func(text []byte) []byte { return must(rsa.SignPKCS1v15(rand.Reader, k, h, digest(h, text))) }
}

func signPSS(k *rsa.PrivateKey, h crypto.Hash, salt int) signer {
	return func(text []byte) []byte {
		return must(rsa.SignPSS(rand.Reader, k, h, digest(h, text), &rsa.PSSOptions{SaltLength: salt}))
	}
}

func signECDSA(k *ecdsa.PrivateKey, h crypto.Hash) signer {
	return func(text []byte) []byte {
		r, s, err := ecdsa.Sign(rand.Reader, k, digest(h, text))
		if err != nil {
			panic(err)
		}
		size := (k.Curve.Params().BitSize + 7) / 8
		out := make([]byte, 2*size)
		r.FillBytes(out[:size])
		s.FillBytes(out[size:])
		return out
	}
}

func signEd(k ed25519.PrivateKey) signer {
	return func(text []byte) []byte { return ed25519.Sign(k, text) }
}

func hs256() signer { return signHMAC(sha256.New, secret) }
func hs512() signer { return signHMAC(sha512.New, secret) }

// claims is a good payload with members added or, when empty, taken out.
func claims(extra ...string) string {
	members := []string{
		fmt.Sprintf(`"exp":%d`, unix+300), fmt.Sprintf(`"iat":%d`, unix-10), fmt.Sprintf(`"nbf":%d`, unix-10),
		`"iss":"` + iss + `"`, `"aud":"` + aud + `"`, `"sub":"alice"`,
	}
	return "{" + strings.Join(append(members, extra...), ",") + "}"
}

// with is a good payload in which one member is replaced; an empty value takes it out.
func with(member, value string) string {
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(claims()), &m); err != nil {
		panic(err)
	}
	delete(m, member)
	if value != "" {
		m[member] = json.RawMessage(value)
	}
	var parts []string
	for k, v := range m {
		parts = append(parts, fmt.Sprintf("%q:%s", k, v))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func publicPEM(pub any) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(pub))})
}

func certificatePEM(key crypto.Signer) []byte {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.Add(time.Hour)}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// jwkOf writes a public key as RFC 7517 has it, with members added.
func jwkOf(pub any, extra ...string) string {
	var members []string
	switch k := pub.(type) {
	case *rsa.PublicKey:
		members = []string{`"kty":"RSA"`, `"n":"` + b64(k.N.Bytes()) + `"`, `"e":"` + b64(big.NewInt(int64(k.E)).Bytes()) + `"`}
	case *ecdsa.PublicKey:
		point := must(k.Bytes())
		size := len(point) / 2
		members = []string{`"kty":"EC"`, `"crv":"` + k.Curve.Params().Name + `"`, `"x":"` + b64(point[1:1+size]) + `"`, `"y":"` + b64(point[1+size:]) + `"`}
	case ed25519.PublicKey:
		members = []string{`"kty":"OKP"`, `"crv":"Ed25519"`, `"x":"` + b64(k) + `"`}
	}
	return "{" + strings.Join(append(members, extra...), ",") + "}"
}

func jwksOf(keys ...string) []byte { return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`) }

func options(change ...func(*ProviderOptions)) ProviderOptions {
	o := ProviderOptions{Name: "sso", Issuer: iss, Audiences: []string{"other", aud}, Secret: secret}
	for _, f := range change {
		f(&o)
	}
	return o
}

func provider(t testing.TB, change ...func(*ProviderOptions)) *Provider {
	t.Helper()
	p, err := NewProvider(options(change...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func withPublic(pub any, algs ...string) func(*ProviderOptions) {
	return func(o *ProviderOptions) { o.Secret, o.PublicKey, o.Algorithms = nil, publicPEM(pub), algs }
}

func withJWKS(set []byte, algs ...string) func(*ProviderOptions) {
	return func(o *ProviderOptions) { o.Secret, o.JWKS, o.Algorithms = nil, set, algs }
}

func want(t *testing.T, p *Provider, token string, reason Reason) *Identity {
	t.Helper()
	id, got := p.Verify([]byte(token), now)
	if got != reason {
		t.Fatalf("reason %s, want %s", got, reason)
	}
	if (id != nil) != (reason == OK) {
		t.Fatalf("reason %s with identity %v", got, id)
	}
	return id
}
