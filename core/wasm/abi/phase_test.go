package abi

import (
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest/alloc"
	"github.com/weirproxy/weir/core/filter"
)

var _ filter.Timed = (*Phases)(nil)

func TestPhases(t *testing.T) {
	var p Phases
	if l := p.Snapshot(); l == nil || len(l) != 0 {
		t.Errorf("%+v", l)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 1000 {
				p.Observe(PhaseTick, time.Duration(i)*time.Microsecond)
				p.Observe(PhaseStart, time.Second)
			}
		})
	}
	all.Wait()
	l := p.Snapshot()
	if len(l) != 2 || l[0].Phase != "start" || l[1].Phase != "tick" || l[0].Calls != 4000 || l[0].CPU != 4000*time.Second {
		t.Fatalf("%+v", l)
	}
	near := func(got, want time.Duration) bool { return got > want-want/8 && got < want+want/8 }
	if !near(l[1].P50, 500*time.Microsecond) || !near(l[1].P99, 990*time.Microsecond) {
		t.Errorf("%+v", l[1])
	}
	for i, name := range p.PhaseNames() {
		if name == "" || Phase(i).String() != name {
			t.Errorf("phase %d is %q", i, name)
		}
		if (p.Spread(i) != nil) != (name == "start" || name == "tick") {
			t.Errorf("%s: %v", name, p.Spread(i))
		}
	}
}

func TestPhasesAllocateNothing(t *testing.T) {
	var p Phases
	alloc.Floor(t, func() { p.Observe(PhaseRequestHeaders, 350) })
}

// BenchmarkPhases is what every call of a guest pays; run it with -cpu 1,2.
func BenchmarkPhases(b *testing.B) {
	var p Phases
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p.Observe(PhaseRequestHeaders, 350)
		}
	})
}
