//go:build !race

package metric

import (
	"testing"

	"github.com/weirproxy/weir/core/coretest/alloc"
)

func TestCountingAllocatesNothing(t *testing.T) {
	c, h := NewCounter(), NewHistogram(bounds)
	x := NewIndexed(func(int) *Counter { return NewCounter() })
	alloc.Floor(t, func() {
		c.Inc()
		c.AddAt(Stripe(), 2)
		h.Observe(5e6)
		x.Inc(3)
	})
}
