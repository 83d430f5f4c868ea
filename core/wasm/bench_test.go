package wasm

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm/asm"
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
