package limit

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestKeyIP(t *testing.T) {
	f := func(a, b string, want bool) {
		t.Helper()
		if got := KeyIP(netip.MustParseAddr(a)) == KeyIP(netip.MustParseAddr(b)); got != want {
			t.Errorf("%s and %s: one key is %v, want %v", a, b, got, want)
		}
	}
	f("192.0.2.1", "192.0.2.1", true)
	f("192.0.2.1", "192.0.2.2", false)
	// mapped
	f("192.0.2.1", "::ffff:192.0.2.1", true)
	f("::ffff:192.0.2.1", "::ffff:192.0.2.2", false)
	// deprecated "compatible" form is IPv6
	f("192.0.2.1", "::192.0.2.1", false)
	// /64
	f("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true)
	f("2001:db8:0:1::", "2001:db8:0:2::", false)
	f("2001:db8:0:1::1", "2001:db8:0:0:1::1", false)
	// zones
	f("fe80::1%eth0", "fe80::1%eth1", true)
	f("fe80::1%eth0", "fe80::2", true)
	f("::ffff:192.0.2.1%eth0", "192.0.2.1", true)
	// an IPv4 address whose bytes begin an IPv6 one
	f("32.1.13.184", "2001:db8::", false)
	f("0.0.0.0", "::", false)

	if KeyIP(netip.Addr{}) == KeyIP(netip.MustParseAddr("::")) || KeyIP(netip.Addr{}) == KeyIP(netip.MustParseAddr("0.0.0.0")) {
		t.Error("no address is the same as an address")
	}
}

func TestKeyIPRotation(t *testing.T) {
	b := netip.MustParseAddr("2001:db8:1:2::").As16()
	want, rng := KeyIP(netip.AddrFrom16(b)), random(1)
	for range 10_000 {
		for i := 8; i < 16; i++ {
			b[i] = byte(rng.Uint32())
		}
		if KeyIP(netip.AddrFrom16(b)) != want {
			t.Fatalf("%s has a key of its own", netip.AddrFrom16(b))
		}
	}
}

func TestKeyIPPrefix(t *testing.T) {
	f := func(a, b string, bits int, want bool) {
		t.Helper()
		x, y := KeyIPPrefix(netip.MustParseAddr(a), bits), KeyIPPrefix(netip.MustParseAddr(b), bits)
		if (x == y) != want {
			t.Errorf("%s and %s by /%d: one key is %v, want %v", a, b, bits, x == y, want)
		}
	}
	f("2001:db8:0:100::", "2001:db8:0:1ff::", 56, true)
	f("2001:db8:0:100::", "2001:db8:0:200::", 56, false)
	f("2001:db8:1::", "2001:db8:1:ffff::", 48, true)
	f("2001:db8:1::", "2001:db8:2::", 48, false)
	f("2001:db8::", "2001:db8::1", 128, false)
	f("2001:db8::", "2001:db8::1", 127, true)
	f("2001:db8::2", "2001:db8::1", 127, false)
	f("2001:db8::", "fe80::", 0, true)
	// out of range is cut; IPv4 is whole
	f("2001:db8::", "fe80::", -1, true)
	f("2001:db8::", "2001:db8::1", 999, false)
	f("192.0.2.1", "192.0.2.2", 0, false)

	a := netip.MustParseAddr("2001:db8::")
	if KeyIPPrefix(a, 48) == KeyIPPrefix(a, 56) {
		t.Error("/48 and /56 share a key")
	}
}

func keyOfFields(fields []string) Key {
	var k Key
	for _, f := range fields {
		k = k.And(KeyString(f))
	}
	return k
}

func TestKeysOfDistinctFields(t *testing.T) {
	fields := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune{'a', ':', 0}), 0, 3, -1), 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		for range 100 {
			a, b := fields.Draw(t, "a"), fields.Draw(t, "b")
			if slices.Equal(a, b) != (keyOfFields(a) == keyOfFields(b)) {
				t.Fatalf("%q and %q", a, b)
			}
		}
	})
}

func TestKeyKinds(t *testing.T) {
	ip := netip.MustParseAddr("192.0.2.1")
	raw := make([]byte, 18)
	raw[0], raw[1] = 4, 32
	copy(raw[2:], ip.AsSlice())
	if KeyBytes(raw) == KeyIP(ip) {
		t.Error("a field can be made to look like an address")
	}
	a, b, c := KeyString("a"), KeyString("b"), KeyString("c")
	if a != KeyBytes([]byte("a")) {
		t.Error("bytes and string differ")
	}
	if a.And(b) == b.And(a) || a.And(b).And(c) == a.And(b.And(c)) || a.And(Key{}) == a {
		t.Error("combinations collide")
	}
	s := smallStore()
	r1, r2 := mustNamed(t, "r1", 1, 1e9, 0), mustNamed(t, "r2", 1, 1e9, 0)
	if !s.Take(r1, Key{}, noon).Allowed || !s.Take(r2, Key{}, noon).Allowed || s.Take(r1, Key{}, noon).Allowed {
		t.Error("rules share the counter of a key")
	}
}
