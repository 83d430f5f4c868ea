//go:build !race

package metric

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestCountingAllocatesNothing(t *testing.T) {
	c, h := NewCounter(), NewHistogram(bounds)
	x := NewIndexed(func(int) *Counter { return NewCounter() })
	floor(t, func() {
		c.Inc()
		c.AddAt(Stripe(), 2)
		h.Observe(5e6)
		x.Inc(3)
	})
}

// floor fails unless the least of five windows of 1,000 calls allocates nothing.
func floor(t *testing.T, call func()) {
	t.Helper()
	for range 1000 {
		call()
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := ^uint64(0)
	var before, after runtime.MemStats
	for range 5 {
		runtime.ReadMemStats(&before)
		for range 1000 {
			call()
		}
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	if least != 0 {
		t.Errorf("%d allocations in 1,000 calls", least)
	}
}
