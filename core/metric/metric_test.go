package metric

import (
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/metric/metrictest"
)

var bounds = []time.Duration{time.Millisecond, 10 * time.Millisecond, time.Second}

func page(t *testing.T, r *Registry) *metrictest.Page {
	t.Helper()
	text := r.AppendText(nil)
	p, err := metrictest.Parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

func TestText(t *testing.T) {
	r := NewRegistry()
	requests := r.Counters("a_total", `help with \ and`+"\nline", "route", "method")
	times := r.Histograms("b_seconds", "b", bounds, "route")
	bare := r.Histograms("c_seconds", "c", bounds)
	gauge := r.Gauges("d", "d")
	r.Counters("unused_total", "never rendered")

	requests.Acquire("z", "GET").Add(3)
	requests.Acquire("a\"b\\c\nd\xff", "GET").Inc()
	h := times.Acquire("x")
	h.Observe(int64(time.Millisecond)) // a bound belongs to its bucket
	h.Observe(int64(time.Millisecond) + 1)
	h.Observe(int64(time.Hour))
	h.Observe(-5)
	bare.Acquire()
	gauge.Acquire(func() float64 { return 0.5 })

	want := `# HELP a_total help with \\ and\nline
# TYPE a_total counter
a_total{route="a\"b\\c\nd�",method="GET"} 1
a_total{route="z",method="GET"} 3
# HELP b_seconds b
# TYPE b_seconds histogram
b_seconds_bucket{route="x",le="0.001"} 2
b_seconds_bucket{route="x",le="0.01"} 3
b_seconds_bucket{route="x",le="1"} 3
b_seconds_bucket{route="x",le="+Inf"} 4
b_seconds_sum{route="x"} 3600.002000001
b_seconds_count{route="x"} 4
# HELP c_seconds c
# TYPE c_seconds histogram
c_seconds_bucket{le="0.001"} 0
c_seconds_bucket{le="0.01"} 0
c_seconds_bucket{le="1"} 0
c_seconds_bucket{le="+Inf"} 0
c_seconds_sum 0
c_seconds_count 0
# HELP d d
# TYPE d gauge
d 0.5
`
	var got strings.Builder
	if n, err := r.WriteTo(&got); err != nil || int(n) != got.Len() {
		t.Error(n, err)
	}
	if got.String() != want {
		t.Errorf("got\n%s", got.String())
	}
	page(t, r)
}

func TestSpecialValues(t *testing.T) {
	r := NewRegistry()
	g := r.Gauges("g", "", "v")
	for name, v := range map[string]float64{"inf": math.Inf(1), "-inf": math.Inf(-1), "nan": math.NaN(), "small": 1e-9, "large": 1e21} {
		g.Acquire(func() float64 { return v }, name)
	}
	p := page(t, r)
	if v := p.Samples[`g{v="inf"}`]; !math.IsInf(v, 1) {
		t.Error(v)
	}
	if v := p.Samples[`g{v="nan"}`]; !math.IsNaN(v) {
		t.Error(v)
	}
}

func TestSharing(t *testing.T) {
	r := NewRegistry()
	f := r.Counters("a_total", "", "route")
	old := f.Acquire("x")
	old.Add(5)
	next := f.Acquire("x")
	if old != next {
		t.Fatal("two plans that name one series count apart")
	}
	old.Release()
	if v := page(t, r).Samples[`a_total{route="x"}`]; v != 5 {
		t.Errorf("after the old plan went: %v", v)
	}
	next.Release()
	if len(page(t, r).Samples) != 0 {
		t.Error("a series that nobody names is rendered")
	}
	next.Inc() // a late request of a plan that is gone
	if c := f.Acquire("x"); c.Value() != 0 {
		t.Error("a dropped series came back")
	}

	h := r.Histograms("h_seconds", "", bounds)
	if one, two := h.Acquire(), h.Acquire(); one != two {
		t.Error("two histograms of one name")
	}
	h.Acquire().Release()
	if h.Acquire().Count() != 0 {
		t.Error("histogram not empty")
	}
}

// While a plan gives way to the next, both answer for one series: the newest does, whichever goes first.
func TestCallbacks(t *testing.T) {
	r := NewRegistry()
	f := r.CounterCallbacks("a_total", "", "x")
	ask := func(n float64) func() float64 { return func() float64 { return n } }
	value := func() float64 {
		v, ok := page(t, r).Samples[`a_total{x="y"}`]
		if !ok {
			return -1
		}
		return v
	}
	a, b := f.Acquire(ask(1), "y"), f.Acquire(ask(2), "y")
	if v := value(); v != 2 {
		t.Error(v)
	}
	a.Release()
	a.Release() // once more changes nothing
	if v := value(); v != 2 {
		t.Error(v)
	}
	c := f.Acquire(ask(3), "y")
	c.Release()
	if v := value(); v != 2 {
		t.Error(v)
	}
	b.Release()
	if v := value(); v != -1 {
		t.Error(v)
	}
}

func TestIndexed(t *testing.T) {
	r := NewRegistry()
	f := r.Counters("a_total", "", "kind")
	names := []string{"none", "one", "two"}
	x := NewIndexed(func(i int) *Counter { return f.Acquire(names[min(i, 2)]) })
	x.Inc(1)
	x.Inc(1)
	x.Inc(1000)
	x.Inc(-1)
	if x.Value(1) != 2 || x.Value(MaxIndex-1) != 2 || x.Value(0) != 0 || x.Value(-1) != 0 {
		t.Error(x.Value(1), x.Value(MaxIndex-1))
	}
	if n := len(page(t, r).Samples); n != 2 {
		t.Errorf("%d series", n)
	}
	x.Release()
	x.Release()
	x.Inc(0)
	if n := len(page(t, r).Samples); n != 0 {
		t.Errorf("%d series after Release", n)
	}
}

func TestNilCountsNothing(t *testing.T) {
	var c *Counter
	c.Inc()
	c.AddAt(0, 1)
	c.Release()
	var h *Histogram
	h.Observe(1)
	h.ObserveAt(0, 1)
	h.Release()
	var x *Indexed
	x.Inc(1)
	x.Release()
	var cb *Callback
	cb.Release()
	if c.Value() != 0 || h.Count() != 0 || x.Value(1) != 0 {
		t.Error("nil counted")
	}
	// without a registry they count all the same
	c, h = NewCounter(), NewHistogram(bounds)
	c.Inc()
	h.Observe(1)
	c.Release()
	h.Release()
	if c.Value() != 1 || h.Count() != 1 {
		t.Error(c.Value(), h.Count())
	}
}

func TestMistakesPanic(t *testing.T) {
	f := func(want string, do func(r *Registry)) {
		t.Helper()
		defer func() {
			if got := recover(); got != want {
				t.Errorf("got %v, want %s", got, want)
			}
		}()
		do(NewRegistry())
	}
	f("metric: bad name 9a", func(r *Registry) { r.Gauges("9a", "") })
	f("metric: bad name ", func(r *Registry) { r.Gauges("", "") })
	f("metric: bad label a:b of g", func(r *Registry) { r.Gauges("g", "", "a:b") })
	f("metric: bad label le of g", func(r *Registry) { r.Gauges("g", "", "le") })
	f("metric: name used twice: g", func(r *Registry) { r.Gauges("g", ""); r.Counters("g", "") })
	f("metric: histogram bounds must ascend", func(r *Registry) { r.Histograms("h", "", []time.Duration{2, 1}) })
	f(`metric: g has labels [a] and was given values ["x" "y"]`, func(r *Registry) { r.Counters("g", "", "a").Acquire("x", "y") })
}

// No count is lost and every text is well-formed while goroutines count, plans come and go, and a scraper reads.
func TestHammer(t *testing.T) {
	r := NewRegistry()
	counters := r.Counters("a_total", "", "x")
	times := r.Histograms("b_seconds", "", bounds)
	gauges := r.Gauges("c", "", "x")
	kept, hist := counters.Acquire("kept"), times.Acquire()
	row := NewIndexed(func(i int) *Counter { return counters.Acquire("row") })

	const workers, rounds = 8, 2000
	var counting, scraping sync.WaitGroup
	stop := make(chan struct{})
	scraping.Go(func() {
		for {
			if _, err := metrictest.Parse(r.AppendText(nil)); err != nil {
				t.Error(err)
			}
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
				kept.Inc()
				hist.Observe(int64(i) * 1e6)
				row.Inc(1)
				c := counters.Acquire("passing")
				c.Inc()
				g := gauges.Acquire(func() float64 { return 1 }, "passing")
				g.Release()
				c.Release()
			}
		})
	}
	counting.Wait()
	close(stop)
	scraping.Wait()
	if kept.Value() != workers*rounds || hist.Count() != workers*rounds || row.Value(1) != workers*rounds {
		t.Error(kept.Value(), hist.Count(), row.Value(1))
	}
	if n := len(page(t, r).Samples); n != 2+len(bounds)+3 {
		t.Errorf("%d samples are left", n)
	}
}

func TestStripe(t *testing.T) {
	if stripes&(stripes-1) != 0 {
		t.Fatal(stripes)
	}
	var seen []int
	for range 1000 {
		s := Stripe()
		if s < 0 || s >= stripes {
			t.Fatal(s)
		}
		if !slices.Contains(seen, s) {
			seen = append(seen, s)
		}
	}
}
