package wasm

import (
	"math"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// What metering makes of a tight loop, by turns with an engine that does not meter: the least of many short runs by the thread's
// own clock, which other work on the machine does not change much.
func TestLoopSlowdown(t *testing.T) {
	plain, err := OpenEngine(Options{Rate: 10_000, Unmetered: true})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	var funcs [2]*Func
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
		funcs[i] = lookup(t, ins[i], "loop")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	least := [2]float64{math.Inf(1), math.Inf(1)}
	var ts syscall.Timespec
	for range 200 {
		for i, f := range funcs {
			begin, _ := threadClock(&ts)
			if err := ins[i].Call(f, time.Second, []uint64{50_000}); err != nil {
				t.Fatal(err)
			}
			end, _ := threadClock(&ts)
			least[i] = min(least[i], float64(end-begin))
		}
	}
	slower := least[0] / least[1]
	t.Logf("score F3 loop %g", slower)
	if !raceEnabled && slower > 5 {
		t.Errorf("a metered loop takes %.2f times as long", slower)
	}
}
