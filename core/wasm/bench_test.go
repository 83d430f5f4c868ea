package wasm

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm/asm"
	"github.com/weirproxy/weir/core/wasm/meter"
)

// benchGuest has a tight loop, a recursive fib and a fill.
func benchGuest() []byte {
	var m asm.Module
	m.Memory(16, 16)
	m.Export("noop", 0, m.Func(nil, nil, nil))
	m.Export("loop", 0, m.Func(asm.T(asm.I32), asm.T(asm.I32), asm.T(asm.I32), asm.Loop(asm.None,
		asm.Get(1), asm.Get(0), asm.Add32, asm.Set(1),
		asm.Get(0), asm.Const32(1), asm.Sub32, asm.Tee(0), asm.BrIf(0)), asm.Get(1)))
	m.Export("bytes", 0, m.Func(asm.T(asm.I32), asm.T(asm.I32), asm.T(asm.I32), asm.Loop(asm.None,
		asm.Get(0), asm.Load(0x2d, 0, 0), asm.Get(1), asm.Const32(31), asm.Mul32, asm.Add32, asm.Set(1),
		asm.Get(0), asm.Const32(1), asm.Sub32, asm.Tee(0), asm.BrIf(0)), asm.Get(1)))
	fib := m.Next()
	m.Func(asm.T(asm.I32), asm.T(asm.I32), nil, asm.Get(0), asm.Const32(2), asm.LtS32,
		asm.IfElse(asm.I32, asm.Get(0), asm.Cat(asm.Get(0), asm.Const32(1), asm.Sub32, asm.Call(fib),
			asm.Get(0), asm.Const32(2), asm.Sub32, asm.Call(fib), asm.Add32)))
	m.Export("fib", 0, fib)
	m.Export("fill", 0, m.Func(asm.T(asm.I32), asm.T(asm.I32), nil, asm.Const32(0), asm.Const32(1), asm.Get(0),
		asm.MemoryFill, asm.Get(0)))
	return m.Bytes()
}

func BenchmarkGuest(b *testing.B) {
	r := wazero.NewRuntimeWithConfig(nocontext, wazero.NewRuntimeConfigCompiler())
	defer r.Close(nocontext)
	plain, err := r.Instantiate(nocontext, benchGuest())
	if err != nil {
		b.Fatal(err)
	}
	in := start(b, load(b, benchGuest(), ModuleOptions{}))
	for _, c := range []struct {
		name string
		n    uint64
	}{{"loop", 100}, {"loop", 10_000}, {"bytes", 10_000}, {"fib", 20}, {"fill", 64}, {"fill", 4096}, {"fill", 1 << 20}} {
		stack := make([]uint64, 1)
		b.Run(fmt.Sprintf("%s=%d/plain", c.name, c.n), func(b *testing.B) {
			f := plain.ExportedFunction(c.name)
			for b.Loop() {
				stack[0] = c.n
				if err := f.CallWithStack(nocontext, stack); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("%s=%d/metered", c.name, c.n), func(b *testing.B) {
			f := lookup(b, in, c.name)
			for b.Loop() {
				stack[0] = c.n
				if err := in.Call(f, time.Second, stack); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMetering runs guests in an engine that meters and in one that does not, by turns, and gives what a call costs in
// each: the least of many short runs by the thread's clock, and the difference in percent. The guests are those of the
// http-wasm host's module, which here get 0 from whatever they ask the host; and stock Go at work.
func BenchmarkMetering(b *testing.B) {
	plain, err := OpenEngine(Options{Rate: 10_000, Unmetered: true})
	if err != nil {
		b.Fatal(err)
	}
	zero := func(im meter.Func, _ *HostFunc) (HostFunc, bool) {
		return HostFunc{Fn: func(_ context.Context, _ api.Module, s []uint64) { clear(s[:len(im.Results)]) }}, true
	}
	for _, g := range meteringGuests(b) {
		var funcs [2]*Func
		var ins [2]*Instance
		failed := error(nil)
		// First where a guest that loops for want of a host can be stopped.
		for i, e := range []*Engine{testEngine(b), plain} {
			if failed != nil {
				break
			}
			m, err := e.Load(nocontext, g.code, ModuleOptions{Missing: zero})
			if err == nil {
				defer m.Close()
				ins[i], err = m.Instantiate(nocontext, InstanceOptions{})
			}
			if err == nil {
				defer ins[i].Close()
				funcs[i], err = ins[i].Func(g.export)
			}
			for range 10 { // the first calls are not like those that follow
				if err == nil {
					err = ins[i].Call(funcs[i], time.Second, append([]uint64{}, g.args[:]...))
				}
			}
			failed = err
		}
		if failed != nil {
			b.Logf("%s: left out, it needs a host that answers: %.100v", g.name, failed)
			continue
		}
		b.Run(g.name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			least := [2]float64{math.Inf(1), math.Inf(1)}
			var ts syscall.Timespec
			stack := make([]uint64, len(g.args))
			for b.Loop() {
				for i, f := range funcs {
					begin, _ := threadClock(&ts)
					for range g.calls {
						copy(stack, g.args[:])
						if err := ins[i].Call(f, time.Second, stack); err != nil {
							b.Fatal(err)
						}
					}
					end, _ := threadClock(&ts)
					least[i] = min(least[i], float64(end-begin)/float64(g.calls))
				}
			}
			b.ReportMetric(least[0], "metered-ns/call")
			b.ReportMetric(least[1], "plain-ns/call")
			b.ReportMetric(100*(least[0]/least[1]-1), "%")
		})
	}
}

type meteringGuest struct {
	name, export string
	code         []byte
	args         [4]uint64
	calls        int
}

func meteringGuests(b *testing.B) []meteringGuest {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/http-wasm/http-wasm-host-go").Output()
	if err != nil {
		b.Fatal(err)
	}
	guests := []meteringGuest{{"stock-go", "work", stockGo(b), [4]uint64{100}, 1}}
	dir := strings.TrimSpace(string(out))
	err = filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(p) != ".wasm" {
			return err
		}
		code, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		rel = strings.TrimSuffix(filepath.ToSlash(rel), ".wasm")
		guests = append(guests, meteringGuest{rel + "/request", "handle_request", code, [4]uint64{}, 1000},
			meteringGuest{rel + "/response", "handle_response", code, [4]uint64{}, 1000})
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return guests
}

func BenchmarkCall(b *testing.B) {
	in := start(b, load(b, benchGuest(), ModuleOptions{}))
	b.Run("bare", func(b *testing.B) {
		f := in.mod.ExportedFunction("noop")
		in.gauge.fuel.Set(1 << 60)
		for b.Loop() {
			if err := f.CallWithStack(in, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("budget", func(b *testing.B) {
		f := lookup(b, in, "noop")
		for b.Loop() {
			if err := in.Call(f, time.Second, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkHostCall(b *testing.B) {
	count := 0
	m := load(b, hostile("tick"), ModuleOptions{Host: []HostFunc{{Module: "env", Name: "tick",
		Fn: api.GoModuleFunc(func(ctx context.Context, _ api.Module, _ []uint64) {
			FromContext(ctx).uses++
			count++
		})}}})
	in := start(b, m)
	f := lookup(b, in, "call_tick")
	for b.Loop() {
		if err := in.Call(f, time.Second, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRefill(b *testing.B) {
	in := start(b, load(b, benchGuest(), ModuleOptions{}))
	g := &in.gauge
	g.start(1<<40, false)
	for b.Loop() {
		g.budget, g.nominal, g.spent = 1<<40, 0, 0
		g.fuel.Set(^uint64(0))
		g.refill(false)
	}
}

func BenchmarkStock(b *testing.B) {
	s, err := OpenStock(nocontext, load(b, benchGuest(), ModuleOptions{}), StockOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close(nocontext)
	for b.Loop() {
		in, err := s.Get(nocontext, 0)
		if err != nil {
			b.Fatal(err)
		}
		s.Put(in)
	}
}

func BenchmarkInstantiateGo(b *testing.B) {
	m := load(b, stockGo(b), ModuleOptions{})
	for b.Loop() {
		in, err := m.Instantiate(nocontext, InstanceOptions{})
		if err != nil {
			b.Fatal(err)
		}
		in.Close()
	}
}

func BenchmarkLoad(b *testing.B) {
	e := testEngine(b)
	guest := stockGo(b)
	for b.Loop() {
		m, err := e.Load(nocontext, guest, ModuleOptions{})
		if err != nil {
			b.Fatal(err)
		}
		m.Close()
	}
}
