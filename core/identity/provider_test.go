package identity

import (
	"bytes"
	"crypto"
	"reflect"
	"strings"
	"testing"
	"time"
)

func refused(t *testing.T, text string, change ...func(*ProviderOptions)) {
	t.Helper()
	_, err := NewProvider(options(change...))
	if err == nil {
		t.Fatalf("accepted, want an error with %q", text)
	}
	if !strings.HasPrefix(err.Error(), "build jwt provider ") || !strings.Contains(err.Error(), text) {
		t.Fatalf("error %q, want one with %q", err, text)
	}
}

func TestProviderOptionsRefused(t *testing.T) {
	f := func(text string, change func(*ProviderOptions)) {
		t.Helper()
		t.Run(text, func(t *testing.T) { refused(t, text, change) })
	}
	f("no name", func(o *ProviderOptions) { o.Name = "" })
	f("0 sources of keys", func(o *ProviderOptions) { o.Secret = nil })
	f("2 sources of keys", func(o *ProviderOptions) { o.PublicKey = publicPEM(p256().Public()) })
	f("31 bytes", func(o *ProviderOptions) { o.Secret = secret[:31] })
	f("is a PEM block", func(o *ProviderOptions) { o.Secret = publicPEM(p256().Public()) })
	f("fits a secret of 63 bytes", func(o *ProviderOptions) { o.Secret, o.Algorithms = secret[:63], []string{"HS512"} })
	f("HS512 fits none", func(o *ProviderOptions) { o.Secret, o.Algorithms = secret[:63], []string{"HS256", "HS512"} })
	f("RS256 does not go", func(o *ProviderOptions) { o.Algorithms = []string{"HS256", "RS256"} })
	f("longer than 5m0s", func(o *ProviderOptions) { o.Leeway = 301 * time.Second })
	f("whole seconds", func(o *ProviderOptions) { o.Leeway = 1500 * time.Millisecond })
	f("not be negative", func(o *ProviderOptions) { o.MaxAge = -1 })
	f("1 to 16384 bytes", func(o *ProviderOptions) { o.MaxTokenBytes = 16385 })
	f("1 to 16384 bytes, not -1", func(o *ProviderOptions) { o.MaxTokenBytes = -1 })
	f("must not be empty", func(o *ProviderOptions) { o.Audiences = []string{""} })
	f("claim rule needs", func(o *ProviderOptions) { o.Claims = []ClaimRule{{Path: "a"}} })
	f("unknown kind", func(o *ProviderOptions) { o.Sources = []Source{{Kind: 9}} })
	f("needs a name", func(o *ProviderOptions) { o.Sources = []Source{{Kind: Cookie}} })
}

func TestProviderErrorsShowNoSecret(t *testing.T) {
	weak := bytes.Repeat([]byte("s3cr3t"), 5)
	_, err := NewProvider(options(func(o *ProviderOptions) { o.Secret = weak }))
	if err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Fatalf("error %v", err)
	}
}

func TestProviderDefaults(t *testing.T) {
	p := provider(t)
	if p.Name() != "sso" || p.Issuer() != iss || len(p.Sources()) != 1 || p.Sources()[0] != (Source{}) {
		t.Fatalf("provider %s %s %v", p.Name(), p.Issuer(), p.Sources())
	}
	if p.leeway != 30 || p.o.Secret != nil || len(p.allowed) != 1 {
		t.Fatalf("leeway %d, secret kept %v, %d algorithms", p.leeway, p.o.Secret != nil, len(p.allowed))
	}
	// The caller may wipe its secret.
	mine := bytes.Clone(secret)
	p = provider(t, func(o *ProviderOptions) { o.Secret = mine })
	clear(mine)
	want(t, p, mint(hsHeader, claims(), hs256()), OK)
}

// The generation is by content: equal options share cached tokens across a reload, and no option can change unnoticed.
func TestGenerationNamesEveryOption(t *testing.T) {
	base := options(withJWKS(jwksOf(jwkOf(rsaKey().Public(), `"kid":"a"`))))
	generation := func(o ProviderOptions) [32]byte { return must(NewProvider(o)).keys.Load().generation }
	first := generation(base)
	if first != generation(base) {
		t.Fatal("equal options, two generations")
	}
	changed := options(func(o *ProviderOptions) {
		o.Name, o.Issuer, o.Audiences, o.Algorithms, o.Types = "b", "b", []string{"b"}, []string{"PS256"}, []string{"b"}
		o.KeyClaim, o.Require, o.Claims, o.Leeway = "b", []string{"b"}, []ClaimRule{{Path: "b", AnyOf: []string{"b"}}}, time.Second
		o.MaxAge, o.MaxLifetime, o.RolesClaim, o.ScopesClaim, o.TenantClaim = time.Second, time.Second, "b", "b", "b"
		o.Sources, o.MaxTokenBytes = []Source{{Kind: Query, Name: "b"}}, 100
		o.JWKS = jwksOf(jwkOf(rsaTwo().Public(), `"kid":"a"`))
	})
	v, c := reflect.ValueOf(&base).Elem(), reflect.ValueOf(changed)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if name == "PublicKey" || name == "Secret" {
			continue
		}
		keep := reflect.ValueOf(base).Field(i)
		if reflect.DeepEqual(keep.Interface(), c.Field(i).Interface()) {
			t.Fatalf("the test does not change %s", name)
		}
		v.Field(i).Set(c.Field(i))
		if generation(base) == first {
			t.Errorf("%s changes and the generation does not", name)
		}
		v.Field(i).Set(keep)
	}
	one, two := provider(t), provider(t, func(o *ProviderOptions) { o.Secret = append([]byte("x"), secret...) })
	if one.keys.Load().generation == two.keys.Load().generation {
		t.Error("the secret changes and the generation does not")
	}
	pub := provider(t, withPublic(rsaKey().Public())).keys.Load().generation
	if pub == provider(t, withPublic(rsaTwo().Public())).keys.Load().generation {
		t.Error("the public key changes and the generation does not")
	}
}

func TestReasonNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range reasons {
		if r.String() == "" || seen[r.String()] {
			t.Fatalf("reason %d has the name %q", r, r)
		}
		seen[r.String()] = true
	}
	if reasons.String() != "unknown" || OK.String() != "ok" {
		t.Fatal("names")
	}
}

func TestSource(t *testing.T) {
	f := func(text string, want Source) {
		t.Helper()
		got, err := ParseSource(text)
		if err != nil || got != want || got.String() != strings.ToLower(text) && got.Kind <= Header {
			t.Fatalf("%s: %v, %v", text, got, err)
		}
		if err := got.validate(); err != nil {
			t.Fatal(err)
		}
	}
	f("header:authorization", Source{})
	f("header:Authorization", Source{})
	f("header:X-Token", Source{Kind: Header, Name: "x-token"})
	f("cookie:Session", Source{Kind: Cookie, Name: "Session"})
	f("query:access_token", Source{Kind: Query, Name: "access_token"})
	for _, bad := range []string{"", "authorization", "header:", "header:a b", "cookie:a=b", "query:a&b", "body:x", "header:a\r\nb", "Header:x"} {
		if _, err := ParseSource(bad); err == nil {
			t.Errorf("took %q", bad)
		}
	}
	for _, s := range []string{"header:x-a", "cookie:A", "query:b"} {
		if got := must(ParseSource(s)).String(); got != s {
			t.Errorf("%s became %s", s, got)
		}
	}
}

func TestSourceToken(t *testing.T) {
	f := func(s Source, value, want string, reason Reason) {
		t.Helper()
		got, r := s.Token([]byte(value))
		if string(got) != want || r != reason {
			t.Fatalf("%q: %q, %s", value, got, r)
		}
	}
	f(Source{}, "Bearer a.b.c", "a.b.c", OK)
	f(Source{}, "bEARER a.b.c", "a.b.c", OK)
	f(Source{}, "Bearer  a.b.c", " a.b.c", OK) // one space is the scheme's, the other makes the token malformed
	f(Source{}, "Bearer\ta.b.c", "", Missing)
	f(Source{}, "Bearer ", "", Missing)
	f(Source{}, "Bearer", "", Missing)
	f(Source{}, "Basic abc", "", Missing)
	f(Source{}, "BearerX a.b.c", "", Missing)
	f(Source{}, "\x02earer a.b.c", "", Missing)
	f(Source{}, "", "", Missing)
	f(Source{Kind: Header, Name: "x"}, "a.b.c", "a.b.c", OK)
	f(Source{Kind: Cookie, Name: "x"}, "", "", Missing)
	value := []byte(mint(`{"alg":"RS256"}`, claims(), signPKCS1(rsaKey(), crypto.SHA256)))
	if got, _ := (Source{Kind: Query, Name: "x"}).Token(value); &got[0] != &value[0] {
		t.Fatal("the token is a copy")
	}
}
