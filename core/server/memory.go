package server

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/clock"
)

// memory tells when the process has so little left of its memory limit (GOMEMLIMIT, debug.SetMemoryLimit) that it would
// soon do nothing but collect garbage: new work is then refused before it costs anything. Without a limit it never is.
type memory struct {
	scarce atomic.Bool
	shed   atomic.Int64 // connections refused for it

	samples   []metrics.Sample // of the watch's goroutine
	collected int64            // clock.Nano of the last collection that was asked for
}

// It is scarce from scarceAt parts of the limit on until it is below plentyAt. Meanwhile garbage is collected every
// collectEvery: a node that refuses all work allocates nothing, so that the collector would not run for two minutes, and
// would not see that those have gone who held the memory.
const (
	scarceAt     = 0.90
	plentyAt     = 0.85
	collectEvery = int64(time.Second)
)

// What is in use is what the last collection left alive, and what is no heap at all. Garbage is not counted: the collector
// lets it grow up to the limit, and nothing is wrong then.
var memoryMetrics = [...]string{
	"/memory/classes/total:bytes", "/memory/classes/heap/released:bytes", "/memory/classes/heap/objects:bytes",
	"/memory/classes/heap/unused:bytes", "/memory/classes/heap/free:bytes", "/gc/heap/live:bytes",
}

// look samples, and reports whether the answer has changed.
func (m *memory) look() (changed bool) {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return m.scarce.CompareAndSwap(true, false)
	}
	if now := clock.Nano(); m.scarce.Load() && now-m.collected > collectEvery {
		m.collected = now
		runtime.GC()
	}
	if m.samples == nil {
		m.samples = make([]metrics.Sample, len(memoryMetrics))
		for i, name := range memoryMetrics {
			m.samples[i].Name = name
		}
	}
	metrics.Read(m.samples)
	v := func(i int) float64 { return float64(m.samples[i].Value.Uint64()) }
	used := v(0) - v(1) - v(2) - v(3) - v(4) + v(5)
	if was := m.scarce.Load(); was {
		return used < plentyAt*float64(limit) && m.scarce.CompareAndSwap(true, false)
	}
	return used > scarceAt*float64(limit) && m.scarce.CompareAndSwap(false, true)
}
