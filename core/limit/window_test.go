package limit

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWindowExactlyN(t *testing.T) {
	for _, n := range []int64{1, 2, 18, 19, 20, 21, 1000, 100_000} {
		s, r, k := smallStore(), mustRule(t, n, time.Second, 0), KeyString("a")
		if got := admitted(s, r, k, noon, int(2*n)); int64(got) != n {
			t.Errorf("N %d: %d admitted at once", n, got)
		}
		if d := s.Take(r, k, noon); d.Reset != time.Second || d.RetryAfter != time.Second || d.Remaining != 0 || d.Limit != n {
			t.Errorf("N %d: %+v", n, d)
		}
		if got := admitted(s, r, k, noon+sec-1, 3); got != 0 {
			t.Errorf("N %d: %d admitted 1 ns too early", n, got)
		}
		if got := admitted(s, r, k, noon+sec, int(2*n)); int64(got) != n {
			t.Errorf("N %d: %d admitted a period later", n, got)
		}
	}
}

func TestWindowRemaining(t *testing.T) {
	s, r, k := smallStore(), mustRule(t, 3, time.Second, 0), KeyString("a")
	f := func(at int64, want Decision) {
		t.Helper()
		if got := s.Take(r, k, noon+at*ms); got != want {
			t.Errorf("at %d ms: got %+v, want %+v", at, got, want)
		}
	}
	f(0, Decision{Allowed: true, Limit: 3, Remaining: 2, Reset: time.Second})
	f(400, Decision{Allowed: true, Limit: 3, Remaining: 1, Reset: time.Second})
	f(600, Decision{Allowed: true, Limit: 3, Remaining: 0, Reset: time.Second})
	f(999, Decision{Limit: 3, Reset: 601 * time.Millisecond, RetryAfter: time.Millisecond})
	f(1000, Decision{Allowed: true, Limit: 3, Remaining: 0, Reset: time.Second})
	f(1000, Decision{Limit: 3, Reset: time.Second, RetryAfter: 400 * time.Millisecond})
	f(5000, Decision{Allowed: true, Limit: 3, Remaining: 2, Reset: time.Second})
}

// 2N requests around any boundary: never more than N.
func TestWindowBoundary(t *testing.T) {
	for edge := noon; edge < noon+2*sec; edge += 100 * ms / 3 {
		s, r, k := smallStore(), mustRule(t, 100, time.Second, 0), KeyString("a")
		got := admitted(s, r, k, edge-1, 100) + admitted(s, r, k, edge, 100) + admitted(s, r, k, edge+1, 100)
		if got != 100 {
			t.Fatalf("at %d: %d admitted", edge, got)
		}
	}
}

// Whatever the arrivals: no interval of length Per holds more than N, and RetryAfter is exact.
func TestWindowProperty(t *testing.T) {
	checks := 0
	rapid.Check(t, func(t *rapid.T) {
		per := time.Duration(rapid.OneOf(rapid.Int64Range(1, 100), rapid.Int64Range(1, int64(day)-1),
			rapid.Just(int64(time.Minute)), rapid.Just(sec), rapid.Just(int64(time.Hour))).Draw(t, "per"))
		n := min(rapid.OneOf(rapid.Int64Range(1, 40), rapid.Int64Range(1, 400)).Draw(t, "n"), int64(per))
		spread := rapid.Float64Range(0.01, 3).Draw(t, "spread")
		s, k := smallStore(), KeyString("a")
		r, err := NewRule(Rule{N: n, Per: per})
		if err != nil {
			t.Fatal(err)
		}
		rng, now := random(rapid.Uint64().Draw(t, "seed")), noon
		var accepted []int64
		for range 6000 {
			now += arrival(rng.Float64(), rng.IntN(50), float64(per)/float64(n)*spread, per)
			d := s.Take(r, k, now)
			checks++
			if d.Remaining < 0 || d.Remaining > n || d.Reset > per || d.RetryAfter < 0 || d.RetryAfter > per+2<<r.tick {
				t.Fatalf("impossible %+v", d)
			}
			if !d.Allowed {
				if s.Peek(r, k, now+int64(d.RetryAfter)-1).Allowed {
					t.Fatal("passes before RetryAfter")
				}
				if rng.IntN(20) == 0 {
					now += int64(d.RetryAfter)
					if d = s.Take(r, k, now); !d.Allowed {
						t.Fatal("refused after RetryAfter")
					}
				}
			}
			if !d.Allowed {
				continue
			}
			accepted = append(accepted, now)
			if i := len(accepted) - 1 - int(n); i >= 0 && now-accepted[i] < int64(per) {
				t.Fatalf("%d accepted within %d ns of %s", n+1, now-accepted[i], per)
			}
		}
	})
	if checks < 100_000 {
		t.Errorf("only %d checks", checks)
	}
}

// arrival is the time to the next request: bursts, a steady part, and now and then a pause.
func arrival(x float64, kind int, mean float64, per time.Duration) int64 {
	switch {
	case kind < 20:
		return 0
	case kind == 49:
		return int64(x * 2.5 * float64(per))
	}
	return int64(2 * x * mean)
}

// Up to N = 19 the window is the exact log of requests.
func TestWindowIsALog(t *testing.T) {
	rng := random(3)
	for n := int64(1); n <= ringLen; n++ {
		s, r, k := smallStore(), mustRule(t, n, time.Second, 0), KeyString("a")
		var log []int64
		now := noon
		for range 5000 {
			now += rng.Int64N(2 * sec / n)
			for len(log) > 0 && log[0] <= now-sec {
				log = log[1:]
			}
			want := int64(len(log)) < n
			if got := s.Take(r, k, now).Allowed; got != want {
				t.Fatalf("N %d: got %v, want %v", n, got, want)
			}
			if want {
				log = append(log, now)
			}
		}
	}
}

// Hammered at ten, and at two times the rate for 60 periods: all but one part in 18 is used.
func TestWindowYield(t *testing.T) {
	for _, n := range []int64{1, 10, 100, 1000} {
		for _, factor := range []int64{2, 10} {
			s, r, k := smallStore(), mustRule(t, n, time.Second, 0), KeyString("a")
			got := int64(0)
			for i := range n * factor * 60 {
				if s.Take(r, k, noon+i*sec/(n*factor)).Allowed {
					got++
				}
			}
			if got > n*60 || got < n*60*17/18 {
				t.Errorf("N %d at %d times the rate: %d of %d", n, factor, got, n*60)
			}
		}
	}
}

func TestWindowClock(t *testing.T) {
	for _, per := range []time.Duration{time.Millisecond, time.Second, time.Minute, 23 * time.Hour} {
		for _, n := range []int64{5, 100} {
			s, r, k := smallStore(), mustRule(t, n, per, 0), KeyString("a")
			// a late call gains nothing
			admitted(s, r, k, noon, int(n))
			if got := admitted(s, r, k, noon-late, 5); got != 0 {
				t.Errorf("%s: %d late calls admitted", per, got)
			}
			// a year back: a whole period, no more
			now := noon - 365*int64(day)
			d := s.Take(r, k, now)
			if d.Allowed || d.RetryAfter > per || d.Reset > per {
				t.Errorf("%s: set back: %+v", per, d)
			}
			if got := admitted(s, r, k, now+int64(per), int(2*n)); got != int(n) {
				t.Errorf("%s: a period after the clock was set back: %d admitted", per, got)
			}
			// a year ahead
			if got := admitted(s, r, k, noon+365*int64(day), int(2*n)); got != int(n) {
				t.Errorf("%s: set ahead: %d admitted", per, got)
			}
		}
	}
}

// A late request counts from the moment of the last one before it.
func TestWindowLate(t *testing.T) {
	s, r, k := smallStore(), mustRule(t, 2, time.Minute, 0), KeyString("a")
	admitted(s, r, k, noon, 1)
	if d := s.Take(r, k, noon-5*sec); !d.Allowed || d.Reset != 65*time.Second {
		t.Errorf("late: %+v", d)
	}
	if got := admitted(s, r, k, noon+60*sec-1, 2); got != 0 {
		t.Errorf("%d admitted before the minute was over", got)
	}
}

// Setting back keeps the newest sub-bucket open, so that the ring cannot fill up.
func TestWindowSetBackRing(t *testing.T) {
	s, r, k := smallStore(), mustRule(t, 100, time.Minute, 0), KeyString("a")
	admitted(s, r, k, noon, 3)
	admitted(s, r, k, noon-3600*sec, 3)
	p := s.place(r, k)
	if p.find(); p.window.n != 1 || p.slot.count != 6 {
		t.Errorf("%d sub-buckets for %d requests at one time", p.window.n, p.slot.count)
	}
}

func TestWindowFullRing(t *testing.T) {
	var w window
	for i := range uint32(ringLen + 5) {
		w.add(i*100, 10)
	}
	if last := w.ring[ringLen-1]; w.n != ringLen || last.count != 6 || last.last != (ringLen+4)*100 {
		t.Errorf("%+v", w)
	}
}
