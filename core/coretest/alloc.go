// Package coretest is for tests of core: a rig of client, weir and upstream, and measures that need care to be true.
package coretest

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// AllocFloor fails t unless f runs without a single heap allocation. testing.AllocsPerRun divides as integers, so 99
// allocations in 100 runs are none to it; this counts them: the least of five windows of 1,000 runs must be exactly 0.
func AllocFloor(t *testing.T, f func()) {
	t.Helper()
	if RaceEnabled {
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
