package config

// Auth says how a route learns who is calling.
type Auth struct {
	Pos  Pos
	Kind AuthKind
	Name string // of the provider, for AuthJWT
	Any  []Auth // for AuthAny: one of these is enough; never none
}

// AuthKind is the kind of an [Auth].
type AuthKind string

const (
	AuthNone AuthKind = "none"
	AuthJWT  AuthKind = "jwt"
	AuthAny  AuthKind = "any"
	AuthMTLS AuthKind = "mtls" // the client's certificate, which a listener asks for
)

// authKeys is a function because any: [{any: …}] leads back to it.
func authKeys() []key[Auth] {
	return []key[Auth]{
		{"jwt", now, func(d *decoder, v value, a *Auth) { a.Kind, a.Name = AuthJWT, d.mention(v, providers) }},
		{"any", now, func(d *decoder, v value, a *Auth) { a.Kind, a.Any = AuthAny, d.anyOf(v) }},
		{"all", later, nil},
		{"api_key", later, nil},
		{"basic", later, nil},
		{"external", later, nil},
		{"oidc", later, nil},
		{"mtls", now, func(d *decoder, v value, a *Auth) { a.Kind = d.mtls(v) }},
		{"proxy", later, names[Auth]("header")},
	}
}

func (d *decoder) auth(v value) Auth {
	a := Auth{Pos: v.pos}
	if v.kind == text {
		if s := d.text(v); s == string(AuthNone) {
			a.Kind = AuthNone
		} else if s != "" {
			d.fail(v.pos, "wants none, {jwt: name}, {mtls: true} or {any: […]}, not %q%s", s, suggest(s, []string{string(AuthNone)}))
		}
		return a
	}
	if v.kind == object && len(v.node.fields) != 1 {
		d.fail(v.pos, "wants one way to authenticate; several are written any: [{jwt: a}, {jwt: b}]")
	}
	readObject(d, v, authKeys(), &a)
	return a
}

// mtls takes true only: what false would mean is not to be guessed.
func (d *decoder) mtls(v value) AuthKind {
	before := len(d.problems.List)
	if !d.boolean(v) && len(d.problems.List) == before {
		d.fail(v.pos, "wants true; to let everybody in, write auth: none")
	}
	return AuthMTLS
}

func (d *decoder) anyOf(v value) []Auth {
	items := d.items(v)
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "the list is empty; to let everybody in, write auth: none")
	}
	out := make([]Auth, 0, len(items))
	for _, item := range items {
		a := d.auth(item)
		if a.Kind == AuthNone {
			d.fail(item.pos, "none is not possible in a list: it would let everybody in")
		}
		out = append(out, a)
	}
	return out
}

// Identifies says that the route can know who is calling.
func (a *Auth) Identifies() bool {
	return a != nil && a.Kind != AuthNone
}
