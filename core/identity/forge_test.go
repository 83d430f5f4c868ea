package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"hash"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// Algorithm confusion: all that is public about a key, used as the secret of an HMAC, under every spelling of `alg`.
func TestForgeHMACWithPublicKey(t *testing.T) {
	pub := &rsaKey().PublicKey
	pkix := must(x509.MarshalPKIXPublicKey(pub))
	public := map[string][]byte{
		"PEM": publicPEM(pub), "PEM without its last line feed": publicPEM(pub)[:len(publicPEM(pub))-1], "DER": pkix,
		"PKCS1 DER": x509.MarshalPKCS1PublicKey(pub), "PKCS1 PEM": pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(pub)}),
		"JWK": []byte(jwkOf(pub)), "JWK with alg": []byte(jwkOf(pub, `"alg":"RS256"`, `"kid":"a"`)), "modulus": pub.N.Bytes(),
		"modulus as text": []byte(b64(pub.N.Bytes())), "exponent": {1, 0, 1}, "empty": {},
	}
	for name, change := range map[string]func(*ProviderOptions){
		"PEM":           withPublic(pub),
		"JWKS":          withJWKS(jwksOf(jwkOf(pub, `"kid":"a"`))),
		"JWKS with alg": withJWKS(jwksOf(jwkOf(pub, `"kid":"a"`, `"alg":"RS256"`)), "RS256"),
	} {
		p := provider(t, change)
		for what, bytes := range public {
			for alg, h := range map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New} {
				t.Run(name+"/"+what+"/"+alg, func(t *testing.T) {
					want(t, p, mint(`{"alg":"`+alg+`","kid":"a"}`, claims(), signHMAC(h, bytes)), BadAlgorithm)
					want(t, p, mint(`{"alg":"RS256","kid":"a"}`, claims(), signHMAC(h, bytes)), BadSignature)
				})
			}
		}
	}
}

// A key is good for its own algorithms alone, whatever the header says and the list allows.
func TestForgeAlgorithmOfAnotherKey(t *testing.T) {
	keys := jwksOf(jwkOf(rsaKey().Public(), `"kid":"rsa"`), jwkOf(rsaTwo().Public(), `"kid":"pss"`, `"alg":"PS256"`),
		jwkOf(p256().Public(), `"kid":"p256"`), jwkOf(p384().Public(), `"kid":"p384"`), jwkOf(edKey().Public(), `"kid":"ed"`))
	p := provider(t, withJWKS(keys, "RS256", "PS256", "ES256", "ES384", "EdDSA"))
	sign := map[string]map[string]signer{
		"rsa":  {"RS256": signPKCS1(rsaKey(), crypto.SHA256), "PS256": signPSS(rsaKey(), crypto.SHA256, 32)},
		"pss":  {"PS256": signPSS(rsaTwo(), crypto.SHA256, 32)},
		"p256": {"ES256": signECDSA(p256(), crypto.SHA256)}, "p384": {"ES384": signECDSA(p384(), crypto.SHA384)},
		"ed": {"EdDSA": signEd(edKey())},
	}
	for kid, own := range sign {
		for _, alg := range []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"} {
			header := `{"alg":"` + alg + `","kid":"` + kid + `"}`
			if s, ok := own[alg]; ok {
				want(t, p, mint(header, claims(), s), OK)
				continue
			}
			for _, s := range own {
				want(t, p, mint(header, claims(), s), BadAlgorithm)
			}
		}
		for other := range sign {
			if other == kid {
				continue
			}
			for alg, s := range own {
				id, _ := p.Verify([]byte(mint(`{"alg":"`+alg+`","kid":"`+other+`"}`, claims(), s)), now)
				if id != nil {
					t.Fatalf("a token of %s passed as one of %s", kid, other)
				}
			}
		}
	}
	// PKCS #1 v1.5 shown as PSS and the other way round.
	want(t, p, mint(`{"alg":"PS256","kid":"rsa"}`, claims(), sign["rsa"]["RS256"]), BadSignature)
	want(t, p, mint(`{"alg":"RS256","kid":"rsa"}`, claims(), sign["rsa"]["PS256"]), BadSignature)
	want(t, p, mint(`{"alg":"PS256","kid":"pss"}`, claims(), signPSS(rsaTwo(), crypto.SHA256, 0)), BadSignature)
	want(t, p, mint(`{"alg":"PS256","kid":"pss"}`, claims(), signPSS(rsaTwo(), crypto.SHA256, 20)), BadSignature)
	want(t, p, mint(`{"alg":"PS256","kid":"pss"}`, claims(), signPSS(rsaTwo(), crypto.SHA256, rsa.PSSSaltLengthAuto)), BadSignature)
	want(t, p, mint(`{"alg":"RS256","kid":"rsa"}`, claims(), signPKCS1(rsaKey(), crypto.SHA512)), BadSignature)
}

func TestForgeKid(t *testing.T) {
	keys := jwksOf(jwkOf(rsaKey().Public(), `"kid":"a"`), jwkOf(p256().Public(), `"kid":"b"`))
	p := provider(t, withJWKS(keys))
	sign := signPKCS1(rsaKey(), crypto.SHA256)
	f := func(kid string, reason Reason) {
		t.Helper()
		want(t, p, mint(`{"alg":"RS256"`+kid+`}`, claims(), sign), reason)
	}
	f(`,"kid":"a"`, OK)
	f(`,"kid":"\u0061"`, OK) // the same id, escaped
	f(`,"kid":"b"`, BadAlgorithm)
	f(`,"kid":"A"`, UnknownKey)
	f(`,"kid":"a "`, UnknownKey)
	f(`,"kid":"a\u0000"`, UnknownKey)
	f(`,"kid":"../a"`, UnknownKey)
	f(`,"kid":"a' OR '1'='1"`, UnknownKey)
	f(`,"kid":""`, UnknownKey)
	f(``, UnknownKey)
	f(`,"kid":"a","kid":"a"`, BadHeader)
	// One key with an id: no id in the header is no doubt, another id is another key.
	single := provider(t, withJWKS(jwksOf(jwkOf(rsaKey().Public(), `"kid":"a"`))))
	want(t, single, mint(`{"alg":"RS256"}`, claims(), sign), OK)
	want(t, single, mint(`{"alg":"RS256","kid":"z"}`, claims(), sign), UnknownKey)
	// The key is known, the signature another's.
	want(t, p, mint(`{"alg":"RS256","kid":"a"}`, claims(), signPKCS1(rsaTwo(), crypto.SHA256)), BadSignature)
}

func TestForgeKeyClaim(t *testing.T) {
	keys := jwksOf(jwkOf(rsaKey().Public(), `"kid":"`+iss+`"`), jwkOf(rsaTwo().Public(), `"kid":"b"`))
	p := provider(t, withJWKS(keys), func(o *ProviderOptions) { o.KeyClaim = "iss" })
	sign := signPKCS1(rsaKey(), crypto.SHA256)
	want(t, p, mint(`{"alg":"RS256"}`, claims(), sign), OK)
	want(t, p, mint(`{"alg":"RS256","kid":"b"}`, claims(), sign), OK) // the header's id is not looked at
	want(t, p, mint(`{"alg":"RS256"}`, claims(), signPKCS1(rsaTwo(), crypto.SHA256)), BadSignature)
	want(t, p, mint(`{"alg":"RS256"}`, with("iss", `"c"`), sign), UnknownKey)
	want(t, p, mint(`{"alg":"RS256"}`, with("iss", ""), sign), UnknownKey)
	want(t, p, mint(`{"alg":"RS256"}`, with("iss", `"`+strings.Repeat("k", 257)+`"`), sign), BadClaims)
	want(t, p, mint(`{"alg":"RS256"}`, "{", sign), BadClaims)
}

func TestForgeECDSA(t *testing.T) {
	p := provider(t, withPublic(p256().Public()))
	n := p256().Curve.Params().N
	pair := func(r, s *big.Int) signer {
		return func([]byte) []byte {
			out := make([]byte, 64)
			r.FillBytes(out[:32])
			s.FillBytes(out[32:])
			return out
		}
	}
	zero, one, less := big.NewInt(0), big.NewInt(1), new(big.Int).Sub(n, big.NewInt(1))
	for _, r := range []*big.Int{zero, one, less, n} {
		for _, s := range []*big.Int{zero, one, less, n} {
			want(t, p, mint(`{"alg":"ES256"}`, claims(), pair(r, s)), BadSignature)
		}
	}
	der := func(text []byte) []byte {
		return must(ecdsa.SignASN1(rand.Reader, p256(), digest(crypto.SHA256, text)))
	}
	want(t, p, mint(`{"alg":"ES256"}`, claims(), der), BadSignature)
	// Longer numbers of the same value.
	long := func(text []byte) []byte {
		raw := signECDSA(p256(), crypto.SHA256)(text)
		return slices.Concat([]byte{0}, raw[:32], []byte{0}, raw[32:])
	}
	want(t, p, mint(`{"alg":"ES256"}`, claims(), long), BadSignature)
	want(t, p, mint(`{"alg":"ES256"}`, claims(), signECDSA(p256(), crypto.SHA512)), BadSignature)
	want(t, p, mint(`{"alg":"ES256"}`, claims(), signECDSA(p384(), crypto.SHA256)), BadSignature)
	want(t, p, mint(`{"alg":"ES384"}`, claims(), signECDSA(p384(), crypto.SHA384)), BadAlgorithm)
	want(t, p, mint(`{"alg":"ES256K"}`, claims(), signECDSA(p256(), crypto.SHA256)), BadAlgorithm)
	var sequence struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der([]byte("x")), &sequence); err != nil {
		t.Fatal(err)
	}
}

func TestForgeEdDSA(t *testing.T) {
	p := provider(t, withPublic(edKey().Public()))
	// S + L is the same number modulo the group's order; RFC 8032 §5.1.7 refuses it.
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	malleable := func(text []byte) []byte {
		sig := signEd(edKey())(text)
		s := slices.Clone(sig[32:])
		slices.Reverse(s)
		sum := new(big.Int).Add(new(big.Int).SetBytes(s), order)
		sum.FillBytes(s)
		slices.Reverse(s)
		return append(sig[:32:32], s...)
	}
	want(t, p, mint(`{"alg":"EdDSA"}`, claims(), malleable), BadSignature)
	want(t, p, mint(`{"alg":"Ed25519"}`, claims(), signEd(edKey())), BadAlgorithm)
	want(t, p, mint(`{"alg":"Ed448"}`, claims(), signEd(edKey())), BadAlgorithm)
}

func TestForgeRSA(t *testing.T) {
	p := provider(t, withPublic(rsaKey().Public()))
	constant := func(n *big.Int) signer {
		return func([]byte) []byte { return n.FillBytes(make([]byte, 256)) }
	}
	n := rsaKey().N
	for _, s := range []*big.Int{big.NewInt(0), big.NewInt(1), new(big.Int).Sub(n, big.NewInt(1)), n} {
		want(t, p, mint(`{"alg":"RS256"}`, claims(), constant(s)), BadSignature)
		want(t, p, mint(`{"alg":"PS256"}`, claims(), constant(s)), BadSignature)
	}
	// The signature of another message, and of the same message in another token's place.
	want(t, p, mint(`{"alg":"RS256"}`, claims(), func([]byte) []byte { return signPKCS1(rsaKey(), crypto.SHA256)([]byte("x")) }), BadSignature)
	// A signature over the decoded parts, as a verifier that joins them anew would compute it.
	want(t, p, mint(`{"alg":"RS256"}`, claims(), func([]byte) []byte {
		return signPKCS1(rsaKey(), crypto.SHA256)([]byte(`{"alg":"RS256"}` + "." + claims()))
	}), BadSignature)
}

// What a flood sends must cost a refusal less than a verification: none of these gets as far as a key.
func TestForgeNeedsNoKey(t *testing.T) {
	p := provider(t)
	p.keys.Store(nil)
	token := mint(hsHeader, claims(), hs256())
	for _, bad := range []string{
		"", token + ".", token + "=", strings.Repeat("A.", 9000), mint(`{"alg":"none"}`, claims(), hs256()), mint(`{"jku":"x"}`, claims(), hs256()),
		mint(`{"alg":"HS256","typ":"x"}`, claims(), hs256()), fmt.Sprintf("%s.%s.B", b64([]byte(hsHeader)), b64([]byte("{}"))),
	} {
		if _, reason := p.Verify([]byte(bad), now); reason == OK {
			t.Fatal("accepted")
		}
	}
}
