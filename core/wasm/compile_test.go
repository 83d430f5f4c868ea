package wasm

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/wasm/asm"
	"github.com/weirproxy/weir/core/wasm/meter"
)

// bomb is a module of n parts that is made to take long to compile.
type bomb func(m *asm.Module, n int)

// loaded puts n values on the operand stack, and sums them up.
func loaded(n int, between ...[]byte) []byte {
	return asm.Cat(times(n, asm.Get(0), asm.Load(0x28, 2, 0)), asm.Cat(between...), times(n-1, asm.Add32))
}

// chained repeats code that turns the value on the operand stack into another.
func chained(code ...[]byte) bomb {
	return func(m *asm.Module, n int) {
		m.Func(asm.T(asm.I32), asm.T(asm.I32), nil, asm.Get(0), times(n, code...))
	}
}

// repeated repeats code that leaves nothing.
func repeated(code ...[]byte) bomb {
	return func(m *asm.Module, n int) { m.Func(asm.T(asm.I32), nil, nil, times(n, code...)) }
}

// wide repeats a block of type (1000 × i32) → (1000 × i32).
func wide(op byte) bomb {
	many := bytes.Repeat(asm.T(asm.I32), 1000)
	return func(m *asm.Module, n int) {
		code := asm.Cat(asm.Op(op), asm.U(m.Type(many, many)), asm.Op(0x0b))
		m.Func(asm.T(asm.I32), nil, nil, times(1000, asm.Get(0)), times(n, code), times(1000, asm.Drop))
	}
}

// branching branches out of a block that gives a thousand values.
func branching(code func(n int) []byte) bomb {
	many := bytes.Repeat(asm.T(asm.I32), 1000)
	return func(m *asm.Module, n int) {
		m.Func(asm.T(asm.I32), nil, nil, asm.Op(0x02), asm.U(m.Type(nil, many)), times(1000, asm.Get(0)), code(n),
			asm.Op(0x0b), times(1000, asm.Drop))
	}
}

var bombs = map[string]bomb{
	"operands over blocks": func(m *asm.Module, n int) {
		m.Func(asm.T(asm.I32), asm.T(asm.I32), nil, loaded(n, times(n, asm.Get(0), asm.If(asm.None, asm.Get(0), asm.Get(0), asm.Load(0x36, 2, 0)))))
	},
	"operands over branches": func(m *asm.Module, n int) {
		m.Func(asm.T(asm.I32), asm.T(asm.I32), nil, asm.Block(asm.None, loaded(n, times(n, asm.Get(0), asm.BrIf(0))), asm.Return), asm.Const32(1))
	},
	"operands over calls": func(m *asm.Module, n int) {
		f := m.Func(nil, nil, nil)
		m.Func(asm.T(asm.I32), asm.T(asm.I32), nil, loaded(n, times(n, asm.Call(f))))
	},
	"locals over joins": func(m *asm.Module, n int) {
		m.Func(asm.T(asm.I32), nil, bytes.Repeat(asm.T(asm.I32), min(n, 9000)),
			times(n, asm.Get(0), asm.Load(0x28, 2, 0), asm.Set(1), asm.Block(asm.None, asm.Get(0), asm.BrIf(0))))
	},
	"loops in loops": func(m *asm.Module, n int) {
		m.Func(asm.T(asm.I32), nil, nil, times(n, asm.Op(0x03, 0x40)), times(n, asm.Get(0), asm.BrIf(0), asm.Op(0x0b)))
	},
	"loops to the outermost": func(m *asm.Module, n int) {
		m.Func(asm.T(asm.I32), nil, nil, times(n, asm.Op(0x03, 0x40)), times(n, asm.Get(0), asm.BrIf(uint32(n-1))), times(n, asm.Op(0x0b)))
	},
	"ifs in ifs": func(m *asm.Module, n int) {
		m.Func(asm.T(asm.I32), nil, nil, times(n, asm.Get(0), asm.Op(0x04, 0x40)), times(n, asm.Op(0x0b)))
	},
	"branches in a row": func(m *asm.Module, n int) {
		m.Func(asm.T(asm.I32), nil, nil, asm.Block(asm.None, times(n, asm.Get(0), asm.BrIf(0))))
	},
	"a long table": func(m *asm.Module, n int) {
		m.Func(asm.T(asm.I32), nil, nil, asm.Block(asm.None, asm.Get(0), asm.BrTable(make([]uint32, n)...)))
	},
	"a long table at the end of branches": func(m *asm.Module, n int) {
		m.Func(asm.T(asm.I32), nil, nil, asm.Block(asm.None, times(n, asm.Get(0), asm.BrIf(0)), asm.Get(0), asm.BrTable(make([]uint32, n)...)))
	},
	"many values to a table":  branching(func(n int) []byte { return asm.Cat(asm.Get(0), asm.BrTable(make([]uint32, n)...)) }),
	"many values to branches": branching(func(n int) []byte { return times(n, asm.Get(0), asm.BrIf(0)) }),
	"many values to calls": func(m *asm.Module, n int) {
		many := bytes.Repeat(asm.T(asm.I32), 1000)
		f := m.Func(many, many, nil, asm.Unreachable)
		m.Func(asm.T(asm.I32), nil, nil, times(1000, asm.Get(0)), times(n, asm.Call(f)), times(1000, asm.Drop))
	},
	"many values to blocks": wide(0x02),
	"many values to loops":  wide(0x03),
	"indirect calls":        repeated(asm.Get(0), asm.CallIndirect(0), asm.Drop, asm.Get(0), asm.Drop),
	"loads":                 chained(asm.Load(0x28, 2, 0)),
	"divisions":             chained(asm.Get(0), asm.Op(0x6d)),
	"conversions":           chained(asm.Op(0xb2, 0xa8)),
	"floating point minima": chained(asm.Op(0xb7), asm.Get(0), asm.Op(0xb7, 0xa4, 0xfc, 2)),
	"fills":                 repeated(asm.Get(0), asm.Get(0), asm.Get(0), asm.MemoryFill),
	"growths":               repeated(asm.Get(0), asm.MemoryGrow, asm.Drop),
	"constants": func(m *asm.Module, n int) {
		m.Func(nil, asm.T(asm.I32), nil, times(n, asm.Const32(1)), times(n-1, asm.Add32))
	},
	"functions": func(m *asm.Module, n int) {
		for range n {
			m.Func(nil, nil, nil)
		}
	},
	"functions with locals": func(m *asm.Module, n int) {
		body := asm.Cat(asm.U(1), asm.U(9000), asm.Op(0x7f), asm.Loop(asm.None, asm.Get(0), asm.BrIf(0)), asm.Op(0x0b))
		for range n {
			m.Raw(nil, nil, body)
		}
	},
	"types": func(m *asm.Module, n int) {
		for i := range n {
			m.Type(append(bytes.Repeat(asm.T(asm.I64), 1000-i%1000), bytes.Repeat(asm.T(asm.F64), i%1000)...), nil)
		}
	},
}

func (b bomb) module(n int) []byte {
	return module(func(m *asm.Module) {
		m.Type(asm.T(), asm.T(asm.I32)) // the type of indirect calls
		b(m, n)
	})
}

// largest is the most parts of a bomb that the caps let pass, up to a hundred thousand.
func (b bomb) largest(o meter.Options) int {
	ok := func(n int) bool {
		_, _, err := meter.Rewrite(b.module(n), o)
		return err == nil
	}
	low, high := 1, 100_000
	for low < high {
		if n := (low + high + 1) / 2; ok(n) {
			low = n
		} else {
			high = n - 1
		}
	}
	return low
}

func processCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestCompileBombs compiles the largest modules of each hostile shape that caps of an eighth of the default let pass.
// The engine can't be interrupted while it compiles, so the caps are the defence: with caps on bytes alone some of these
// take minutes and gigabytes. The bound here is many times what a quiet machine shows, and far below that.
func TestCompileBombs(t *testing.T) {
	o := meter.Options{Effort: 1 << 18, Blocks: 1 << 11, Values: 1 << 14, Functions: 1 << 13, Body: 1 << 17}
	const bound = 3 * time.Second
	for name, b := range bombs {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			n := b.largest(o)
			code := b.module(n)
			before := processCPU()
			m, err := testEngine(t).Load(nocontext, code, ModuleOptions{Limits: o})
			if err != nil {
				t.Fatal(err)
			}
			took := processCPU() - before
			m.Close()
			if t.Logf("%d parts, %d bytes: %v", n, len(code), took); took > bound && !raceEnabled {
				t.Errorf("%v of CPU to compile %d bytes", took, len(code))
			}
		})
	}
}
