//go:build !race

package upstream

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestBreakerAllocFloor(t *testing.T) {
	b := NewBreaker(BreakerOptions{ConsecutiveFailures: 2, OpenFor: 10 * time.Nanosecond})
	now := breakerStart
	f := func() {
		for i := range Outcome(100) {
			now++
			if ticket, ok := b.Allow(now); ok {
				b.Done(ticket, i/7%3, now)
			}
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := ^uint64(0)
	for i := range 6 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 1000 {
			f()
		}
		runtime.ReadMemStats(&after)
		if i > 0 { // the first warms up
			least = min(least, after.Mallocs-before.Mallocs)
		}
	}
	if least != 0 {
		t.Errorf("%d allocations in 1,000 calls", least)
	}
}
