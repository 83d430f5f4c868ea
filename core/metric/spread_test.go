package metric

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Every duration falls into the bucket whose edges hold it, and edges belong below.
func TestSpreadIndex(t *testing.T) {
	f := func(n uint64) {
		t.Helper()
		i := spreadIndex(n)
		if i < 0 || i >= spreadBuckets {
			t.Fatal(n, i)
		}
		if i < spreadOver && n > spreadEdge(i) || i > 0 && n <= spreadEdge(i-1) {
			t.Errorf("%d is in bucket %d", n, i)
		}
	}
	for n := range uint64(5000) {
		f(n)
	}
	for power := range 63 {
		for _, off := range []int64{-1, 0, 1} {
			f(uint64(max(int64(1)<<power+off, 0)))
		}
	}
	for range 100_000 {
		f(rand.Uint64() >> rand.IntN(64) >> 1)
	}
	if e := spreadEdge(spreadOver - 1); e != 1<<spreadLast {
		t.Errorf("the last edge is %d", e)
	}
	for _, power := range spreadBounds {
		if spreadEdge(spreadIndex(1<<power)) != 1<<power {
			t.Errorf("2^%d is no edge", power)
		}
	}
}

func TestQuantile(t *testing.T) {
	s := NewSpread()
	if d := s.Read(); d.Quantile(.5) != 0 || d.Count() != 0 || d.Sum() != 0 {
		t.Error("nothing is something")
	}
	var all []time.Duration
	var sum time.Duration
	for range 20_000 {
		n := time.Duration(64 + rand.Uint64N(1<<(7+rand.Uint64N(24))))
		all = append(all, n)
		sum += n
		s.Observe(n)
	}
	slices.Sort(all)
	d := s.Read()
	if d.Count() != uint64(len(all)) || d.Sum() != sum {
		t.Error(d.Count(), d.Sum(), sum)
	}
	for _, q := range []float64{0, .001, .25, .5, .9, .99, .999, 1} {
		want := all[max(int(q*float64(len(all))+.9999)-1, 0)]
		if got := d.Quantile(q); got < want-want/8 || got > want+want/8 {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
	one := NewSpread()
	one.Observe(-5)
	one.Observe(100 * time.Hour)
	if d := one.Read(); d.Quantile(.5) != 16 || d.Quantile(.99) != 1<<spreadLast || d.Sum() != 100*time.Hour {
		t.Error(d.Quantile(.5), d.Quantile(.99), d.Sum())
	}
	var none *Spread
	none.Observe(1)
	if d := none.Read(); d.Count() != 0 {
		t.Error("nil counted")
	}
}

func TestSpreads(t *testing.T) {
	r := NewRegistry()
	f := r.Spreads("a_seconds", "a", "x")
	ask := func(s *Spread) func() *Spread { return func() *Spread { return s } }
	one, two := NewSpread(), NewSpread()
	one.Observe(256) // a bound belongs to its bucket
	one.Observe(257)
	two.Observe(time.Hour)
	f.Acquire(ask(nil), "nothing")
	a, again := f.Acquire(ask(one), "y"), f.Acquire(ask(one), "y")
	want := `# HELP a_seconds a
# TYPE a_seconds histogram
a_seconds_bucket{x="y",le="2.56e-07"} 1
a_seconds_bucket{x="y",le="1.024e-06"} 2
`
	if text := string(r.AppendText(nil)); !strings.HasPrefix(text, want) || strings.Contains(text, "nothing") ||
		!strings.HasSuffix(text, "a_seconds_bucket{x=\"y\",le=\"+Inf\"} 2\na_seconds_sum{x=\"y\"} 5.13e-07\na_seconds_count{x=\"y\"} 2\n") {
		t.Error(text)
	}
	page(t, r)
	count := func(want float64) {
		t.Helper()
		if got := page(t, r).Samples[`a_seconds_count{x="y"}`]; got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	b := f.Acquire(ask(two), "y")
	count(3)
	a.Release()
	a.Release() // once more changes nothing
	count(3)
	// What somebody has counted that goes is not lost while another stays.
	again.Release()
	count(3)
	two.Observe(1)
	count(4)
	b.Release()
	if n := len(page(t, r).Samples); n != 0 {
		t.Errorf("%d samples of nobody", n)
	}
	c := f.Acquire(ask(two), "y")
	count(2)
	c.Release()
}

// Counts only grow while those who count come and go, and a scraper reads.
func TestSpreadsHammer(t *testing.T) {
	r := NewRegistry()
	f := r.Spreads("a_seconds", "a")
	kept := NewSpread()
	defer f.Acquire(func() *Spread { return kept }).Release()
	const workers, rounds = 4, 300
	var counting, scraping sync.WaitGroup
	stop := make(chan struct{})
	scraping.Go(func() {
		last := 0.0
		for {
			n := page(t, r).Samples["a_seconds_count"]
			if n < last {
				t.Error(fmt.Sprint("fell from ", last, " to ", n))
			}
			last = n
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for range workers {
		counting.Go(func() {
			for i := range rounds {
				s := NewSpread()
				c := f.Acquire(func() *Spread { return s })
				s.Observe(time.Duration(i))
				kept.Observe(time.Duration(i) << 10)
				c.Release()
			}
		})
	}
	counting.Wait()
	close(stop)
	scraping.Wait()
	if n := page(t, r).Samples["a_seconds_count"]; n != 2*workers*rounds {
		t.Error(n)
	}
}
