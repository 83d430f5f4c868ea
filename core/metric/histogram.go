package metric

import (
	"strconv"
	"sync/atomic"
	"time"
)

// Histogram counts durations into buckets with upper bounds. Any goroutine may observe; a nil Histogram observes nothing.
// It is striped: with two cores observing at once it costs 8 ns as for one, the library's, which takes a mutex, 5 ns alone
// and 14 then (BenchmarkHistogram).
type Histogram struct {
	layout *layout
	words  []atomic.Uint64 // stripe after stripe: the buckets, the one above all bounds, the sum in nanoseconds, padding
	own    *series
}

// layout is what all histograms of a family share.
type layout struct {
	bounds []int64  // nanoseconds, ascending
	le     []string // the same in seconds, as rendered
	width  int      // words from one stripe to the next
}

func newLayout(bounds []time.Duration) *layout {
	l := &layout{}
	for i, b := range bounds {
		if i > 0 && b <= bounds[i-1] {
			panic("metric: histogram bounds must ascend")
		}
		l.bounds = append(l.bounds, int64(b))
		l.le = append(l.le, strconv.FormatFloat(b.Seconds(), 'g', -1, 64))
	}
	// Whole lines a stripe: fourteen bounds fill one with the bucket above them and the sum.
	const perLine = line / 8
	l.width = (len(bounds) + 2 + perLine - 1) / perLine * perLine
	return l
}

// NewHistogram makes a histogram that no registry renders.
func NewHistogram(bounds []time.Duration) *Histogram { return newHistogram(newLayout(bounds)) }

func newHistogram(l *layout) *Histogram {
	return &Histogram{layout: l, words: make([]atomic.Uint64, stripes*l.width)}
}

// Observe counts one duration in nanoseconds; a negative one counts as zero.
func (h *Histogram) Observe(nano int64) {
	if h != nil {
		h.ObserveAt(Stripe(), nano)
	}
}

// ObserveAt is Observe for a caller that holds an answer of Stripe.
func (h *Histogram) ObserveAt(stripe int, nano int64) {
	if h == nil {
		return
	}
	nano = max(nano, 0)
	l := h.layout
	// Most requests are fast and the bounds few: a walk from below beats a binary search.
	i := 0
	for i < len(l.bounds) && nano > l.bounds[i] {
		i++
	}
	w := h.words[stripe*l.width:][:len(l.bounds)+2]
	w[i].Add(1)
	w[len(l.bounds)+1].Add(uint64(nano))
}

// Count is the number of durations observed.
func (h *Histogram) Count() (n uint64) {
	if h == nil {
		return 0
	}
	for i := range len(h.layout.bounds) + 1 {
		n += h.word(i)
	}
	return n
}

// Release gives back one Acquire, as Counter.Release does.
func (h *Histogram) Release() {
	if h != nil {
		h.own.release()
	}
}

func (h *Histogram) word(i int) (n uint64) {
	for ; i < len(h.words); i += h.layout.width {
		n += h.words[i].Load()
	}
	return n
}

func (h *Histogram) appendTo(dst []byte, name, labels string) []byte {
	t := histogramText{dst, name, labels}
	var n uint64
	for i, le := range h.layout.le {
		n += h.word(i)
		t.bucket(le, n)
	}
	n += h.word(len(h.layout.bounds))
	return t.end(float64(h.word(len(h.layout.bounds)+1))/1e9, n)
}
