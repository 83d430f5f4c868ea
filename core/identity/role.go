package identity

import (
	"fmt"
	"slices"
	"strings"
)

// Role is what a role may do.
type Role struct {
	// Permissions are names, or `*` for all, or `models.*` for all that begin with `models.`.
	Permissions []string
	// Include names roles whose permissions this one has too.
	Include []string
}

// Roles says which permissions each role grants. It is immutable and may be used concurrently.
type Roles struct {
	grants map[string][]string // role → patterns, with what it includes
}

// NewRoles checks the patterns and resolves what roles include.
func NewRoles(roles map[string]Role) (*Roles, error) {
	r := &Roles{grants: make(map[string][]string, len(roles))}
	for name := range roles {
		var patterns []string
		if err := collect(roles, name, nil, &patterns); err != nil {
			return nil, fmt.Errorf("resolve role %s: %w", name, err)
		}
		slices.Sort(patterns)
		r.grants[name] = slices.Compact(patterns)
	}
	return r, nil
}

func collect(roles map[string]Role, name string, path []string, patterns *[]string) error {
	role, ok := roles[name]
	if !ok {
		return fmt.Errorf("it includes the role %q, which does not exist", name)
	}
	if slices.Contains(path, name) {
		return fmt.Errorf("it includes itself by way of %s", strings.Join(append(path[1:], name), ", "))
	}
	for _, p := range role.Permissions {
		stem := strings.TrimSuffix(p, "*")
		if p == "" || strings.Contains(stem, "*") || stem != p && stem != "" && !strings.HasSuffix(stem, ".") {
			return fmt.Errorf("permission %q is neither a name, nor `*`, nor a name with `.*` at its end", p)
		}
		*patterns = append(*patterns, p)
	}
	for _, included := range role.Include {
		if err := collect(roles, included, append(path, name), patterns); err != nil {
			return err
		}
	}
	return nil
}

// granting returns the roles that grant the permission.
func (r *Roles) granting(permission string) (names []string) {
	for name, patterns := range r.grants {
		if slices.ContainsFunc(patterns, func(p string) bool { return grants(p, permission) }) {
			names = append(names, name)
		}
	}
	return names
}

// grants: `models.*` is for what stands under models, not for `models` itself.
func grants(pattern, permission string) bool {
	if stem, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(permission, stem) && len(permission) > len(stem)
	}
	return pattern == permission
}
