//go:build !race

package limit

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest/alloc"
)

const raceEnabled = false

func TestAllocFloor(t *testing.T) {
	s, now := smallStore(), noon
	w, b, d := mustRule(t, 100, time.Minute, 0), mustRule(t, 100, time.Minute, 100), mustRule(t, 100, day, 0)
	addr, path, buf := netip.MustParseAddr("2001:db8::1"), []byte("/v1/chat"), make([]byte, 0, 128)
	cs := make([]Charge, 3)
	i := 0
	for name, f := range map[string]func(){
		"take": func() {
			i++
			now += ms
			s.Take(w, keyOf(i), now)
			s.Take(b, keyOf(i/8), now)
			s.Take(d, Key{}, now)
		},
		"peek": func() { s.Peek(w, keyOf(i), now) },
		"take all": func() {
			i++
			k := KeyIP(addr)
			cs[0], cs[1], cs[2] = Charge{w, k}, Charge{b, k.And(KeyBytes(path))}, Charge{d, keyOf(i).And(KeyString("x"))}
			s.TakeAll(cs, now)
		},
		"headers": func() {
			dec := s.Peek(b, Key{}, now)
			buf = dec.AppendRetryAfter(dec.AppendReset(dec.AppendRemaining(dec.AppendLimit(buf[:0])), now))
		},
	} {
		t.Run(name, func(t *testing.T) { alloc.Floor(t, f) })
	}
}
