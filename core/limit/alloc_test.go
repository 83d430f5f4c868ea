//go:build !race

package limit

import (
	"net/netip"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
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
		if n := leastMallocs(f); n != 0 {
			t.Errorf("%s: %d allocations in 1,000 calls", name, n)
		}
	}
}

func leastMallocs(f func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	window := func() uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 1000 {
			f()
		}
		runtime.ReadMemStats(&after)
		return after.Mallocs - before.Mallocs
	}
	least := window() // the first warms up
	for i := range 5 {
		if n := window(); i == 0 || n < least {
			least = n
		}
	}
	return least
}
