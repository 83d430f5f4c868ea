package metric

import (
	"math"
	"math/bits"
	"strconv"
	"sync/atomic"
	"time"
)

// Spread counts durations finely enough to tell any quantile of them: four buckets to each power of two, from 32 ns to
// 34 s, so that what Quantile says is within an eighth. Any goroutine may observe; a nil Spread observes nothing. It is
// striped as Histogram is and costs no more (BenchmarkSpread), but takes a KiB a stripe.
type Spread struct {
	stripes []spreadStripe
}

const (
	spreadFirst   = 5                                        // the lowest bucket ends at two to this power
	spreadLast    = 35                                       // above two to this power all is one
	spreadParts   = 4                                        // buckets of a power of two
	spreadOver    = 1 + (spreadLast-spreadFirst)*spreadParts // the bucket of what is above all
	spreadBuckets = spreadOver + 1
)

type spreadStripe struct {
	counts [spreadBuckets]atomic.Uint64
	sum    atomic.Uint64 // nanoseconds
	_      [(16 - (spreadBuckets+1)%16) % 16]uint64
}

// NewSpread makes an empty one.
func NewSpread() *Spread { return &Spread{make([]spreadStripe, stripes)} }

// Observe counts one duration; a negative one counts as zero.
func (s *Spread) Observe(d time.Duration) {
	if s == nil {
		return
	}
	d = max(d, 0)
	st := &s.stripes[Stripe()]
	st.counts[spreadIndex(uint64(d))].Add(1)
	st.sum.Add(uint64(d))
}

// spreadIndex is the bucket of n nanoseconds. A bucket's upper edge belongs to it.
func spreadIndex(n uint64) int {
	if n <= 1<<spreadFirst {
		return 0
	}
	n--
	e := bits.Len64(n) - 1
	return min(1+(e-spreadFirst)*spreadParts+int(n>>(e-2)&(spreadParts-1)), spreadOver)
}

// spreadEdge is the upper edge of a bucket.
func spreadEdge(i int) uint64 {
	if i == 0 {
		return 1 << spreadFirst
	}
	power, part := (i-1)/spreadParts, (i-1)%spreadParts
	return uint64(spreadParts+part+1) << (power + spreadFirst - 2)
}

// Read copies what has been counted so far; what is being observed meanwhile may be missing.
func (s *Spread) Read() (d Distribution) {
	if s == nil {
		return d
	}
	for i := range s.stripes {
		st := &s.stripes[i]
		for b := range st.counts {
			d.counts[b] += st.counts[b].Load()
		}
		d.sum += st.sum.Load()
	}
	return d
}

// Distribution is what a Spread has counted by a moment. The zero value is that of nothing.
type Distribution struct {
	counts [spreadBuckets]uint64
	sum    uint64
}

// Add counts what o has counted, too.
func (d *Distribution) Add(o *Distribution) {
	for i, n := range o.counts {
		d.counts[i] += n
	}
	d.sum += o.sum
}

// Count is the number of durations, Sum all of them together.
func (d *Distribution) Count() (n uint64) {
	for _, c := range d.counts {
		n += c
	}
	return n
}

// Sum is all durations together.
func (d *Distribution) Sum() time.Duration { return time.Duration(min(d.sum, math.MaxInt64)) }

// Quantile is the duration that a part q of all, from 0 to 1, does not exceed; zero if there are none.
func (d *Distribution) Quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(d.Count())))
	var n uint64
	for i, c := range d.counts {
		if n += c; n >= max(rank, 1) {
			return spreadMiddle(i)
		}
	}
	return 0
}

// spreadMiddle stands for what a bucket has counted.
func spreadMiddle(i int) time.Duration {
	switch i {
	case 0:
		return 1 << (spreadFirst - 1)
	case spreadOver:
		return 1 << spreadLast
	}
	return time.Duration((spreadEdge(i-1) + spreadEdge(i)) / 2)
}

// spreadBounds are the edges that are rendered, as powers of two nanoseconds: every second, from a quarter of a microsecond
// to a second. They are edges of buckets, so that the counts are exact.
var spreadBounds = [...]int{8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30}

var spreadLe = func() (le [len(spreadBounds)]string) {
	for i, power := range spreadBounds {
		le[i] = strconv.FormatFloat(float64(int64(1)<<power)/1e9, 'g', -1, 64)
	}
	return le
}()

// appendHistogram renders d.
func (d *Distribution) appendHistogram(dst []byte, name, labels string) []byte {
	t := histogramText{dst, name, labels}
	var n uint64
	from := 0
	for i, power := range spreadBounds {
		upTo := (power-spreadFirst)*spreadParts + 1
		for ; from < upTo; from++ {
			n += d.counts[from]
		}
		t.bucket(spreadLe[i], n)
	}
	for ; from < spreadBuckets; from++ {
		n += d.counts[from]
	}
	return t.end(float64(d.sum)/1e9, n)
}
