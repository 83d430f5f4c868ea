package limit

import (
	"net/netip"
	"testing"
	"time"
)

func BenchmarkTake(b *testing.B) {
	for name, r := range map[string]*Rule{
		"window":  mustRule(b, 1e9, time.Second, 0),
		"refused": mustRule(b, 10, time.Hour, 0),
		"bucket":  mustRule(b, 1e6, time.Second, 1e6),
		"day":     mustRule(b, 1e9, day, 0),
	} {
		b.Run(name, func(b *testing.B) {
			s, k, now := NewStore(Options{}), KeyString("a"), noon
			b.ReportAllocs()
			for b.Loop() {
				now += 1000
				s.Take(r, k, now)
			}
		})
		b.Run(name+"/new keys", func(b *testing.B) {
			s, now, i := NewStore(Options{}), noon, 0
			for b.Loop() {
				now += 1000
				i++
				s.Take(r, keyOf(i), now)
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			s := NewStore(Options{})
			b.RunParallel(func(pb *testing.PB) {
				now := noon
				for i := 0; pb.Next(); i++ {
					now += 1000
					s.Take(r, keyOf(i&1023), now)
				}
			})
		})
	}
}

func BenchmarkTakeAll(b *testing.B) {
	s, now := NewStore(Options{}), noon
	a := netip.MustParseAddr("192.0.2.1")
	cs := []Charge{
		{mustNamed(b, "a", 1e9, time.Second, 0), KeyIP(a)},
		{mustNamed(b, "b", 1e6, time.Second, 1e6), KeyString("x")},
		{mustNamed(b, "c", 1e9, day, 0), KeyString("y")},
	}
	for b.Loop() {
		now += 1000
		s.TakeAll(cs, now)
	}
}

func BenchmarkKeyIP(b *testing.B) {
	a := netip.MustParseAddr("2001:db8::1")
	for b.Loop() {
		sink = KeyIP(a)
	}
}

func BenchmarkKeyBytesAnd(b *testing.B) {
	k, p := KeyString("a"), []byte("0123456789abcdef")
	for b.Loop() {
		sink = k.And(KeyBytes(p))
	}
}

var sink Key
