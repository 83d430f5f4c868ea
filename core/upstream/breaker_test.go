package upstream

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const breakerStart = int64(1_700_000_000_000_000_000)

// breakerScript runs steps against a breaker with 3 failures, 10 s open, 2 probes, a lease of 60 s.
// A step is a word: "a1" allows and keeps ticket 1, "x" expects a refusal, "s1" "f1" "n1" report ticket
// 1, "+5" moves the clock by seconds, "=open" expects the state.
func breakerScript(t *testing.T, script string) {
	t.Helper()
	b := NewBreaker(BreakerOptions{ConsecutiveFailures: 3, OpenFor: 10 * time.Second, HalfOpenRequests: 2, ProbeLease: time.Minute})
	now, tickets := breakerStart, map[string]Ticket{}
	for i, step := range strings.Fields(script) {
		verb, name := step[:1], step[1:]
		switch verb {
		case "a", "x":
			ready := b.Ready(now)
			ticket, ok := b.Allow(now)
			if ok != (verb == "a") || ok != ready {
				t.Fatalf("%s: step %d, %s: allowed %v, ready %v", script, i, step, ok, ready)
			}
			if ticket.Probe() != (ok && b.State() == BreakerHalfOpen) {
				t.Fatalf("%s: step %d, %s: %+v in state %s", script, i, step, ticket, b.State())
			}
			tickets[name] = ticket
		case "s":
			b.Done(tickets[name], OutcomeSuccess, now)
		case "f":
			b.Done(tickets[name], OutcomeFailure, now)
		case "n":
			b.Done(tickets[name], OutcomeNeutral, now)
		case "+", "-":
			d, err := time.ParseDuration(step + "s")
			if err != nil {
				t.Fatal(err)
			}
			now += int64(d)
		case "=":
			if b.State().String() != name {
				t.Fatalf("%s: step %d: %s, want %s", script, i, b.State(), name)
			}
		}
	}
}

func TestBreakerTransitions(t *testing.T) {
	f := func(script string) {
		t.Helper()
		breakerScript(t, script)
	}
	const open = "a1 a2 a3 f1 f2 f3 =open "
	// closed → open after three failures in a row
	f("=closed a1 f1 a1 f1 =closed a1 f1 =open x")
	// a success between them begins anew
	f("a1 f1 a1 f1 a1 s1 a1 f1 a1 f1 =closed a1 f1 =open")
	// neutral changes nothing: neither counts nor begins anew
	f("a1 f1 a1 f1 a1 n1 a1 n1 a1 n1 =closed a1 f1 =open")
	// one failure in a thousand stays closed
	f(strings.Repeat("a1 f1 a1 f1 a1 s1 ", 300) + "=closed")
	// a flood of client aborts stays closed
	f(strings.Repeat("a1 n1 ", 1000) + "=closed")
	// open → half-open when the time is up, not before
	f(open + "+9.999999999 x =open +0.000000001 a1 =half-open")
	// two probes in flight, not three
	f(open + "+10 a1 a2 x x")
	// two successes close
	f(open + "+10 a1 a2 s1 =half-open s2 =closed a1 a2 a3 a4")
	// in sequence too
	f(open + "+10 a1 s1 a1 s1 =closed")
	// a place given back is given again
	f(open + "+10 a1 a2 x s1 a3 x")
	// one failure opens again, for the whole time
	f(open + "+10 a1 a2 s1 f2 =open x +9.9 x +0.1 a1 =half-open")
	// successes of an earlier half-open do not count in the next
	f(open + "+10 a1 a2 s1 f2 =open +10 a1 s1 =half-open")
	// neutral gives the place back and is no success
	f(open + "+10 a1 a2 x n1 n2 =half-open a1 a2 x s1 =half-open s2 =closed")
	// results from before the opening
	f("a4 a5 " + open + "s4 =open f5 =open +10 a1 =half-open s4 s5 =half-open s1 a1 s1 =closed")
	f("a4 a5 a6 " + open + "+10 a1 f4 f5 f6 =half-open s1 a1 s1 =closed f4 f5 f6 =closed")
	f("a4 " + open + "+10 a1 a2 n4 x s4 x")
	// results of the last half-open in the next one
	f(open + "+10 a1 a2 f1 +10 a3 a4 x s2 f2 n2 =half-open x s3 s4 =closed")
	// a surplus probe, reported after the breaker closed
	f(open + "+10 a1 s1 a2 a3 s2 =closed f3 =closed a4 a5 f4 f5 =closed")
	// nothing was allowed: the zero ticket
	f("f0 f0 f0 f0 =closed " + open + "+10 s0 s0 =open a1 a2 f0 s0 =half-open x")
	// probes never reported: a new half-open when the lease is over, where their results are late
	f(open + "+10 a1 a2 +59 x +1 a3 a4 x f1 s2 =half-open s3 s4 =closed")
	// the lease begins with the last place
	f(open + "+10 a1 +59 a2 +59 x +1 a3")
}

// After the clock was set back, by little or by much, the wait is the whole time once more and not longer.
func TestBreakerClockSetBack(t *testing.T) {
	for _, back := range []time.Duration{time.Second, 15 * time.Second, time.Hour, 365 * 24 * time.Hour} {
		b := NewBreaker(BreakerOptions{ConsecutiveFailures: 1, OpenFor: 10 * time.Second})
		ticket, _ := b.Allow(breakerStart)
		b.Done(ticket, OutcomeFailure, breakerStart)
		now := breakerStart - int64(back)
		if _, ok := b.Allow(now); ok || b.RetryAfter(now) != 10*time.Second {
			t.Errorf("open, %s back: allowed %v, retry after %s", back, ok, b.RetryAfter(now))
		}
		now += int64(10 * time.Second)
		if _, ok := b.Allow(now); !ok || b.State() != BreakerHalfOpen {
			t.Errorf("%s back: not half-open in time: %s", back, b.State())
		}
		now -= int64(back)
		if _, ok := b.Allow(now); ok || b.RetryAfter(now) != b.Options().ProbeLease {
			t.Errorf("half-open, %s back: allowed %v, retry after %s", back, ok, b.RetryAfter(now))
		}
	}
}

func TestBreakerRetryAfter(t *testing.T) {
	b := NewBreaker(BreakerOptions{ConsecutiveFailures: 1})
	ticket, _ := b.Allow(breakerStart)
	if b.RetryAfter(breakerStart) != 0 {
		t.Error("closed: a wait")
	}
	b.Done(ticket, OutcomeFailure, breakerStart)
	if got := b.RetryAfter(breakerStart + int64(time.Second)); got != 29*time.Second {
		t.Errorf("open: %s, want 29s", got)
	}
}

// A call that saw the breaker half-open, and comes to the lock when it is closed, passes.
func TestBreakerClosedMeanwhile(t *testing.T) {
	b := NewBreaker(BreakerOptions{})
	if ticket, ok := b.allowSlow(breakerStart); !ok || ticket.Probe() {
		t.Errorf("%+v, %v", ticket, ok)
	}
}

func TestBreakerOptions(t *testing.T) {
	f := func(o, want BreakerOptions) {
		t.Helper()
		if got := NewBreaker(o).Options(); got != want || got != o.WithDefaults() || got != got.WithDefaults() {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	year := 366 * 24 * time.Hour
	f(BreakerOptions{}, BreakerOptions{5, 30 * time.Second, 1, 5 * time.Minute})
	f(BreakerOptions{-1, -1, -1, -1}, BreakerOptions{5, 30 * time.Second, 1, 5 * time.Minute})
	f(BreakerOptions{1, time.Millisecond, 2, time.Second}, BreakerOptions{1, time.Millisecond, 2, time.Second})
	f(BreakerOptions{OpenFor: time.Second}, BreakerOptions{5, time.Second, 1, time.Minute})
	f(BreakerOptions{1 << 40, 1 << 62, 1 << 40, 1<<63 - 1}, BreakerOptions{1 << 28, year, 1 << 28, 10 * year})
}

// The herd at the moment of half-open: exactly k are let through.
func TestBreakerHerd(t *testing.T) {
	for _, k := range []int{1, 2, 7} {
		for range 20 {
			b := NewBreaker(BreakerOptions{ConsecutiveFailures: 1, HalfOpenRequests: k})
			ticket, _ := b.Allow(breakerStart)
			b.Done(ticket, OutcomeFailure, breakerStart)
			now := breakerStart + int64(b.Options().OpenFor)
			var admitted atomic.Int64
			var wg sync.WaitGroup
			gate := make(chan struct{})
			for range 1000 {
				wg.Go(func() {
					<-gate
					if _, ok := b.Allow(now); ok {
						admitted.Add(1)
					}
				})
			}
			close(gate)
			wg.Wait()
			if admitted.Load() != int64(k) {
				t.Fatalf("%d admitted, want %d", admitted.Load(), k)
			}
		}
	}
}

// Whatever happens at once: probes in flight never exceed k, and the breaker is usable after.
func TestBreakerHammer(t *testing.T) {
	const k = 3
	b := NewBreaker(BreakerOptions{ConsecutiveFailures: 2, OpenFor: time.Microsecond, HalfOpenRequests: k, ProbeLease: time.Hour})
	var now atomic.Int64
	now.Store(breakerStart)
	var mu sync.Mutex
	inFlight := map[uint32]int{} // by epoch
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 3000 {
				ticket, ok := b.Allow(now.Add(100))
				if !ok {
					continue
				}
				if ticket.Probe() {
					mu.Lock()
					if inFlight[ticket.epoch]++; inFlight[ticket.epoch] > k {
						t.Errorf("%d probes in flight", inFlight[ticket.epoch])
					}
					mu.Unlock()
				}
				b.Ready(now.Load())
				b.RetryAfter(now.Load())
				if ticket.Probe() {
					mu.Lock()
					inFlight[ticket.epoch]--
					mu.Unlock()
				}
				b.Done(ticket, Outcome((i+g)%3), now.Load())
			}
		})
	}
	wg.Wait()
	for i := 0; b.State() != BreakerClosed; i++ {
		if ticket, ok := b.Allow(now.Add(int64(time.Second))); ok {
			b.Done(ticket, OutcomeSuccess, now.Load())
		}
		if i > 2*k {
			t.Fatalf("wedged: %s", b.State())
		}
	}
}

func BenchmarkBreaker(b *testing.B) {
	closed := NewBreaker(BreakerOptions{})
	open := NewBreaker(BreakerOptions{ConsecutiveFailures: 1})
	ticket, _ := open.Allow(breakerStart)
	open.Done(ticket, OutcomeFailure, breakerStart)
	for name, br := range map[string]*Breaker{"closed": closed, "open": open} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if ticket, ok := br.Allow(breakerStart); ok {
					br.Done(ticket, OutcomeSuccess, breakerStart)
				}
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if ticket, ok := br.Allow(breakerStart); ok {
						br.Done(ticket, OutcomeSuccess, breakerStart)
					}
				}
			})
		})
	}
}
