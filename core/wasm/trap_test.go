package wasm

import (
	"errors"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/wasm/asm"
)

// TestTrapNames: the stack of a trap has the names of the module's own name section, innermost first, although the
// rewriting moves every function; and a name of a megabyte does not get into the log.
func TestTrapNames(t *testing.T) {
	i32 := asm.T(asm.I32)
	long := strings.Repeat("ü", 1<<19)
	var m asm.Module
	im := m.Import("env", "boom", nil, nil)
	inner := m.Func(i32, nil, nil, asm.Get(0), asm.If(asm.None, asm.Call(im)), asm.Const32(1), asm.Const32(0), asm.Op(0x6d), asm.Drop)
	m.Memory(1, 1)
	middle := m.Func(i32, nil, nil, asm.Get(0), asm.MemoryGrow, asm.Drop, asm.Get(0), asm.Call(inner))
	outer := m.Func(i32, nil, nil, asm.Get(0), asm.Call(middle))
	m.Export("run", 0, outer)
	functions := []byte{4}
	for i, name := range []string{"imported", "divide", long, "main.(*T).run"} {
		functions = asm.Cat(functions, asm.U(uint32(i)), asm.U(uint32(len(name))), []byte(name))
	}
	m.Custom("name", asm.Cat(asm.Op(0, 4, 3, 'a', 'p', 'p', 1), asm.U(uint32(len(functions))), functions))
	boom := errors.New("boom")
	mod := load(t, m.Bytes(), ModuleOptions{Host: []HostFunc{hostFunc("boom", func(*Instance) { panic(boom) })}})
	for arg, names := range [][]string{
		{"app.divide(", "app." + long[:256] + "(", "app.main.(*T).run("},
		{"env.boom(", "app.divide(", "app." + long[:256] + "(", "app.main.(*T).run("},
	} {
		in := start(t, mod)
		err := in.Call(lookup(t, in, "run"), 10*ms, []uint64{uint64(arg)})
		var trap *Trap
		if !errors.As(err, &trap) {
			t.Fatal(err)
		}
		lines := strings.Split(trap.Stack, "\n")
		if len(lines) != len(names) || len(trap.Stack) > 1000 {
			t.Fatalf("stack of %d bytes:\n%.2000s", len(trap.Stack), trap.Stack)
		}
		for i, name := range names {
			if !strings.HasPrefix(strings.TrimSpace(lines[i]), name) {
				t.Errorf("frame %d is %q, want %q", i, lines[i], name)
			}
		}
	}
}

// TestCPUOfACall: what one call cost is the difference of two readings, without a clock for calls that are short.
func TestCPUOfACall(t *testing.T) {
	in := start(t, load(t, benchGuest(), ModuleOptions{}))
	f := lookup(t, in, "loop")
	cost := func(turns uint64) int64 {
		before, stack := in.CPU(), []uint64{turns}
		if err := in.Call(f, 100*ms, stack); err != nil {
			t.Fatal(err)
		}
		return int64(in.CPU() - before)
	}
	for range 2 * freshUses {
		cost(1)
	}
	small, large := cost(100), cost(1000)
	if in.gauge.refills > 0 {
		t.Error("a short call has looked at the clock")
	}
	if small <= 0 || large < 8*small || large > 12*small {
		t.Errorf("100 turns cost %d ns, 1,000 turns %d", small, large)
	}
	var trapped int64
	{
		in := start(t, load(t, hostile(), ModuleOptions{}))
		_ = in.Call(lookup(t, in, "spin"), 5*ms, nil)
		trapped = int64(in.CPU())
	}
	if trapped < int64(4*ms) {
		t.Errorf("a call stopped at 5 ms cost %d ns", trapped)
	}
}
