package metric

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/VictoriaMetrics/metrics"
)

func parallel(b *testing.B, do func()) {
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			do()
		}
	})
}

// BenchmarkStripe is why the stripe is the processor's and not a random one; run it with -cpu 1,2.
func BenchmarkStripe(b *testing.B) {
	c := NewCounter()
	b.Run("processor", func(b *testing.B) { parallel(b, c.Inc) })
	b.Run("random", func(b *testing.B) {
		parallel(b, func() { c.AddAt(int(rand.Uint32())&(stripes-1), 1) })
	})
	var one atomic.Uint64
	b.Run("none", func(b *testing.B) { parallel(b, func() { one.Add(1) }) })
}

// BenchmarkHistogram is why the library's histogram is not used; run it with -cpu 1,2.
func BenchmarkHistogram(b *testing.B) {
	h := NewHistogram(bounds)
	b.Run("striped", func(b *testing.B) { parallel(b, func() { h.Observe(5e6) }) })
	theirs := metrics.NewSet().NewPrometheusHistogramExt("h", []float64{.001, .01, 1})
	b.Run("library", func(b *testing.B) { parallel(b, func() { theirs.Update(.005) }) })
}

// BenchmarkSpread is what a call of a guest pays to be timed; run it with -cpu 1,2.
func BenchmarkSpread(b *testing.B) {
	s := NewSpread()
	parallel(b, func() { s.Observe(300) })
}

func BenchmarkAppendText(b *testing.B) {
	r := NewRegistry()
	h := r.Histograms("h_seconds", "", bounds, "route")
	for i := range 10000 {
		h.Acquire(string(rune('a'+i%26)) + string(rune(0x4e00+i)))
	}
	var dst []byte
	for b.Loop() {
		dst = r.AppendText(dst[:0])
	}
}
