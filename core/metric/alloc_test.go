//go:build !race

package metric

import (
	"testing"

	"github.com/weirproxy/weir/core/coretest/alloc"
)

func TestCountingAllocatesNothing(t *testing.T) {
	c, h := NewCounter(), NewHistogram(bounds)
	x := NewIndexed(func(int) *Counter { return NewCounter() })
	s := NewSpread()
	alloc.Floor(t, func() {
		s.Observe(12345)
		c.Inc()
		c.AddAt(Stripe(), 2)
		h.Observe(5e6)
		x.Inc(3)
	})
}
