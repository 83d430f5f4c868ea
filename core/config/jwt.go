package config

import (
	"slices"
	"strings"
	"time"
)

// JWTProvider says whose tokens are believed, and what must be in them. Exactly one of JWKSFile, PublicKey and
// Secret is set.
type JWTProvider struct {
	Pos         Pos
	Name        string
	Issuer      string   // empty: any
	Audiences   []string // the token must have one of them; empty: any
	JWKSFile    string   // resolved
	PublicKey   Secret   // a PEM, as it is or in base64
	Secret      Secret   // of HS256, HS384 and HS512: at least 32 bytes, which only its reader can check of a file
	Algorithms  []string // empty: all that the keys allow
	From        []Selector
	Require     []string // claims that must be there
	Claims      []ClaimRule
	Leeway      time.Duration // of the clock, for exp, nbf and iat
	MaxAge      time.Duration // since iat; 0: no limit
	RolesClaim  string        // path of names with points between them
	ScopesClaim string
}

const (
	// minSecret is RFC 7518 §3.2: a key of the size of the hash output or larger, of which HS256 is the smallest.
	minSecret = 32
	maxLeeway = 5 * time.Minute
)

func (d *decoder) jwtProviders(v value) []JWTProvider {
	entries := d.fields(v)
	out := make([]JWTProvider, len(entries))
	for i, e := range entries {
		p := &out[i]
		*p = JWTProvider{
			Pos:         e.pos,
			Name:        e.name,
			From:        []Selector{{SelectHeader, "authorization"}},
			Require:     []string{"exp"},
			Leeway:      30 * time.Second,
			RolesClaim:  "roles",
			ScopesClaim: "scope",
		}
		d.declare(providers, e.name)
		readObject(d, e.value, jwtKeys, p)
		d.checkProvider(e, p)
	}
	return out
}

var jwtKeys = []key[JWTProvider]{
	{"issuer", now, func(d *decoder, v value, p *JWTProvider) { p.Issuer = d.text(v) }},
	{"audiences", now, func(d *decoder, v value, p *JWTProvider) { p.Audiences = d.someTexts(v) }},
	{"discovery", now, func(d *decoder, v value, _ *JWTProvider) { d.falseOrLater(v, "discovery") }},
	{"jwks_url", later, nil},
	{"jwks_file", now, func(d *decoder, v value, p *JWTProvider) { p.JWKSFile = d.path(v) }},
	{"x509_map_url", later, nil},
	{"public_key", now, func(d *decoder, v value, p *JWTProvider) { p.PublicKey = d.publicKey(v) }},
	{"secret", now, func(d *decoder, v value, p *JWTProvider) { p.Secret = d.hmacSecret(v) }},
	{"algorithms", now, func(d *decoder, v value, p *JWTProvider) { p.Algorithms = d.algorithms(v) }},
	{"from", now, func(d *decoder, v value, p *JWTProvider) { p.From = d.sources(v) }},
	{"require", now, func(d *decoder, v value, p *JWTProvider) { p.Require = d.texts(v) }},
	{"claims", now, func(d *decoder, v value, p *JWTProvider) { p.Claims = d.claims(v, false) }},
	{"leeway", now, func(d *decoder, v value, p *JWTProvider) { p.Leeway = d.leeway(v) }},
	{"max_age", now, func(d *decoder, v value, p *JWTProvider) { p.MaxAge = d.duration(v) }},
	{"key_claim", later, nil},
	{"roles_claim", now, func(d *decoder, v value, p *JWTProvider) { p.RolesClaim = d.text(v) }},
	{"scopes_claim", now, func(d *decoder, v value, p *JWTProvider) { p.ScopesClaim = d.text(v) }},
	{"revocation", later, names[JWTProvider]("redis", "on_store_error")},
}

// keySources are the keys of a provider that say where its keys come from: one of them is needed.
var keySources = []string{"discovery", "jwks_url", "jwks_file", "x509_map_url", "public_key", "secret"}

var jwtSources = []selectorForm{
	{SelectHeader, true, now},
	{SelectCookie, true, now},
	{SelectQuery, true, now},
}

var algorithms = []word{
	{"RS256", now}, {"RS384", now}, {"RS512", now},
	{"PS256", now}, {"PS384", now}, {"PS512", now},
	{"ES256", now}, {"ES384", now}, {"ES512", now},
	{"EdDSA", now},
	{"HS256", now}, {"HS384", now}, {"HS512", now},
}

func (d *decoder) hmacSecret(v value) Secret {
	before := len(d.problems.List)
	s := d.secret(v)
	if s.File == "" && len(s.value) < minSecret && len(d.problems.List) == before {
		d.fail(v.pos, "the secret has %d bytes; at least %d are needed", len(s.value), minSecret)
	}
	return s
}

func (d *decoder) publicKey(v value) Secret {
	before := len(d.problems.List)
	s := d.secret(v)
	if s.IsZero() && len(d.problems.List) == before {
		d.fail(v.pos, "the key is empty")
	}
	return s
}

func (d *decoder) algorithms(v value) []string {
	items := d.items(v)
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "the list is empty: no token could pass")
	}
	var out []string
	for _, item := range items {
		a := d.choice(item, algorithms)
		if a != "" && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

func (d *decoder) sources(v value) []Selector {
	items := d.items(v)
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "the list is empty: no token would be found")
	}
	var out []Selector
	for _, item := range items {
		out = append(out, d.selector(item, jwtSources))
	}
	return out
}

func (d *decoder) leeway(v value) time.Duration {
	t := d.duration(v)
	if t > maxLeeway {
		d.fail(v.pos, "is longer than 5m: an expired token would live on")
	}
	return t
}

// checkProvider checks what no key can tell alone.
func (d *decoder) checkProvider(e entry, p *JWTProvider) {
	if e.value.kind != object {
		return
	}
	var given []string
	for _, name := range keySources {
		n := e.value.get(name)
		if n != nil && !(n.kind == boolean && n.text == "false") {
			given = append(given, name)
		}
	}
	switch {
	case len(given) == 0:
		d.fail(e.pos, "one of jwks_file, public_key and secret is needed")
	case len(given) > 1:
		d.fail(e.pos, "only one of %s is possible", strings.Join(given, ", "))
	}
	// A public key that is taken for an HMAC secret is the classic forgery: the families never mix.
	symmetric := e.value.has("secret")
	for _, a := range p.Algorithms {
		if strings.HasPrefix(a, "HS") != symmetric && len(given) == 1 {
			d.fail(e.pos, "the algorithm %s does not go with %s", a, given[0])
		}
	}
}

func (d *decoder) falseOrLater(v value, name string) {
	if d.boolean(v) {
		d.later(v.pos, name)
	}
}
