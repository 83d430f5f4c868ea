package identity

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxHeaderBytes = 1 << 10
	maxDate        = 1 << 53 // past it a JSON number is no longer exact
)

// strict refuses padding and trailing bits that are not zero, so that one token has one spelling. It still skips line
// breaks; split has refused those.
var strict = base64.RawURLEncoding.Strict()

// Verify judges a token at the time now. The identity is nil unless the reason is OK. The token is only read, and
// nothing of it is kept. The cheap checks come first; nothing is believed before the signature is.
func (p *Provider) Verify(token []byte, now time.Time) (*Identity, Reason) {
	return p.verify(p.keys.Load(), token, now)
}

func (p *Provider) verify(ks *keySet, token []byte, now time.Time) (*Identity, Reason) {
	c, reason := p.split(token)
	if reason != OK {
		return nil, reason
	}
	h, reason := p.parseHeader(c.header)
	if reason != OK {
		return nil, reason
	}
	if !slices.ContainsFunc(p.allowed, func(a *algorithm) bool { return a.name == h.alg }) {
		return nil, BadAlgorithm
	}
	payload, ok := decode(c.payload)
	if !ok {
		return nil, Malformed
	}
	signature, ok := decode(c.signature)
	if !ok {
		return nil, Malformed
	}
	text := string(payload)
	if p.o.KeyClaim != "" {
		if h.kid, ok = keyClaim(text, p.o.KeyClaim); !ok {
			return nil, BadClaims
		}
	}
	k := ks.choose(h.kid)
	if k == nil {
		return nil, UnknownKey
	}
	use := k.use(h.alg)
	if use == nil {
		return nil, BadAlgorithm
	}
	if len(signature) != use.size || use.verifier.Verify(k.material, c.signed, signature) != nil {
		return nil, BadSignature
	}
	return p.identify(text, now)
}

// choose finds the key by its id. Without one the single key is meant; a single key that has no id answers to any.
func (ks *keySet) choose(kid string) *key {
	if ks.only != nil && (kid == "" || ks.only.kid == "") {
		return ks.only
	}
	if kid == "" {
		return nil
	}
	return ks.byKid[kid]
}

// keyClaim reads the key id, empty when absent, out of a payload that is not verified yet; it is used for the look-up
// and nothing else.
func keyClaim(text, path string) (string, bool) {
	c, ok := parseClaims(text)
	if !ok {
		return "", false
	}
	kid, _ := c.Value(path)
	return kid, len(kid) <= maxKidBytes
}

// compact is a token in JWS compact serialisation (RFC 7515 §7.1), still encoded.
type compact struct{ header, payload, signature, signed []byte }

func (p *Provider) split(token []byte) (c compact, reason Reason) {
	if len(token) == 0 {
		return c, Missing
	}
	if len(token) > p.o.MaxTokenBytes {
		return c, TooLarge
	}
	var dots [2]int
	n := 0
	for i, b := range token {
		switch base64URL[b] {
		case 0:
			return c, Malformed
		case dot:
			if n == len(dots) {
				return c, Malformed
			}
			dots[n] = i
			n++
		}
	}
	if n != len(dots) {
		return c, Malformed
	}
	c.header, c.payload, c.signature = token[:dots[0]], token[dots[0]+1:dots[1]], token[dots[1]+1:]
	c.signed = token[:dots[1]]
	if len(c.header) == 0 || len(c.payload) == 0 || len(c.signature) == 0 {
		return c, Malformed
	}
	return c, OK
}

func decode(part []byte) ([]byte, bool) {
	out := make([]byte, strict.DecodedLen(len(part)))
	n, err := strict.Decode(out, part)
	return out[:n], err == nil && n > 0
}

// header is what we use of the JOSE header (RFC 7515 §4).
type header struct{ alg, kid string }

func (p *Provider) parseHeader(part []byte) (h header, reason Reason) {
	if strict.DecodedLen(len(part)) > maxHeaderBytes {
		return h, TooLarge
	}
	raw, ok := decode(part)
	if !ok {
		return h, Malformed
	}
	members, ok := parseClaims(string(raw))
	if !ok {
		return h, BadHeader
	}
	typ, typed := "", false
	for i := range members.entries {
		e := &members.entries[i]
		if e.kind != kindString {
			return h, BadHeader
		}
		switch value := members.values[e.lo]; e.path {
		case "alg":
			h.alg = value
		case "kid":
			h.kid = value
		case "typ":
			typ, typed = value, true
		case "x5t", "x5t#S256":
			// Thumbprints of a certificate: allowed and not used.
		default:
			// jku, jwk, x5u and x5c would let the sender bring the key; crit, b64, zip and enc change what is signed;
			// cty announces a nested token. Nothing unknown is let through either.
			return h, BadHeader
		}
	}
	if len(h.kid) > maxKidBytes {
		return h, BadHeader
	}
	if !p.allowsType(typ, typed) {
		return h, BadType
	}
	return h, OK
}

func (p *Provider) allowsType(typ string, present bool) bool {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	if len(p.o.Types) == 0 {
		return !present || strings.EqualFold(typ, "JWT") || strings.EqualFold(typ, "at+jwt")
	}
	return present && slices.ContainsFunc(p.o.Types, func(t string) bool { return strings.EqualFold(t, typ) })
}

// identify reads the verified claims (RFC 7519 §4.1) and judges them.
func (p *Provider) identify(text string, now time.Time) (*Identity, Reason) {
	id := &Identity{}
	var ok bool
	if id.claims, ok = parseClaims(text); !ok {
		return nil, BadClaims
	}
	c := &id.claims
	id.Provider, id.Claims = p.o.Name, c
	if e := c.find("sub"); e != nil {
		if e.kind != kindString {
			return nil, BadClaims
		}
		id.Subject = c.values[e.lo]
	}
	if reason := p.judgeTimes(id, now.Unix()); reason != OK {
		return nil, reason
	}
	if !p.allowsIssuer(c) {
		return nil, BadIssuer
	}
	if !p.allowsAudience(c) {
		return nil, BadAudience
	}
	for _, path := range p.o.Require {
		if !c.Has(path) {
			return nil, MissingClaim
		}
	}
	for i := range p.o.Claims {
		if !p.o.Claims[i].allows(c) {
			return nil, BadClaim
		}
	}
	id.Roles = p.listRoles(c)
	id.Scopes = p.listScopes(c)
	if p.o.TenantClaim != "" {
		id.Tenant, _ = c.Value(p.o.TenantClaim)
	}
	return id, OK
}

// judgeTimes reads exp, nbf and iat and settles between which seconds the identity is valid.
func (p *Provider) judgeTimes(id *Identity, now int64) Reason {
	exp, hasExp, ok1 := date(&id.claims, "exp", math.Floor)
	nbf, hasNbf, ok2 := date(&id.claims, "nbf", math.Ceil)
	iat, hasIat, ok3 := date(&id.claims, "iat", math.Ceil)
	if !ok1 || !ok2 || !ok3 || hasExp && exp == 0 {
		return BadClaims
	}
	id.notBefore, id.notAfter, id.staleAfter = math.MinInt64, math.MaxInt64, math.MaxInt64
	if hasExp {
		id.Expires, id.notAfter = exp, exp+p.leeway
	}
	if hasNbf {
		id.notBefore = nbf - p.leeway
	}
	if hasIat {
		id.notBefore = max(id.notBefore, iat-p.leeway)
	}
	if p.maxAge > 0 || p.maxLifetime > 0 {
		if !hasIat || p.maxLifetime > 0 && !hasExp {
			return MissingClaim
		}
	}
	if p.maxAge > 0 {
		id.staleAfter = iat + p.maxAge + p.leeway + 1
	}
	if reason := id.at(now); reason != OK {
		return reason
	}
	if p.maxLifetime > 0 && exp-iat > p.maxLifetime {
		return TooLong
	}
	return OK
}

// at judges the time alone, in seconds since the epoch.
func (id *Identity) at(now int64) Reason {
	switch {
	case now >= id.notAfter:
		return Expired
	case now < id.notBefore:
		return NotYetValid
	case now >= id.staleAfter:
		return TooOld
	}
	return OK
}

// date reads a NumericDate: a JSON number of seconds, fractions allowed, from 0 to below 2⁵³.
func date(c *Claims, path string, round func(float64) float64) (seconds int64, found, ok bool) {
	e := c.find(path)
	if e == nil {
		return 0, false, true
	}
	if e.kind != kindNumber {
		return 0, true, false
	}
	f, err := strconv.ParseFloat(c.values[e.lo], 64)
	if err != nil || f < 0 || f >= maxDate {
		return 0, true, false
	}
	return int64(round(f)), true, true
}

func (p *Provider) allowsIssuer(c *Claims) bool {
	e := c.find("iss")
	if e == nil {
		return p.o.Issuer == ""
	}
	return e.kind == kindString && (p.o.Issuer == "" || c.values[e.lo] == p.o.Issuer)
}

func (p *Provider) allowsAudience(c *Claims) bool {
	list, _, ok := c.strings("aud")
	if !ok {
		return false
	}
	if len(p.o.Audiences) == 0 {
		return true
	}
	return slices.ContainsFunc(list, func(a string) bool { return slices.Contains(p.o.Audiences, a) })
}

// listRoles takes a string as one role: splitting it could make a role out of a piece of another's name. What is not a
// string or an array of strings gives no roles.
func (p *Provider) listRoles(c *Claims) []string {
	for _, path := range p.roles {
		if list, found, _ := c.strings(path); found {
			return list
		}
	}
	return nil
}

// listScopes splits a string at spaces (RFC 6749 §3.3) and takes an array as it is.
func (p *Provider) listScopes(c *Claims) []string {
	for _, path := range p.scopes {
		list, found, _ := c.strings(path)
		if !found {
			continue
		}
		if c.find(path).kind == kindString {
			return strings.FieldsFunc(list[0], func(r rune) bool { return r == ' ' })
		}
		return list
	}
	return nil
}

const dot = 2

// base64URL marks the alphabet of RFC 4648 §5 with 1 and the dot with 2.
var base64URL = func() (t [256]byte) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		t[c] = 1
	}
	t['.'] = dot
	return t
}()
