package wasm

import (
	"math"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// What metering makes of tight loops, by turns with an engine that does not meter: the least of many short runs by the thread's
// own clock, which other work on the machine does not change much. One loop does nothing but count, a cycle a turn; the other
// reads bytes, as filters do.
func TestLoopSlowdown(t *testing.T) {
	plain, err := OpenEngine(Options{Rate: 10_000, Unmetered: true})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	var ins [2]*Instance
	for i, e := range []*Engine{testEngine(t), plain} {
		m, err := e.Load(nocontext, benchGuest(), ModuleOptions{Name: "loop"})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if ins[i], err = m.Instantiate(nocontext, InstanceOptions{}); err != nil {
			t.Fatal(err)
		}
		defer ins[i].Close()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const turns = 200_000
	for _, name := range []string{"loop", "bytes"} {
		least := [2]float64{math.Inf(1), math.Inf(1)}
		var ts syscall.Timespec
		for range 200 {
			for i, in := range ins {
				f := lookup(t, in, name)
				begin, _ := threadClock(&ts)
				if err := in.Call(f, time.Second, []uint64{turns}); err != nil {
					t.Fatal(err)
				}
				end, _ := threadClock(&ts)
				least[i] = min(least[i], float64(end-begin)/turns)
			}
		}
		slower := least[0] / least[1]
		t.Logf("%s: %.3g ns a turn, %.3g not metered", name, least[0], least[1])
		t.Logf("score F3 %s %g", name, slower)
		if !raceEnabled && slower > 8 {
			t.Errorf("%s: a metered loop takes %.2f times as long", name, slower)
		}
	}
}
