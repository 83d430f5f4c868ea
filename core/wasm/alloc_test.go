//go:build !race

package wasm

import (
	"testing"

	"github.com/weirproxy/weir/core/coretest/alloc"
)

func TestCallsAllocateNothing(t *testing.T) {
	var nestedFn *Func
	hosts := []HostFunc{
		hostFunc("tick", func(in *Instance) { in.Burn(1) }),
		hostFunc("nest", func(in *Instance) {
			if err := in.Call(nestedFn, 0, nil); err != nil {
				panic(err)
			}
		}),
		hostFunc("wait", func(in *Instance) { in.Pause(); in.Resume() }),
	}
	in := start(t, load(t, hostile("tick", "nest", "wait"), ModuleOptions{Host: hosts}))
	nestedFn = lookup(t, in, "noop")
	for _, name := range []string{"noop", "work", "call_tick", "call_nest", "call_wait"} {
		f := lookup(t, in, name)
		allocFloor(t, name, func() {
			if err := in.Call(f, 50*ms, nil); err != nil {
				t.Fatal(err)
			}
		})
	}
	s := openStock(t, in.m, StockOptions{})
	defer s.Close(nocontext)
	allocFloor(t, "Get and Put", func() {
		in, err := s.Get(nocontext, ms)
		if err != nil {
			t.Fatal(err)
		}
		s.Put(in)
	})
}

func allocFloor(t *testing.T, name string, fn func()) {
	t.Helper()
	t.Run(name, func(t *testing.T) { alloc.Floor(t, fn) })
}
