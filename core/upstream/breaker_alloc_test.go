//go:build !race

package upstream

import (
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest/alloc"
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
	alloc.Floor(t, f)
}
