package exchange

import "slices"

// Identity is who a request comes from, as a credential proved it. It is made once, shared by many exchanges and never
// changed, nor are the slices it holds. The nil Identity is nobody.
type Identity struct {
	Provider string // the name of what vouched for it: a JWT provider
	Subject  string // may be empty when the provider does not require one
	Tenant   string // empty: none
	Roles    []string
	Scopes   []string
	Claims   Claims // nil: none
}

// Certificate is who a client is by the certificate that it proved to have at the handshake. It is shared and never changed.
type Certificate struct {
	Identity Identity
	Expires  int64 // seconds since the epoch; connections may live longer
}

// Claims are the facts that the credential states, by the dotted path of their names. Lookups allocate nothing.
type Claims interface {
	// Value is a claim of one value as text.
	Value(path string) (string, bool)
	// List is every value of a claim that is an array, or the one of a claim that is none. It is shared: read only.
	List(path string) ([]string, bool)
}

// Claim gives the claim of one value at path as text.
func (id *Identity) Claim(path string) (string, bool) {
	if id == nil || id.Claims == nil {
		return "", false
	}
	return id.Claims.Value(path)
}

// ClaimList gives every value of the claim at path.
func (id *Identity) ClaimList(path string) ([]string, bool) {
	if id == nil || id.Claims == nil {
		return nil, false
	}
	return id.Claims.List(path)
}

// HasRole reports whether the identity has the role, compared byte for byte.
func (id *Identity) HasRole(role string) bool { return id != nil && slices.Contains(id.Roles, role) }

// HasScope reports whether the identity has the scope, compared byte for byte.
func (id *Identity) HasScope(scope string) bool {
	return id != nil && slices.Contains(id.Scopes, scope)
}
