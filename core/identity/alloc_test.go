//go:build !race

package identity

import (
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest/alloc"
)

func TestAllocationFloors(t *testing.T) {
	p, c := provider(t), cache(t, CacheOptions{})
	token := []byte(mint(hsHeader, claims(`"team":"blue"`, `"realm_access":{"roles":["engineer","reader"]}`, `"roles":["engineer"]`, `"scope":"api.read api.write"`), hs256()))
	id, reason := c.Verify(p, token, now)
	if reason != OK {
		t.Fatal(reason)
	}
	ok := true
	floor(t, "cache hit", func() {
		_, r := c.Verify(p, token, now)
		ok = ok && r == OK
	})
	floor(t, "claim", func() {
		v, _ := id.Claim("team")
		_, absent := id.Claim("absent.claim")
		ok = ok && v == "blue" && !absent
	})
	floor(t, "claim list", func() {
		l, _ := id.Claims.List("realm_access.roles")
		ok = ok && len(l) == 2
	})
	policy := must(NewPolicy(PolicyOptions{Scopes: []string{"api.read"}, Roles: []string{"admin", "engineer"}, Permissions: []string{"models.train", "diagnostics.read"},
		Grants: testRoles(t), Claims: []ClaimRequirement{{Path: "team", AnyOf: []Value{{Text: "${path.id}", Template: true}, {Text: "red"}}}}}))
	path := struct{ id string }{"blue"}
	floor(t, "policy", func() {
		ok = ok && policy.Allows(&id.Identity, func(string) (string, bool) { return path.id, true })
	})
	cert := FromCertificate(&x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: now.Add(time.Hour), DNSNames: []string{"a", "b"}})
	san := must(NewPolicy(PolicyOptions{Claims: []ClaimRequirement{{Path: "san", AnyOf: []Value{{Text: "b"}}}, {Path: "serial", AnyOf: []Value{{Text: "01"}}}}}))
	floor(t, "certificate", func() {
		ok = ok && CheckCertificate(cert, now) == OK && san.Allows(&cert.Identity, nil)
	})
	value := append([]byte("Bearer "), token...)
	floor(t, "source", func() {
		_, r := Source{}.Token(value)
		ok = ok && r == OK
	})
	// A flood of what is not even a token must not feed the collector.
	garbage := []byte("not.a token.at all")
	floor(t, "malformed", func() {
		_, r := c.Verify(p, garbage, now)
		ok = ok && r == Malformed
	})
	if !ok {
		t.Fatal("a call under measurement went wrong")
	}
}

func floor(t *testing.T, name string, call func()) {
	t.Helper()
	t.Run(name, func(t *testing.T) { alloc.Floor(t, call) })
}
