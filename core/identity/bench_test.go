package identity

import (
	"crypto"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
)

func BenchmarkVerify(b *testing.B) {
	extra := []string{`"scope":"api.read api.write"`, `"realm_access":{"roles":["engineer","reader"]}`, `"team":"blue"`, `"jti":"5f1d9e0e-8c1e-4f7b-9c3a-2f6f1f0b7a11"`}
	for _, c := range []struct {
		alg  string
		key  func(*ProviderOptions)
		sign signer
	}{
		{"RS256", withPublic(rsaKey().Public()), signPKCS1(rsaKey(), crypto.SHA256)},
		{"PS256", withPublic(rsaKey().Public()), signPSS(rsaKey(), crypto.SHA256, 32)},
		{"ES256", withPublic(p256().Public()), signECDSA(p256(), crypto.SHA256)},
		{"EdDSA", withPublic(edKey().Public()), signEd(edKey())},
		{"HS256", func(*ProviderOptions) {}, hs256()},
	} {
		p := provider(b, c.key)
		token := []byte(mint(`{"alg":"`+c.alg+`","typ":"JWT","kid":"a"}`, claims(extra...), c.sign))
		b.Run("cold/"+c.alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, reason := p.Verify(token, now); reason != OK {
					b.Fatal(reason)
				}
			}
		})
		known := cache(b, CacheOptions{})
		b.Run("hit/"+c.alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, reason := known.Verify(p, token, now); reason != OK {
					b.Fatal(reason)
				}
			}
		})
	}
}

func BenchmarkCacheHitParallel(b *testing.B) {
	p, c := provider(b), cache(b, CacheOptions{})
	token := []byte(mint(hsHeader, claims(), hs256()))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, reason := c.Verify(p, token, now); reason != OK {
				b.Fatal(reason)
			}
		}
	})
}

func BenchmarkRefuse(b *testing.B) {
	p := provider(b, withPublic(rsaKey().Public()))
	good := mint(`{"alg":"RS256"}`, claims(), signPKCS1(rsaKey(), crypto.SHA256))
	for name, token := range map[string]string{
		"malformed": good + ".", "alg": mint(`{"alg":"none"}`, claims(), hs256()), "signature": mint(`{"alg":"RS256"}`, claims(), signPKCS1(rsaTwo(), crypto.SHA256)),
	} {
		text := []byte(token)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, reason := p.Verify(text, now); reason == OK {
					b.Fatal(reason)
				}
			}
		})
	}
}

func BenchmarkClaim(b *testing.B) {
	id, _ := provider(b).Verify([]byte(mint(hsHeader, claims(`"realm_access":{"team":"blue"}`), hs256())), now)
	for b.Loop() {
		if _, ok := id.Claim("realm_access.team"); !ok {
			b.Fatal()
		}
	}
}

func BenchmarkPolicy(b *testing.B) {
	p := must(NewPolicy(PolicyOptions{Scopes: []string{"api.read"}, Permissions: []string{"models.train"}, Grants: testRoles(b)}))
	id := &exchange.Identity{Roles: []string{"engineer"}, Scopes: []string{"api.read"}}
	for b.Loop() {
		if !p.Allows(id, nil) {
			b.Fatal()
		}
	}
}
