package identity

import (
	"crypto"
	"strings"
	"testing"
)

// FuzzVerify: no input panics, and none is accepted, for no seed is signed by a key of the provider. What is not three
// canonical parts never reaches a key.
func FuzzVerify(f *testing.F) {
	foreign := []byte("a secret that no provider knows, of sixty-four bytes and no more")
	for _, token := range []string{
		"", ".", "..", "...", "a.b.c", mint(hsHeader, claims(), signHMAC(crypto.SHA256.New, foreign)),
		mint(`{"alg":"none"}`, claims(), func([]byte) []byte { return []byte{0} }),
		mint(`{"alg":"RS256","kid":"a"}`, claims(), signPKCS1(rsaTwo(), crypto.SHA256)),
		mint(`{"alg":"PS256","kid":"a"}`, claims(), signPSS(rsaTwo(), crypto.SHA256, 32)),
		mint(`{"alg":"ES256","kid":"b"}`, claims(), signECDSA(p384(), crypto.SHA256)),
		mint(`{"alg":"EdDSA","kid":"c"}`, claims(), func([]byte) []byte { return make([]byte, 64) }),
		mint(`{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}`, claims(), signHMAC(crypto.SHA256.New, []byte{0, 0, 0})),
		mint(`{"alg":"HS256","crit":["b64"],"b64":false}`, claims(), signHMAC(crypto.SHA256.New, foreign)),
		mint(`{"alg":"HS256","alg":"none"}`, claims(), signHMAC(crypto.SHA256.New, foreign)),
		mint(hsHeader, strings.Repeat(`{"a":`, 40), signHMAC(crypto.SHA256.New, foreign)),
	} {
		f.Add([]byte(token))
	}
	set := jwksOf(jwkOf(rsaKey().Public(), `"kid":"a"`), jwkOf(p256().Public(), `"kid":"b"`), jwkOf(edKey().Public(), `"kid":"c"`))
	providers := []*Provider{provider(f), provider(f, withJWKS(set)), provider(f, withPublic(p256().Public())),
		provider(f, withJWKS(set), func(o *ProviderOptions) { o.KeyClaim = "iss" })}
	cached := cache(f, CacheOptions{Entries: 8})
	f.Fuzz(func(t *testing.T, token []byte) {
		for _, p := range providers {
			id, reason := p.Verify(token, now)
			if id != nil || reason == OK {
				t.Fatalf("accepted %q", token)
			}
			if again, other := cached.Verify(p, token, now); again != nil || other != reason {
				t.Fatalf("%s without the cache, %s with it", reason, other)
			}
		}
	})
}

// FuzzPayload signs what it is given: the payload is then believed or refused, and what is believed is what the rules say.
func FuzzPayload(f *testing.F) {
	f.Add(claims())
	f.Add(claims(`"exp":1`))
	f.Add(with("exp", "1e10"))
	f.Add(with("aud", `["weir-tests",null]`))
	f.Add(`{"exp":9007199254740991,"nbf":0,"iat":0,"iss":"https://issuer.example","aud":["weir-tests"]}`)
	p := provider(f)
	f.Fuzz(func(t *testing.T, payload string) {
		id, reason := p.Verify([]byte(mint(hsHeader, payload, hs256())), now)
		if reason != OK {
			return
		}
		issuer, _ := id.Claim("iss")
		audiences, _ := id.Claims.List("aud")
		if id.Expires+30 <= unix || issuer != iss || len(audiences) == 0 {
			t.Fatalf("accepted %q as %+v", payload, id)
		}
	})
}

// FuzzJWKS: a key set is refused or gives keys that fit the algorithms.
func FuzzJWKS(f *testing.F) {
	f.Add(jwksOf(jwkOf(rsaKey().Public(), `"kid":"a"`), jwkOf(p256().Public(), `"kid":"b"`, `"use":"enc"`)))
	f.Add(jwksOf(`{"kty":"oct","k":"AAAA"}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA","key_ops":[]}]}`))
	allowed := must(parseAlgorithms(defaultAlgorithms))
	f.Fuzz(func(t *testing.T, set []byte) {
		keys, err := parseJWKS(set, allowed)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys and %v", len(keys), err)
		}
		for _, k := range keys {
			if _, symmetric := k.material.([]byte); symmetric || len(k.uses) == 0 || checkMaterial(k.material) != nil {
				t.Fatalf("took %s", describe(k.material))
			}
		}
	})
}
