package plan

import (
	"os"
	"slices"
	"strings"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/identity"
)

// providers builds the JWT providers by name.
func (b *builder) providers() {
	b.jwt = map[string]*identity.Provider{}
	for i := range b.spec.JWT {
		c := &b.spec.JWT[i]
		o, err := providerOptions(c)
		if err == nil {
			b.jwt[c.Name], err = identity.NewProvider(o)
		}
		if err != nil {
			b.fail(c.Pos, "%s%s", keyFile(c, o), strings.TrimPrefix(err.Error(), "build jwt provider "+c.Name+": "))
		}
	}
}

// keyFile names the key set that was read, for an error about it.
func keyFile(c *config.JWTProvider, o identity.ProviderOptions) string {
	if len(o.JWKS) == 0 {
		return ""
	}
	return c.JWKSFile + ": "
}

func providerOptions(c *config.JWTProvider) (o identity.ProviderOptions, err error) {
	o = identity.ProviderOptions{
		Name: c.Name, Issuer: c.Issuer, Audiences: c.Audiences, Algorithms: c.Algorithms, Require: c.Require,
		Leeway: c.Leeway, MaxAge: c.MaxAge, RolesClaim: c.RolesClaim, ScopesClaim: c.ScopesClaim,
	}
	if c.Leeway == 0 {
		o.Leeway = -1 // the provider's word for none
	}
	switch {
	case c.JWKSFile != "":
		o.JWKS, err = os.ReadFile(c.JWKSFile)
	case !c.PublicKey.IsZero():
		o.PublicKey, err = c.PublicKey.Read()
	default:
		o.Secret, err = c.Secret.Read()
	}
	if err != nil {
		return o, err
	}
	for _, from := range c.From {
		s, err := identity.ParseSource(from.String())
		if err != nil {
			return o, err
		}
		o.Sources = append(o.Sources, s)
	}
	for _, rule := range c.Claims {
		r := identity.ClaimRule{Path: rule.Claim, IfPresent: rule.IfPresent}
		for _, v := range rule.Values {
			text, _ := v.Text()
			r.AnyOf = append(r.AnyOf, text)
		}
		o.Claims = append(o.Claims, r)
	}
	return o, nil
}

// auth flattens what a route says into the providers to ask; nil lets everybody in.
func (b *builder) auth(a *config.Auth) *Auth {
	if a == nil || a.Kind == config.AuthNone {
		return nil
	}
	out := &Auth{}
	b.collect(a, out)
	return out
}

func (b *builder) collect(a *config.Auth, out *Auth) {
	for i := range a.Any {
		b.collect(&a.Any[i], out)
	}
	switch a.Kind {
	case config.AuthJWT:
		if p := b.jwt[a.Name]; p != nil {
			out.Ways = append(out.Ways, Way{Tokens: p})
		}
	case config.AuthMTLS:
		if !b.asksClients() {
			b.fail(a.Pos, "no listener asks for a client's certificate: tls.client_auth is missing")
		}
		out.Ways = append(out.Ways, Way{})
	}
}

// asksClients reports whether a listener wants certificates of clients.
func (b *builder) asksClients() bool {
	return slices.ContainsFunc(b.spec.Listeners, func(l config.Listener) bool {
		return l.TLS != nil && l.TLS.ClientAuth != nil && l.TLS.ClientAuth.Mode != config.ClientAuthNone
	})
}

// roles builds what roles grant, once for all routes.
func (b *builder) roles() {
	if len(b.spec.Roles) == 0 {
		return
	}
	grants := map[string]identity.Role{}
	for _, role := range b.spec.Roles {
		grants[role.Name] = identity.Role{Permissions: role.Permissions}
	}
	var err error
	if b.grants, err = identity.NewRoles(grants); err != nil {
		b.fail(b.spec.Roles[0].Pos, "%w", err)
	}
}

// policy builds what a route requires, and the templates in it by their text.
func (b *builder) policy(r *config.Route) (*identity.Policy, map[string]*config.Template) {
	c := r.Require
	if c == nil {
		return nil, nil
	}
	templates := map[string]*config.Template{}
	o := identity.PolicyOptions{Scopes: c.Scopes, Roles: c.Roles, Permissions: c.Permissions, Grants: b.grants}
	for _, rule := range c.Claims {
		need := identity.ClaimRequirement{Path: rule.Claim}
		for _, v := range rule.Values {
			text, fixed := v.Text()
			if !fixed {
				text = v.String()
				templates[text] = &v
			}
			need.AnyOf = append(need.AnyOf, identity.Value{Text: text, Template: !fixed})
		}
		o.Claims = append(o.Claims, need)
	}
	p, err := identity.NewPolicy(o)
	if err != nil {
		b.fail(c.Pos, "%w", err)
	}
	return p, templates
}
