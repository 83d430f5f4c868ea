package identity

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestPublicKeyForms(t *testing.T) {
	pub := rsaKey().Public()
	token := mint(`{"alg":"RS256","kid":"whatever"}`, claims(), signPKCS1(rsaKey(), crypto.SHA256))
	text := publicPEM(pub)
	f := func(name string, key []byte) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			p := provider(t, func(o *ProviderOptions) { o.Secret, o.PublicKey = nil, key })
			want(t, p, token, OK)
		})
	}
	f("PEM", text)
	f("PEM between blanks", []byte("\n  "+string(text)+"\n\n"))
	f("base64 of PEM", []byte(base64.StdEncoding.EncodeToString(text)))
	f("base64 of DER", []byte(base64.StdEncoding.EncodeToString(must(x509.MarshalPKIXPublicKey(pub)))))
	f("base64 in lines", []byte(strings.Join(strings.Split(string(text), "\n")[1:8], "\n")))
	f("PKCS1", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)))
	f("certificate", certificatePEM(rsaKey()))
}

func TestPublicKeyRefused(t *testing.T) {
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	x25519 := must(ecdh.X25519().GenerateKey(rand.Reader))
	good := publicPEM(rsaKey().Public())
	f := func(name string, key []byte, text string, algs ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			refused(t, text, func(o *ProviderOptions) { o.Secret, o.PublicKey, o.Algorithms = nil, key, algs })
		})
	}
	small := rsa.PublicKey{N: rsaKey().N, E: 3}
	even := rsa.PublicKey{N: rsaKey().N, E: 65538}
	evenN := rsa.PublicKey{N: new(big.Int).Lsh(rsaKey().N, 1), E: 65537}
	huge := rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8192, 1), E: 65537}
	f("empty", []byte{}, "neither PEM nor base64")
	f("text", []byte("a secret of sorts, really"), "neither PEM nor base64")
	f("broken PEM", []byte("-----BEGIN PUBLIC KEY-----\nAAAA"), "not valid PEM")
	f("PEM of nothing", block("PUBLIC KEY", []byte("x")), "parse public key")
	f("PKCS1 of nothing", block("RSA PUBLIC KEY", []byte("x")), "parse RSA public key")
	f("two blocks", append(good, good...), "something after")
	f("private key", block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaKey()))), "private key")
	f("private RSA key", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey())), "private key")
	f("private EC key", block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(p256()))), "private key")
	f("other block", block("CERTIFICATE REQUEST", []byte("x")), "no public key")
	f("too long", make([]byte, 65<<10), "longer than")
	f("RSA 1024", publicPEM(weak.Public()), "1024 bits")
	f("RSA beyond 8192", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&huge)), "8193 bits")
	f("RSA exponent 3", publicPEM(&small), "exponent 3")
	f("RSA exponent even", publicPEM(&even), "exponent 65538")
	f("RSA modulus even", publicPEM(&evenN), "even")
	f("RSA of the broken generator", publicPEM(&rsa.PublicKey{N: rocaModulus(), E: 65537}), "ROCA")
	f("P-224", publicPEM(p224.Public()), "P-224")
	f("X25519", publicPEM(x25519.PublicKey()), "not supported")
	f("P-384 with the defaults", publicPEM(p384().Public()), "no configured algorithm fits an EC key on P-384")
	f("algorithm of another curve", publicPEM(p256().Public()), "no configured algorithm fits", "ES384")
	f("algorithm that does not fit beside one that does", publicPEM(p256().Public()), "algorithm RS256 fits none", "ES256", "RS256")
	f("HS256 with a public key", good, "HS256 does not go", "HS256")
	f("HS256 beside RS256", good, "HS256 does not go", "RS256", "HS256")
	f("none", good, `"none" is unknown`, "none")
	f("twice", good, "listed twice", "RS256", "RS256")
}

// rocaModulus builds a modulus as the broken generator did: primes of the form k·M + (65537^a mod M).
func rocaModulus() *big.Int {
	m := big.NewInt(1)
	for p := int64(2); p <= 701; p++ {
		if n := big.NewInt(p); n.ProbablyPrime(10) {
			m.Mul(m, n)
		}
	}
	prime := func(bits int) *big.Int {
		for {
			a := must(rand.Int(rand.Reader, m))
			rest := new(big.Int).Exp(big.NewInt(65537), a, m)
			span := new(big.Int).Div(new(big.Int).Lsh(big.NewInt(1), uint(bits)), m)
			k := new(big.Int).Add(new(big.Int).Rsh(span, 1), must(rand.Int(rand.Reader, new(big.Int).Rsh(span, 1))))
			if n := k.Mul(k, m).Add(k, rest); n.ProbablyPrime(10) {
				return n
			}
		}
	}
	return new(big.Int).Mul(prime(1050), prime(1050))
}

func TestJWKSRefused(t *testing.T) {
	a := jwkOf(rsaKey().Public(), `"kid":"a"`)
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf(`{"kty":"x","kid":"%d"}`, i)
	}
	offCurve := `{"kty":"EC","crv":"P-256","x":"` + b64(make([]byte, 32)) + `","y":"` + b64(make([]byte, 32)) + `","kid":"b"}`
	f := func(name string, set []byte, text string, algs ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) { refused(t, text, withJWKS(set, algs...)) })
	}
	f("empty", []byte{}, "not one strict JSON object")
	f("HTML", []byte("<html>"), "not one strict JSON object")
	f("array", []byte("["+a+"]"), "not one strict JSON object")
	f("two documents", append(jwksOf(a), jwksOf(a)...), "not one strict JSON object")
	f("member twice", []byte(`{"keys":[`+a+`],"keys":[]}`), "not one strict JSON object")
	f("member of a key twice", jwksOf(jwkOf(rsaKey().Public(), `"kid":"a"`, `"kid":"b"`)), "not one strict JSON object")
	f("no keys", []byte(`{}`), "no array `keys`")
	f("Keys", []byte(`{"Keys":[`+a+`]}`), "no array `keys`")
	f("keys object", []byte(`{"keys":{"a":`+a+`}}`), "no array `keys`")
	f("keys empty", jwksOf(), "no usable key")
	f("keys null", []byte(`{"keys":null}`), "no usable key")
	f("key no object", jwksOf("7"), "key 1 of the set is not an object")
	f("kid no string", jwksOf(jwkOf(rsaKey().Public(), `"kid":7`)), "right types")
	f("key_ops no array", jwksOf(jwkOf(rsaKey().Public(), `"key_ops":7`)), "right types")
	f("single key without a set", []byte(a), "no array `keys`")
	f("too many", jwksOf(many...), "101 keys")
	f("too long", append(jwksOf(a), make([]byte, 512<<10)...), "longer than")
	f("secret", jwksOf(a, `{"kty":"oct","k":"`+b64(secret)+`","kid":"b"}`), "shared secret")
	f("secret under another kind", jwksOf(a, `{"kty":"EC","k":"AAAA","kid":"b"}`), "shared secret")
	f("private key", jwksOf(a, jwkOf(p256().Public(), `"d":"AAAA"`, `"kid":"b"`)), "private key")
	f("private key for encryption", jwksOf(a, jwkOf(p256().Public(), `"d":"AAAA"`, `"use":"enc"`)), "private key")
	f("primes of a private key", jwksOf(jwkOf(rsaKey().Public(), `"qi":null`)), "private key")
	f("kid twice", jwksOf(a, jwkOf(p256().Public(), `"kid":"a"`)), `kid "a" of another key`)
	f("kid twice, one for encryption", jwksOf(a, jwkOf(p256().Public(), `"kid":"a"`, `"use":"enc"`)), `kid "a" of another key`)
	f("kid too long", jwksOf(jwkOf(rsaKey().Public(), `"kid":"`+strings.Repeat("k", 257)+`"`)), "kid longer")
	f("several, one without kid", jwksOf(a, jwkOf(p256().Public())), "without kid")
	f("weak key", jwksOf(a, jwkOf(weak.Public(), `"kid":"b"`)), "key 2")
	f("exponent 3", jwksOf(jwkOf(&rsa.PublicKey{N: rsaKey().N, E: 3})), "key 1")
	f("broken generator", jwksOf(jwkOf(&rsa.PublicKey{N: rocaModulus(), E: 65537})), "ROCA")
	f("point off the curve", jwksOf(a, offCurve), "key 2")
	f("Ed25519 too short", jwksOf(`{"kty":"OKP","crv":"Ed25519","x":"AAAA"}`), "key 1")
	f("RSA without modulus", jwksOf(`{"kty":"RSA","e":"AQAB"}`), "key 1")
	f("nothing for signatures", jwksOf(jwkOf(rsaKey().Public(), `"use":"enc"`)), `for use "enc"`)
	f("nothing for verifying", jwksOf(jwkOf(rsaKey().Public(), `"key_ops":["sign","encrypt"]`)), "key_ops")
	f("nothing of a kind we know", jwksOf(`{"kty":"AKP","pub":"AAAA"}`), `of kind "AKP"`)
	f("nothing of a curve we know", jwksOf(`{"kty":"EC","crv":"secp256k1","x":"AAAA","y":"AAAA"}`), `"secp256k1"`)
	f("alg for another purpose", jwksOf(jwkOf(rsaKey().Public(), `"alg":"RSA-OAEP"`)), "no usable key")
	f("alg does not fit the key", jwksOf(jwkOf(rsaKey().Public(), `"alg":"ES256"`)), "no usable key")
	f("algorithm no key is for", jwksOf(a), "algorithm ES256 fits none", "RS256", "ES256")
	f("HS256 with a set", jwksOf(a), "HS256 does not go", "HS256")
}

func TestJWKSPassesOverForeignKeys(t *testing.T) {
	set := jwksOf(jwkOf(rsaTwo().Public(), `"kid":"enc"`, `"use":"enc"`, `"alg":"RSA-OAEP"`), `{"kty":"OKP","crv":"X25519","x":"AAAA","kid":"x"}`,
		jwkOf(rsaKey().Public(), `"kid":"a"`, `"use":"sig"`, `"key_ops":["verify"]`), `{"kty":"AKP","kid":"pq","pub":"AAAA"}`,
		jwkOf(p384().Public(), `"kid":"p384"`))
	p := provider(t, withJWKS(set))
	want(t, p, mint(`{"alg":"RS256","kid":"a"}`, claims(), signPKCS1(rsaKey(), crypto.SHA256)), OK)
	want(t, p, mint(`{"alg":"RS256","kid":"enc"}`, claims(), signPKCS1(rsaTwo(), crypto.SHA256)), UnknownKey)
	want(t, p, mint(`{"alg":"ES384","kid":"p384"}`, claims(), signECDSA(p384(), crypto.SHA384)), BadAlgorithm)
}

func TestSetJWKS(t *testing.T) {
	a, b := jwkOf(rsaKey().Public(), `"kid":"a"`), jwkOf(rsaTwo().Public(), `"kid":"b"`)
	p := provider(t, withJWKS(jwksOf(a)))
	old := mint(`{"alg":"RS256","kid":"a"}`, claims(), signPKCS1(rsaKey(), crypto.SHA256))
	fresh := mint(`{"alg":"RS256","kid":"b"}`, claims(), signPKCS1(rsaTwo(), crypto.SHA256))
	want(t, p, fresh, UnknownKey)
	for _, bad := range [][]byte{nil, []byte("<html>"), jwksOf(), jwksOf(b, b), jwksOf(b, `{"kty":"oct","k":"AAAA"}`)} {
		if err := p.SetJWKS(bad); err == nil {
			t.Fatalf("took %s", bad)
		}
		want(t, p, old, OK) // the old set stays
	}
	if err := p.SetJWKS(jwksOf(a, b)); err != nil {
		t.Fatal(err)
	}
	want(t, p, old, OK)
	want(t, p, fresh, OK)
	if err := p.SetJWKS(jwksOf(b)); err != nil {
		t.Fatal(err)
	}
	want(t, p, old, UnknownKey)
	if err := provider(t).SetJWKS(jwksOf(a)); err == nil {
		t.Fatal("a provider of a secret took a key set")
	}
}
