// Package alloc measures, for tests, that code allocates nothing. It imports no package of weir, so the tests of all may use it.
package alloc

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// Floor fails t unless f runs without a single heap allocation. testing.AllocsPerRun divides as integers, so 99
// allocations in 100 runs are none to it; this counts them: the least of five windows of 1,000 runs must be exactly 0.
// Under the race detector, which allocates, nothing is measured.
func Floor(t testing.TB, f func()) {
	t.Helper()
	if race {
		t.Log("not measured: the race detector allocates")
		return
	}
	for range 1000 {
		f()
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := ^uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 1000 {
			f()
		}
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	if least != 0 {
		t.Errorf("%d allocations in 1,000 runs, want 0", least)
	}
}
