package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v3/jwk"
)

const (
	maxJWKSBytes = 512 << 10
	maxJWKSKeys  = 100
	maxKidBytes  = 256
)

// jwkHead holds the members of a key (RFC 7517 §4) that decide whether it is for us at all. They are read by our own
// scanner: encoding/json would take `KID` for `kid`.
type jwkHead struct {
	kty, crv, use, alg, kid string
	ops                     []string
	members                 Claims
}

// parseJWKS reads a key set (RFC 7517 §5). Keys for other purposes or of other kinds are passed over, as the RFC asks;
// the whole set is refused when it holds a secret or a private key, a key id twice, a malformed or weak key for
// signatures, or nothing we can use.
func parseJWKS(set []byte, allowed []*algorithm) ([]*key, error) {
	if len(set) > maxJWKSBytes {
		return nil, fmt.Errorf("key set is longer than %d bytes", maxJWKSBytes)
	}
	if !strictJSON(string(set)) {
		return nil, errors.New("key set is not one strict JSON object")
	}
	list, err := jwksKeys(set)
	if err != nil {
		return nil, err
	}
	var keys []*key
	var seen []string
	var skipped error
	for i, raw := range list {
		head, ok := parseHead(raw)
		if !ok {
			return nil, fmt.Errorf("key %d of the set is not an object with the right types", i+1)
		}
		if err := head.check(seen); err != nil {
			return nil, fmt.Errorf("key %d of the set %w", i+1, err)
		}
		if head.kid != "" {
			seen = append(seen, head.kid)
		}
		if why := head.foreign(); why != "" {
			skipped = fmt.Errorf("key %d %s", i+1, why)
			continue
		}
		material, err := exportJWK(raw)
		if err != nil {
			return nil, fmt.Errorf("parse key %d of the set: %w", i+1, err)
		}
		k, err := newKey(head.kid, material, head.narrow(allowed))
		if err != nil {
			skipped = fmt.Errorf("key %d: %w", i+1, err)
			continue
		}
		keys = append(keys, k)
	}
	return usableKeys(keys, skipped)
}

func usableKeys(keys []*key, skipped error) ([]*key, error) {
	if len(keys) == 0 {
		if skipped != nil {
			return nil, fmt.Errorf("key set has no usable key: %w", skipped)
		}
		return nil, errors.New("key set has no usable key")
	}
	if len(keys) > 1 && slices.ContainsFunc(keys, func(k *key) bool { return k.kid == "" }) {
		return nil, errors.New("key set holds several keys, one of them without kid: it could never be chosen")
	}
	return keys, nil
}

// jwksKeys returns the raw keys. An object of other members, or none, is an error and never an empty set.
func jwksKeys(set []byte) ([]json.RawMessage, error) {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(set, &doc); err != nil {
		return nil, fmt.Errorf("parse key set: %w", err)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(doc["keys"], &list); err != nil {
		return nil, errors.New("key set has no array `keys`")
	}
	if len(list) > maxJWKSKeys {
		return nil, fmt.Errorf("key set has %d keys, at most %d are read", len(list), maxJWKSKeys)
	}
	return list, nil
}

func parseHead(raw []byte) (h jwkHead, ok bool) {
	h.members, ok = parseClaims(string(raw))
	if !ok {
		return h, false
	}
	for path, field := range map[string]*string{"kty": &h.kty, "crv": &h.crv, "use": &h.use, "alg": &h.alg, "kid": &h.kid} {
		e := h.members.find(path)
		if e == nil {
			continue
		}
		if e.kind != kindString {
			return h, false
		}
		*field = h.members.values[e.lo]
	}
	h.ops, _, ok = h.members.strings("key_ops")
	return h, ok
}

// check finds what makes the whole set untrustworthy.
func (h *jwkHead) check(seen []string) error {
	if h.kty == "oct" || h.members.find("k") != nil {
		return errors.New("is a shared secret: it belongs in no key set")
	}
	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "priv"} {
		if h.members.find(member) != nil {
			return errors.New("is a private key: take it out and replace it, it is no longer a secret")
		}
	}
	if len(h.kid) > maxKidBytes {
		return fmt.Errorf("has a kid longer than %d bytes", maxKidBytes)
	}
	if slices.Contains(seen, h.kid) {
		return fmt.Errorf("has the kid %q of another key", h.kid)
	}
	return nil
}

// foreign says why a sound key is not one for verifying signatures we know.
func (h *jwkHead) foreign() string {
	switch {
	case h.use != "" && h.use != "sig":
		return fmt.Sprintf("is for use %q", h.use)
	case len(h.ops) > 0 && !slices.Contains(h.ops, "verify"):
		return "is not for verifying (key_ops)"
	}
	switch h.kty + " " + h.crv {
	case "RSA ", "EC P-256", "EC P-384", "EC P-521", "OKP Ed25519":
		return ""
	}
	return fmt.Sprintf("is of kind %q, curve %q", h.kty, h.crv)
}

// narrow keeps the one algorithm the key says it is for, when it says so.
func (h *jwkHead) narrow(allowed []*algorithm) []*algorithm {
	if h.alg == "" {
		return allowed
	}
	i := slices.IndexFunc(allowed, func(a *algorithm) bool { return a.name == h.alg })
	if i < 0 {
		return nil
	}
	return allowed[i : i+1]
}

func exportJWK(raw []byte) (any, error) {
	parsed, err := jwk.ParseKey(raw)
	if err != nil {
		return nil, err
	}
	var material any
	if err := jwk.Export(parsed, &material); err != nil {
		return nil, err
	}
	return material, checkMaterial(material)
}
