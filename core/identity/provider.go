package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

const (
	defaultLeeway     = 30 * time.Second
	maxLeeway         = 300 * time.Second
	defaultTokenBytes = 8 << 10
	maxTokenBytes     = 16 << 10
)

// ProviderOptions describe who issues tokens and what is asked of them. Exactly one of PublicKey, JWKS and Secret is given.
type ProviderOptions struct {
	// Name is the provider's name in the configuration; required.
	Name string
	// Issuer is what `iss` must be, byte for byte; empty: not checked.
	Issuer string
	// Audiences: one of them must be in `aud`; none: not checked.
	Audiences []string
	// Algorithms allowed in the header; none: RS256, PS256, ES256 and EdDSA as far as the keys go, HS256 with a Secret.
	// One that no key fits is an error, and so is HS* without a Secret.
	Algorithms []string
	// Types allowed in `typ`, compared without case and without `application/`; none: JWT, at+jwt and no `typ`.
	Types []string

	// PublicKey is a public key or certificate: PEM, or base64 of PEM or DER. Its kid is whatever the token says.
	PublicKey []byte
	// JWKS is the content of a key set (RFC 7517), at most 512 KiB and 100 keys.
	JWKS []byte
	// Secret is the key for HS*: at least 32 bytes and as long as the hash.
	Secret []byte

	// KeyClaim is the claim in which the key id stands instead of the header; empty: the header's `kid`.
	KeyClaim string
	// Require lists claims that must be there; nil: `exp`. A list without exp lets tokens live for ever.
	Require []string
	// Claims are rules on values; all must hold.
	Claims []ClaimRule
	// Leeway is the clock difference tolerated at exp, nbf and iat, in whole seconds; 0: 30 s, negative: none, at most 300 s.
	Leeway time.Duration
	// MaxAge bounds the time since `iat`, which is then required; 0: no bound. Whole seconds.
	MaxAge time.Duration
	// MaxLifetime bounds `exp` − `iat`, which are then required; 0: no bound. Whole seconds.
	MaxLifetime time.Duration
	// RolesClaim is the path of an array of roles or of one role; empty: `roles`.
	RolesClaim string
	// ScopesClaim is the path of a space-separated string or an array; empty: the first there is of `scope`, `scopes`, `scp`.
	ScopesClaim string
	// TenantClaim is the path of Identity.Tenant; empty: none.
	TenantClaim string
	// Sources are where callers look for the token; none: the Authorization header.
	Sources []Source
	// MaxTokenBytes bounds a token; 0: 8 KiB, at most 16 KiB.
	MaxTokenBytes int
}

// Provider verifies the tokens of one issuer. All methods may be called concurrently.
type Provider struct {
	o           ProviderOptions // with the defaults filled in and the keys taken out
	allowed     []*algorithm
	rotates     bool  // made with a key set
	leeway      int64 // seconds, and so are the next two
	maxAge      int64
	maxLifetime int64
	roles       []string
	scopes      []string
	digest      [sha256.Size]byte // of the options without the keys
	keys        atomic.Pointer[keySet]
}

// keySet is what SetJWKS exchanges as a whole.
type keySet struct {
	byKid map[string]*key
	only  *key // the single key there is, else nil
	// generation names options and keys by content. Cached tokens carry it: they outlive a reload that changes
	// nothing, and a changed key or rule leaves them behind.
	generation [sha256.Size]byte
}

// NewProvider checks the options and reads the keys. The error says what is wrong, for the operator, and never shows a
// key. The options are copied except for the slices, which the caller leaves alone from now on.
func NewProvider(o ProviderOptions) (*Provider, error) {
	p, err := newProvider(o)
	if err != nil {
		return nil, fmt.Errorf("build jwt provider %s: %w", o.Name, err)
	}
	return p, nil
}

func newProvider(o ProviderOptions) (*Provider, error) {
	p := &Provider{o: o}
	if err := p.normalise(); err != nil {
		return nil, err
	}
	keys, err := p.readKeys()
	if err != nil {
		return nil, err
	}
	if len(o.Algorithms) > 0 {
		for _, a := range p.allowed {
			if !slices.ContainsFunc(keys, func(k *key) bool { return k.use(a.name) != nil }) {
				return nil, fmt.Errorf("algorithm %s fits none of the keys", a.name)
			}
		}
	}
	p.rotates = p.o.JWKS != nil
	p.o.JWKS = nil
	// JSON takes every exported field there is, so one added later is not forgotten.
	text, err := json.Marshal(p.o)
	if err != nil {
		return nil, err
	}
	p.digest = sha256.Sum256(text)
	p.o.PublicKey, p.o.Secret = nil, nil
	p.keys.Store(p.newKeySet(keys, o.JWKS))
	return p, nil
}

// Name is the provider's name.
func (p *Provider) Name() string { return p.o.Name }

// Issuer is the `iss` asked for, or empty.
func (p *Provider) Issuer() string { return p.o.Issuer }

// Sources are where a token is looked for, in order; read only.
func (p *Provider) Sources() []Source { return p.o.Sources }

// SetJWKS exchanges the key set of a provider that was made with one. On an error the old set stays. Tokens verified
// with the old set are found in no cache any more, for their generation is gone; their memory is used again by and by.
func (p *Provider) SetJWKS(set []byte) error {
	if !p.rotates {
		return fmt.Errorf("exchange keys of jwt provider %s: it has no key set", p.o.Name)
	}
	keys, err := parseJWKS(set, p.allowed)
	if err != nil {
		return fmt.Errorf("exchange keys of jwt provider %s: %w", p.o.Name, err)
	}
	p.keys.Store(p.newKeySet(keys, set))
	return nil
}

func (p *Provider) newKeySet(keys []*key, set []byte) *keySet {
	ks := &keySet{byKid: make(map[string]*key, len(keys))}
	for _, k := range keys {
		ks.byKid[k.kid] = k
	}
	if len(keys) == 1 {
		ks.only = keys[0]
	}
	h := sha256.New()
	h.Write(p.digest[:])
	h.Write(set)
	h.Sum(ks.generation[:0])
	return ks
}

// normalise fills in the defaults and checks everything but the keys.
func (p *Provider) normalise() error {
	o := &p.o
	if o.Name == "" {
		return errors.New("it has no name")
	}
	if err := p.normaliseTimes(); err != nil {
		return err
	}
	if o.MaxTokenBytes == 0 {
		o.MaxTokenBytes = defaultTokenBytes
	}
	if o.MaxTokenBytes < 0 || o.MaxTokenBytes > maxTokenBytes {
		return fmt.Errorf("a token may have 1 to %d bytes, not %d", maxTokenBytes, o.MaxTokenBytes)
	}
	if o.Require == nil {
		o.Require = []string{"exp"}
	}
	if slices.Contains(o.Require, "") || slices.Contains(o.Audiences, "") || slices.Contains(o.Types, "") {
		return errors.New("required claims, audiences and types must not be empty")
	}
	for i := range o.Claims {
		if o.Claims[i].Path == "" || len(o.Claims[i].AnyOf) == 0 {
			return errors.New("a claim rule needs a claim and a value")
		}
	}
	if len(o.Sources) == 0 {
		o.Sources = []Source{{}}
	}
	for _, s := range o.Sources {
		if err := s.validate(); err != nil {
			return err
		}
	}
	p.roles, p.scopes = []string{"roles"}, []string{"scope", "scopes", "scp"}
	if o.RolesClaim != "" {
		p.roles = []string{o.RolesClaim}
	}
	if o.ScopesClaim != "" {
		p.scopes = []string{o.ScopesClaim}
	}
	return nil
}

func (p *Provider) normaliseTimes() error {
	o := &p.o
	switch {
	case o.Leeway == 0:
		o.Leeway = defaultLeeway
	case o.Leeway < 0:
		o.Leeway = 0
	case o.Leeway > maxLeeway:
		return fmt.Errorf("leeway %s is longer than %s", o.Leeway, maxLeeway)
	}
	if o.MaxAge < 0 || o.MaxLifetime < 0 {
		return errors.New("maximal age and lifetime must not be negative")
	}
	// NumericDate counts seconds; a leeway of parts of them would only look precise.
	if o.Leeway%time.Second != 0 || o.MaxAge%time.Second != 0 || o.MaxLifetime%time.Second != 0 {
		return errors.New("leeway, maximal age and lifetime must be whole seconds")
	}
	p.leeway = int64(o.Leeway / time.Second)
	p.maxAge = int64(o.MaxAge / time.Second)
	p.maxLifetime = int64(o.MaxLifetime / time.Second)
	return nil
}

// readKeys reads the one source of keys. Symmetric and asymmetric algorithms never meet in one provider, which is what
// makes a public key worthless as an HMAC secret (RFC 8725 §2.1).
func (p *Provider) readKeys() ([]*key, error) {
	o := &p.o
	given := 0
	for _, set := range []bool{o.PublicKey != nil, o.JWKS != nil, o.Secret != nil} {
		if set {
			given++
		}
	}
	if given != 1 {
		return nil, fmt.Errorf("%d sources of keys, want one: a public key, a key set or a secret", given)
	}
	names := o.Algorithms
	if len(names) == 0 {
		names = defaultAlgorithms
		if o.Secret != nil {
			names = defaultHMAC
		}
	}
	var err error
	if p.allowed, err = parseAlgorithms(names); err != nil {
		return nil, err
	}
	for _, a := range p.allowed {
		if (a.family == familyHMAC) != (o.Secret != nil) {
			return nil, fmt.Errorf("algorithm %s does not go with this kind of key: HS* needs a secret of its own, and a secret only HS*", a.name)
		}
	}
	switch {
	case o.JWKS != nil:
		return parseJWKS(o.JWKS, p.allowed)
	case o.PublicKey != nil:
		material, err := parsePublicKey(o.PublicKey)
		if err != nil {
			return nil, err
		}
		return single(newKey("", material, p.allowed))
	}
	if len(o.Secret) < minSecretBytes {
		return nil, fmt.Errorf("the secret has %d bytes, want at least %d", len(o.Secret), minSecretBytes)
	}
	if bytes.Contains(o.Secret, pemBegin) {
		return nil, errors.New("the secret is a PEM block: a public key is no secret")
	}
	return single(newKey("", bytes.Clone(o.Secret), p.allowed))
}

func single(k *key, err error) ([]*key, error) {
	if err != nil {
		return nil, err
	}
	return []*key{k}, nil
}
