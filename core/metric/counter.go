package metric

import (
	"strconv"
	"sync/atomic"
)

// Counter only grows. Any goroutine may count; a nil Counter counts nothing.
type Counter struct {
	cells []cell
	own   *series
}

type cell struct {
	n atomic.Uint64
	_ [line - 8]byte
}

// NewCounter makes a counter that no registry renders.
func NewCounter() *Counter { return &Counter{cells: make([]cell, stripes)} }

// Inc adds one.
func (c *Counter) Inc() { c.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) {
	if c != nil {
		c.cells[Stripe()].n.Add(n)
	}
}

// AddAt is Add for a caller that holds an answer of Stripe.
func (c *Counter) AddAt(stripe int, n uint64) {
	if c != nil {
		c.cells[stripe].n.Add(n)
	}
}

// Value is the count so far; what is being added meanwhile may be missing.
func (c *Counter) Value() (n uint64) {
	if c == nil {
		return 0
	}
	for i := range c.cells {
		n += c.cells[i].n.Load()
	}
	return n
}

// Release gives back one Acquire. The counter still counts, but once nobody holds it, nobody sees it.
func (c *Counter) Release() {
	if c != nil {
		c.own.release()
	}
}

func (c *Counter) appendTo(dst []byte, name, labels string) []byte {
	dst = append(append(dst, name...), labels...)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, c.Value(), 10)
	return append(dst, '\n')
}
