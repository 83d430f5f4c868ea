package wasm

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/wasm/asm"
)

func onlySpin(name string, startSection bool) []byte {
	var m asm.Module
	f := m.Func(nil, nil, nil, spin)
	if startSection {
		m.Start(f)
	} else {
		m.Export(name, 0, f)
	}
	return m.Bytes()
}

func spinningStart(t *testing.T) {
	for name, b := range map[string][]byte{
		"start section": onlySpin("", true), "_initialize": onlySpin("_initialize", false), "_start": onlySpin("_start", false),
	} {
		t.Run(name, func(t *testing.T) {
			budget := 5 * ms
			m := load(t, b, ModuleOptions{Start: budget})
			leastP99(t, budget, func() (took []time.Duration) {
				for range 100 {
					took = append(took, spent(func() {
						if _, err := m.Instantiate(nocontext, InstanceOptions{}); !errors.Is(err, ErrBudget) {
							t.Error(err)
						}
					}))
				}
				return took
			})
		})
	}
}

// collectorRuns: without safe points in the guest the collector, and with it the process, would stand still until the
// budget is spent. A machine with more to do than it can may let few collections run; not three times in a row.
func collectorRuns(t *testing.T) {
	for _, procs := range []int{1, runtime.GOMAXPROCS(0)} {
		for try := 1; ; try++ {
			n, longest := collectionsWhileSpinning(t, procs)
			t.Logf("GOMAXPROCS=%d: %d collections, the longest %v", procs, n, longest)
			if n >= 4 { // a guest that can't be interrupted lets one begin, and end with it
				break
			}
			if try == 3 {
				t.Errorf("GOMAXPROCS=%d: %d collections, the longest %v", procs, n, longest)
				break
			}
		}
	}
}

func collectionsWhileSpinning(t *testing.T, procs int) (n int, longest time.Duration) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
	in := start(t, load(t, hostile(), ModuleOptions{}))
	f := lookup(t, in, "spin")
	done := make(chan error, 1)
	go func() { done <- in.Call(f, 300*ms, nil) }()
	for ; len(done) == 0; n++ {
		begin := time.Now()
		runtime.GC()
		longest = max(longest, time.Since(begin))
	}
	if err := <-done; !errors.Is(err, ErrBudget) {
		t.Errorf("GOMAXPROCS=%d: %v", procs, err)
	}
	return n, longest
}

// TestPausesDoNotKill: collections and foreign work on all cores during calls that need half their budget.
func TestPausesDoNotKill(t *testing.T) {
	in := start(t, load(t, hostile(), ModuleOptions{}))
	f := lookup(t, in, "work")
	budget := 500 * time.Microsecond
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 * runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for x := 0; ; x++ {
				select {
				case <-stop:
					return
				default:
				}
				if x%50 == 0 {
					runtime.GC()
				}
				_ = make([]byte, 1<<16)
			}
		}()
	}
	for range 1000 {
		if err := in.Call(f, budget, nil); err != nil {
			t.Errorf("a healthy guest was stopped: %v", err)
			break
		}
	}
	close(stop)
	wg.Wait()
}

// TestStoppedProcessDoesNotKill stops the whole process for 100 ms in the middle of a call.
func TestStoppedProcessDoesNotKill(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs SIGSTOP")
	}
	in := start(t, load(t, stockGo(t), ModuleOptions{}))
	f := lookup(t, in, "work")
	stack := []uint64{20_000}
	if err := in.Call(f, 5*time.Second, stack); err != nil {
		t.Fatal(err)
	}
	cost := in.CPU()
	stack[0] = 20_000
	if err := in.Call(f, 5*time.Second, stack); err != nil {
		t.Fatal(err)
	}
	cost = max(cost, in.CPU()-cost)
	p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "sleep 0.02; kill -STOP $PPID; sleep 0.1; kill -CONT $PPID"},
		&os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for paused := false; !paused && time.Since(begin) < 5*time.Second; {
		call := time.Now()
		stack[0] = 20_000
		if err := in.Call(f, 3*cost+20*ms, stack); err != nil {
			t.Fatalf("stopped by a pause: %v", err)
		}
		paused = time.Since(call) > 90*ms
		if _, err := os.Stat("/proc/self"); err != nil {
			break
		}
	}
	_, _ = p.Wait()
}

func TestPauseIsNotTheGuests(t *testing.T) {
	busy := func(d time.Duration) {
		var ts syscall.Timespec
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		begin, tid := threadClock(&ts)
		for now := begin; tid != 0 && now-begin < int64(d); now, _ = threadClock(&ts) {
		}
	}
	hosts := []HostFunc{
		hostFunc("wait", func(in *Instance) { in.Pause(); busy(3 * ms); in.Resume() }),
		hostFunc("busy", func(in *Instance) { busy(50 * time.Microsecond) }),
		hostFunc("burn", func(in *Instance) { in.Burn(ms) }),
	}
	m := load(t, hostile("wait", "busy", "burn"), ModuleOptions{Host: hosts})
	for _, c := range []struct {
		fn  string
		err error
	}{{"call_wait", nil}, {"call_busy", nil}, {"loop_busy", ErrBudget}, {"loop_burn", ErrBudget}} {
		in := start(t, m)
		if err := in.Call(lookup(t, in, c.fn), 2*ms, nil); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.fn, err)
		}
	}
}

func TestCalibrationIsSteady(t *testing.T) {
	var rates []int64
	begin := time.Now()
	for range 5 {
		r, err := calibrate()
		if err != nil {
			t.Fatal(err)
		}
		rates = append(rates, r)
	}
	slices.Sort(rates)
	t.Logf("fuel a microsecond: %v; %v each", rates, time.Since(begin)/5)
	if rates[4] > 2*rates[0] {
		t.Errorf("rates differ: %v", rates)
	}
}

// An interval that no guest can have spent is forgiven once; what is as slow again is the guest's.
func TestStolenTimeIsForgivenOnce(t *testing.T) {
	const budget = int64(5 * time.Millisecond)
	f := func(want int64, took ...time.Duration) int64 {
		g := gauge{budget: budget, slow: 16, tid: 1, refills: 2}
		for _, d := range took {
			g.account(want, g.mark+int64(d), 1)
		}
		return g.spent
	}
	if got := f(8_000, 14*time.Millisecond); got > budget/2 {
		t.Errorf("one interval of 14 ms: %d", got)
	}
	if got := f(8_000, 14*time.Millisecond, 14*time.Millisecond); got < budget {
		t.Errorf("two of them: %d", got)
	}
	if got := f(100_000, time.Millisecond, time.Millisecond); got < int64(2*time.Millisecond) {
		t.Errorf("intervals that are merely slow: %d", got)
	}
}
