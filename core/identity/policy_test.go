package identity

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
)

func testRoles(t testing.TB) *Roles {
	t.Helper()
	r, err := NewRoles(map[string]Role{
		"admin":    {Permissions: []string{"*"}},
		"engineer": {Permissions: []string{"models.*", "diagnostics.read"}},
		"reader":   {Permissions: []string{"diagnostics.read"}},
		"writer":   {Permissions: []string{"diagnostics.write"}, Include: []string{"reader"}},
		"lead":     {Include: []string{"writer", "engineer"}},
		"nobody":   {},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPolicyPermissions(t *testing.T) {
	roles := testRoles(t)
	f := func(has, asks string, any, want bool) {
		t.Helper()
		p := must(NewPolicy(PolicyOptions{Permissions: strings.Fields(asks), AnyPermission: any, Grants: roles}))
		if p.Allows(&exchange.Identity{Roles: strings.Fields(has)}, nil) != want {
			t.Errorf("roles %q for %q, any %v: %v", has, asks, any, !want)
		}
	}
	f("admin", "models.train what.ever", false, true)
	f("engineer", "models.train", false, true)
	f("engineer", "models.train.deep", false, true)
	f("engineer", "models", false, false)
	f("engineer", "models.", false, false)
	f("engineer", "modelsx.train", false, false)
	f("engineer", "Models.train", false, false)
	f("engineer", "models.train diagnostics.write", false, false)
	f("engineer", "models.train diagnostics.write", true, true)
	f("engineer writer", "models.train diagnostics.write diagnostics.read", false, true) // together
	f("writer", "diagnostics.read", false, true)                                         // included
	f("lead", "models.x diagnostics.write diagnostics.read", false, true)                // included twice over
	f("reader", "diagnostics.write", false, false)
	f("nobody", "diagnostics.read", true, false)
	f("unknown", "diagnostics.read", true, false)
	f("*", "diagnostics.read", false, false) // a role named like the wildcard is no wildcard
	f("", "diagnostics.read", true, false)
	// All 64 bits.
	many := make([]string, 64)
	for i := range many {
		many[i] = fmt.Sprintf("models.p%d", i)
	}
	f("engineer", strings.Join(many, " "), false, true)
	f("reader", strings.Join(many, " "), true, false)
}

func TestPolicy(t *testing.T) {
	id := &exchange.Identity{Roles: []string{"engineer"}, Scopes: []string{"api.read", "api.write"},
		Claims: NewClaims(map[string][]string{"team": {"a"}, "groups": {"x", "y"}, "server_id": {"s1"}, "empty": {""}})}
	resolve := func(template string) (string, bool) {
		switch template {
		case "${path.id}":
			return "s1", true
		case "${path.empty}":
			return "", true
		}
		return "s1", false
	}
	f := func(name string, o PolicyOptions, want bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			p := must(NewPolicy(o))
			if p.Allows(id, resolve) != want {
				t.Fatalf("allows %v", !want)
			}
			if p.Allows(nil, resolve) || p.Allows(&exchange.Identity{}, resolve) {
				t.Fatal("allows nobody")
			}
		})
	}
	claim := func(path string, values ...Value) PolicyOptions {
		return PolicyOptions{Claims: []ClaimRequirement{{Path: path, AnyOf: values}}}
	}
	f("scope", PolicyOptions{Scopes: []string{"api.read"}}, true)
	f("all scopes", PolicyOptions{Scopes: []string{"api.read", "api.write"}}, true)
	f("one scope missing", PolicyOptions{Scopes: []string{"api.read", "api.admin"}}, false)
	f("scopes are no prefixes", PolicyOptions{Scopes: []string{"api"}}, false)
	f("any role", PolicyOptions{Roles: []string{"admin", "engineer"}}, true)
	f("no role", PolicyOptions{Roles: []string{"admin"}}, false)
	f("claim", claim("team", Value{Text: "b"}, Value{Text: "a"}), true)
	f("claim other", claim("team", Value{Text: "b"}), false)
	f("claim array", claim("groups", Value{Text: "y"}), true)
	f("claim absent", claim("tribe", Value{Text: "a"}), false)
	f("claim absent and empty value", claim("tribe", Value{Text: ""}), false)
	f("template", claim("server_id", Value{Text: "${path.id}", Template: true}), true)
	f("template other claim", claim("team", Value{Text: "${path.id}", Template: true}), false)
	f("template unresolved", claim("server_id", Value{Text: "${path.no}", Template: true}), false)
	f("template resolved to nothing", claim("empty", Value{Text: "${path.empty}", Template: true}), false)
	f("template or value", claim("team", Value{Text: "${path.no}", Template: true}, Value{Text: "a"}), true)
	f("template text is no value", claim("server_id", Value{Text: "${path.id}"}), false)
	f("everything", PolicyOptions{Scopes: []string{"api.read"}, Roles: []string{"engineer"}, Permissions: []string{"models.x"}, Grants: testRoles(t),
		Claims: []ClaimRequirement{{Path: "team", AnyOf: []Value{{Text: "a"}}}}}, true)
	f("everything but one", PolicyOptions{Scopes: []string{"api.read"}, Roles: []string{"engineer"}, Permissions: []string{"x"}, Grants: testRoles(t)}, false)
	if must(NewPolicy(claim("server_id", Value{Text: "${path.id}", Template: true}))).Allows(id, nil) {
		t.Fatal("a template without a resolver matched")
	}
}

func TestPolicyRefused(t *testing.T) {
	roles := testRoles(t)
	f := func(text string, o PolicyOptions) {
		t.Helper()
		if _, err := NewPolicy(o); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v, want one with %q", err, text)
		}
	}
	f("requires nothing", PolicyOptions{Grants: roles})
	f("scope or role is empty", PolicyOptions{Scopes: []string{""}})
	f("scope or role is empty", PolicyOptions{Roles: []string{""}})
	f("name and a value", PolicyOptions{Claims: []ClaimRequirement{{Path: "a"}}})
	f("name and a value", PolicyOptions{Claims: []ClaimRequirement{{AnyOf: []Value{{Text: "a"}}}}})
	f("no roles are defined", PolicyOptions{Permissions: []string{"a"}})
	f("at most 64", PolicyOptions{Permissions: make([]string, 65), Grants: roles})
	f("is no name", PolicyOptions{Permissions: []string{"models.*"}, Grants: roles})
	f("is no name", PolicyOptions{Permissions: []string{""}, Grants: roles})
	r := func(text string, roles map[string]Role) {
		t.Helper()
		if _, err := NewRoles(roles); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v, want one with %q", err, text)
		}
	}
	for _, bad := range []string{"", "**", "a*", "a*b", "*.a", "a.*.b", "a.**"} {
		r("is neither", map[string]Role{"x": {Permissions: []string{bad}}})
	}
	r("does not exist", map[string]Role{"x": {Include: []string{"y"}}})
	r("includes itself", map[string]Role{"x": {Include: []string{"x"}}})
	r("includes itself", map[string]Role{"x": {Include: []string{"y"}}, "y": {Include: []string{"z"}}, "z": {Include: []string{"x"}}})
}
