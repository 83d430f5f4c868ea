package limit

import (
	"math/bits"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBucket(t *testing.T) {
	s, r, k := smallStore(), mustRule(t, 10, time.Second, 3), KeyString("a")
	f := func(at int64, want Decision) {
		t.Helper()
		if got := s.Take(r, k, noon+at*ms); got != want {
			t.Errorf("at %d ms: got %+v, want %+v", at, got, want)
		}
	}
	f(0, Decision{Allowed: true, Limit: 3, Remaining: 2, Reset: 100 * time.Millisecond})
	f(0, Decision{Allowed: true, Limit: 3, Remaining: 1, Reset: 200 * time.Millisecond})
	f(50, Decision{Allowed: true, Limit: 3, Remaining: 0, Reset: 250 * time.Millisecond})
	f(50, Decision{Limit: 3, Reset: 250 * time.Millisecond, RetryAfter: 50 * time.Millisecond})
	f(99, Decision{Limit: 3, Reset: 201 * time.Millisecond, RetryAfter: time.Millisecond})
	f(100, Decision{Allowed: true, Limit: 3, Remaining: 0, Reset: 300 * time.Millisecond})
	f(900, Decision{Allowed: true, Limit: 3, Remaining: 2, Reset: 100 * time.Millisecond})
}

// Hammered at ten times the rate for 60 s: N·60 + burst, as if the refused had not come.
func TestBucketHammer(t *testing.T) {
	for _, n := range []int64{1, 3, 7, 50, 999} {
		s, r, k := smallStore(), mustRule(t, n, time.Second, 2*n), KeyString("a")
		got := int64(0)
		for i := range n*600 + 1 {
			if s.Take(r, k, noon+i*sec/(n*10)).Allowed {
				got++
			}
		}
		if got > 62*n || got < 62*n-1 {
			t.Errorf("N %d: %d of %d", n, got, 62*n)
		}
	}
}

// Remaining and the burst are exact where a request's cost is no whole number of ns.
func TestBucketExtremes(t *testing.T) {
	f := func(n int64, per time.Duration, burst int64) {
		t.Helper()
		s, r, k := smallStore(), mustRule(t, n, per, burst), KeyString("a")
		hi, lo := bits.Mul64(r.cost, uint64(n)) // not less than the period, or N requests would pass too soon
		if h := uint64(per) >> (64 - r.fraction); hi < h || hi == h && lo < uint64(per)<<r.fraction {
			t.Errorf("%d per %s: cost %d/2^%d ns is rounded down", n, per, r.cost, r.fraction)
		}
		tries := min(burst, 2000)
		for i := range tries {
			if d := s.Take(r, k, noon); !d.Allowed || d.Remaining != burst-1-i {
				t.Fatalf("%d per %s, burst %d: request %d: %+v", n, per, burst, i, d)
			}
		}
		if tries < burst {
			return
		}
		d := s.Take(r, k, noon)
		if d.Allowed || d.RetryAfter < 1 || d.RetryAfter > per/time.Duration(n)+1 {
			t.Fatalf("%d per %s, burst %d: %+v", n, per, burst, d)
		}
		if s.Take(r, k, noon+int64(d.RetryAfter)-1).Allowed || !s.Take(r, k, noon+int64(d.RetryAfter)).Allowed {
			t.Fatalf("%d per %s, burst %d: RetryAfter %d is not exact", n, per, burst, d.RetryAfter)
		}
	}
	f(1, day, 1)
	f(1, day, 366)
	f(1, 1, 1)
	f(1, 1, 1e9)
	f(1e9, time.Second, 1)
	f(1e9, time.Second, 1000)
	f(1e9, time.Second, 1e9)
	f(6e8, time.Second, 100)
	f(7, time.Second, 7)
	f(30, time.Second, 100)
	f(1e9, day, 1e9)
	f(999_999_937, day, 1999)
	f(3, day, 1000)
}

// In any interval of length t: at most N·t/Per + burst.
func TestBucketProperty(t *testing.T) {
	checks := 0
	rapid.Check(t, func(t *rapid.T) {
		per := time.Duration(rapid.OneOf(rapid.Int64Range(1, 1000), rapid.Int64Range(1, int64(day)),
			rapid.Just(int64(time.Minute)), rapid.Just(sec)).Draw(t, "per"))
		n := min(rapid.OneOf(rapid.Int64Range(1, 40), rapid.Int64Range(1, 1e9)).Draw(t, "n"), int64(per))
		burst := rapid.Int64Range(1, 100).Draw(t, "burst")
		spread := rapid.Float64Range(0.01, 3).Draw(t, "spread")
		s, k := smallStore(), KeyString("a")
		r, err := NewRule(Rule{N: n, Per: per, Burst: burst})
		if err != nil {
			t.Fatal(err)
		}
		rng, now := random(rapid.Uint64().Draw(t, "seed")), noon
		var accepted []int64
		for range 6000 {
			now += arrival(rng.Float64(), rng.IntN(50), float64(per)/float64(n)*spread, per/time.Duration(n)*time.Duration(burst))
			d := s.Take(r, k, now)
			checks++
			if d.Remaining < 0 || d.Remaining >= burst || d.Allowed != (d.RetryAfter == 0) {
				t.Fatalf("impossible %+v", d)
			}
			if d.Allowed {
				accepted = append(accepted, now)
				continue
			}
			if s.Peek(r, k, now+int64(d.RetryAfter)-1).Allowed || !s.Peek(r, k, now+int64(d.RetryAfter)).Allowed {
				t.Fatalf("RetryAfter %d is not exact", d.RetryAfter)
			}
		}
		for i := range accepted {
			for j := i; j < min(i+300, len(accepted)); j++ {
				hi, lo := bits.Mul64(uint64(accepted[j]-accepted[i]), uint64(n))
				if hi > 0 {
					break
				}
				if allowed := lo/uint64(per) + uint64(burst); uint64(j-i+1) > allowed {
					t.Fatalf("%d accepted in %d ns, %d allowed", j-i+1, accepted[j]-accepted[i], allowed)
				}
			}
		}
	})
	if checks < 100_000 {
		t.Errorf("only %d checks", checks)
	}
}

func TestBucketClock(t *testing.T) {
	for _, per := range []time.Duration{1000, time.Millisecond, time.Second, time.Minute, day} {
		s, r, k := smallStore(), mustRule(t, 100, per, 5), KeyString("a")
		refill := int64(per) / 20
		admitted(s, r, k, noon, 5)
		for _, by := range []int64{1, late, max(1, 1<<32-refill)} { // a debt of 2^32 ns is 0 if it overflows
			if got := admitted(s, r, k, noon-by, 5); got != 0 {
				t.Errorf("%s: %d calls late by %d ns admitted", per, got, by)
			}
		}
		now := noon - 365*int64(day)
		if d := s.Take(r, k, now); d.Allowed || int64(d.Reset) > refill {
			t.Errorf("%s: set back: %+v", per, d)
		}
		if got := admitted(s, r, k, now+refill, 10); got != 5 {
			t.Errorf("%s: a refill after the clock was set back: %d admitted", per, got)
		}
		if got := admitted(s, r, k, noon+365*int64(day), 10); got != 5 {
			t.Errorf("%s: set ahead: %d admitted", per, got)
		}
	}
}
