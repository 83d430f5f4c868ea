package identity

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weirproxy/weir/core/exchange"
)

const maxPermissions = 64

// PolicyOptions are what a route requires of an identity. All that is given must hold.
type PolicyOptions struct {
	// Scopes: every one must be there.
	Scopes []string
	// Roles: one must be there.
	Roles []string
	// Permissions: every one must be granted by the roles the identity has; with AnyPermission one suffices. At most 64.
	Permissions   []string
	AnyPermission bool
	// Grants says what roles grant; required with Permissions.
	Grants *Roles
	// Claims: each must have one of its values.
	Claims []ClaimRequirement
}

// ClaimRequirement asks for a claim of one of several values. An absent claim never satisfies it; an array does with any
// element.
type ClaimRequirement struct {
	Path  string
	AnyOf []Value
}

// Value is a text to compare with, or a template whose text the request decides.
type Value struct {
	Text     string
	Template bool // Text is handed to the resolver, and what it returns is compared
}

// Policy decides by role, scope, permission and claim. It is immutable and may be used concurrently.
type Policy struct {
	scopes, roles []string
	claims        []ClaimRequirement
	// Bit i of a role's mask says that it grants permission i; need has a bit for every permission.
	masks map[string]uint64
	need  uint64
	any   bool
}

// NewPolicy builds a policy; one that asks for nothing is an error, for it would look like protection.
func NewPolicy(o PolicyOptions) (*Policy, error) {
	p := &Policy{scopes: slices.Clone(o.Scopes), roles: slices.Clone(o.Roles), claims: slices.Clone(o.Claims), any: o.AnyPermission}
	if len(o.Scopes)+len(o.Roles)+len(o.Permissions)+len(o.Claims) == 0 {
		return nil, errors.New("build policy: it requires nothing")
	}
	if slices.Contains(o.Scopes, "") || slices.Contains(o.Roles, "") {
		return nil, errors.New("build policy: a scope or role is empty")
	}
	for _, c := range o.Claims {
		if c.Path == "" || len(c.AnyOf) == 0 {
			return nil, errors.New("build policy: a claim needs a name and a value")
		}
	}
	if err := p.setPermissions(o); err != nil {
		return nil, fmt.Errorf("build policy: %w", err)
	}
	return p, nil
}

// setPermissions turns the patterns into one mask a role, so that a request costs a look-up a role and no pattern.
func (p *Policy) setPermissions(o PolicyOptions) error {
	if len(o.Permissions) == 0 {
		return nil
	}
	if o.Grants == nil {
		return errors.New("permissions are required but no roles are defined that could grant them")
	}
	if len(o.Permissions) > maxPermissions {
		return fmt.Errorf("%d permissions, at most %d", len(o.Permissions), maxPermissions)
	}
	p.masks = make(map[string]uint64)
	for i, permission := range o.Permissions {
		if permission == "" || strings.Contains(permission, "*") {
			return fmt.Errorf("permission %q is no name", permission)
		}
		for _, role := range o.Grants.granting(permission) {
			p.masks[role] |= 1 << i
		}
		p.need |= 1 << i
	}
	return nil
}

// Allows judges the identity; nil is refused. resolve gives the text of a template for this request; what it cannot
// resolve, or resolves to nothing, matches nothing. Its result is compared and not kept. No allocation.
func (p *Policy) Allows(id *exchange.Identity, resolve func(template string) (string, bool)) bool {
	if id == nil {
		return false
	}
	for _, s := range p.scopes {
		if !id.HasScope(s) {
			return false
		}
	}
	if len(p.roles) > 0 && !p.hasRole(id) {
		return false
	}
	if p.need != 0 && !p.granted(id) {
		return false
	}
	for i := range p.claims {
		if !p.claims[i].allows(id, resolve) {
			return false
		}
	}
	return true
}

func (p *Policy) hasRole(id *exchange.Identity) bool {
	for _, r := range p.roles {
		if id.HasRole(r) {
			return true
		}
	}
	return false
}

func (p *Policy) granted(id *exchange.Identity) bool {
	var have uint64
	for _, r := range id.Roles {
		have |= p.masks[r]
	}
	if p.any {
		return have != 0
	}
	return have == p.need
}

func (r *ClaimRequirement) allows(id *exchange.Identity, resolve func(string) (string, bool)) bool {
	have, ok := id.ClaimList(r.Path)
	if !ok {
		return false
	}
	for _, v := range r.AnyOf {
		text := v.Text
		if v.Template {
			if resolve == nil {
				continue
			}
			if text, ok = resolve(v.Text); !ok || text == "" {
				continue
			}
		}
		if slices.Contains(have, text) {
			return true
		}
	}
	return false
}
