package meter_test

import (
	"math/rand/v2"
	"testing"

	"github.com/weirproxy/weir/core/wasm/asm"
)

// author writes random valid functions over four i32 locals: nested control flow of every kind, multi-value blocks and
// calls, memory and bulk operations. Loops end by a countdown that all of them share.
type author struct {
	r      *rand.Rand
	m      *asm.Module
	labels []int // arity of each open label
	funcs  uint32
	typ    uint32 // of a block that takes an i32 and gives two
}

func (a *author) expr(depth int) []byte {
	switch n := a.r.IntN(9); {
	case n < 2 || depth > 4:
		return asm.Const32(int32(a.r.Uint32()) >> a.r.IntN(32))
	case n < 5:
		return asm.Get(uint32(a.r.IntN(4)))
	case n == 5:
		ops := []byte{0x6a, 0x6b, 0x6c, 0x71, 0x72, 0x73, 0x74, 0x76, 0x48, 0x6e}
		op := ops[a.r.IntN(len(ops))]
		if op == 0x6e {
			return asm.Cat(a.expr(depth+1), a.expr(depth+1), asm.Const32(1), asm.Op(0x72, op))
		}
		return asm.Cat(a.expr(depth+1), a.expr(depth+1), asm.Op(op))
	case n == 6:
		return asm.Cat(a.expr(depth+1), asm.Const32(0xfff0), asm.And32, asm.Load(0x28, 2, 4))
	case n == 7 && a.funcs > 0:
		return asm.Cat(a.expr(depth+1), a.expr(depth+1), asm.Call(1+uint32(a.r.IntN(int(a.funcs)))))
	default:
		c := a.expr(depth + 1)
		a.labels = append(a.labels, 1)
		defer func() { a.labels = a.labels[:len(a.labels)-1] }()
		if a.r.IntN(2) == 0 {
			return asm.Block(asm.I32, a.body(depth+1), a.expr(depth+1), asm.Get(1), asm.BrIf(0))
		}
		return asm.Cat(c, asm.IfElse(asm.I32, asm.Cat(a.body(depth+1), a.expr(depth+1)), a.expr(depth+1)))
	}
}

// jump is a branch out, of whatever kind fits the label.
func (a *author) jump(depth int) []byte {
	kind := a.r.IntN(4)
	l := a.r.IntN(len(a.labels))
	arity := a.labels[len(a.labels)-1-l]
	if kind == 1 || kind == 3 {
		a.labels = append(a.labels, 0) // of the if around the branch
		defer func() { a.labels = a.labels[:len(a.labels)-1] }()
	}
	var v []byte
	if arity == 1 {
		v = a.expr(depth + 1)
	}
	switch kind {
	case 0:
		if arity == 1 {
			return asm.Cat(v, a.expr(depth+1), asm.BrIf(uint32(l)), asm.Drop)
		}
		return asm.Cat(a.expr(depth+1), asm.BrIf(uint32(l)))
	case 1:
		return asm.Cat(asm.Get(2), asm.If(asm.None, v, asm.Br(uint32(l)+1)))
	case 2:
		return asm.Cat(asm.Get(2), asm.If(asm.None, asm.Get(1), asm.Return))
	default:
		return asm.Cat(asm.Get(0), asm.If(asm.None, v, a.expr(depth+1), asm.BrTable(uint32(l)+1, uint32(l)+1)))
	}
}

func (a *author) body(depth int) []byte {
	var b []byte
	for n := a.r.IntN(4); n >= 0; n-- {
		b = append(b, a.stmt(depth)...)
	}
	return b
}

func (a *author) stmt(depth int) []byte {
	if depth > 5 {
		return asm.Cat(a.expr(depth), asm.Set(uint32(a.r.IntN(4))))
	}
	open := func(arity int, fn func() []byte) []byte {
		a.labels = append(a.labels, arity)
		defer func() { a.labels = a.labels[:len(a.labels)-1] }()
		return fn()
	}
	switch a.r.IntN(14) {
	case 0, 1:
		return open(0, func() []byte { return asm.Block(asm.None, a.body(depth+1)) })
	case 2, 3:
		return open(0, func() []byte {
			return asm.Loop(asm.None, asm.GlobalGet(1), asm.Const32(1), asm.Sub32, asm.GlobalSet(1),
				asm.GlobalGet(1), asm.Const32(0), asm.LtS32, asm.If(asm.None, asm.Get(1), asm.Return),
				a.body(depth+1), asm.Get(3), asm.Const32(1), asm.Sub32, asm.Tee(3), asm.BrIf(0))
		})
	case 4, 5:
		c := a.expr(depth)
		return open(0, func() []byte { return asm.Cat(c, asm.If(asm.None, a.body(depth+1))) })
	case 6:
		c := a.expr(depth)
		return open(0, func() []byte { return asm.Cat(c, asm.IfElse(asm.None, a.body(depth+1), a.body(depth+1))) })
	case 7:
		return a.jump(depth)
	case 8:
		return asm.Cat(a.expr(depth), asm.Const32(0xfff0), asm.And32, a.expr(depth), asm.Load(0x36, 2, 0))
	case 9:
		mask := asm.Cat(asm.Const32(0x7fff), asm.And32)
		op := asm.MemoryFill
		if a.r.IntN(2) == 0 {
			op = asm.MemoryCopy
		}
		return asm.Cat(a.expr(depth), mask, a.expr(depth), mask, a.expr(depth), mask, op)
	case 10:
		return asm.Cat(a.expr(depth), asm.Op(0x02), asm.U(a.typ), asm.Get(1), asm.Op(0x0b), asm.Add32, asm.Set(2))
	case 11:
		return asm.Cat(asm.GlobalGet(0), a.expr(depth), asm.Add32, asm.GlobalSet(0))
	default:
		return asm.Cat(a.expr(depth), asm.Set(uint32(a.r.IntN(4))))
	}
}

func randomModule(seed uint64) []byte {
	a := &author{r: rand.New(rand.NewPCG(seed, 7)), m: &asm.Module{}}
	a.m.Import("env", "note", asm.T(asm.I32), nil)
	a.m.Memory(1, 4)
	a.m.Global(asm.I32, true, asm.Const32(5))
	a.m.Global(asm.I32, true, asm.Const32(500)) // loop turns left
	a.typ = a.m.Type(asm.T(asm.I32), asm.T(asm.I32, asm.I32))
	for range 3 {
		a.labels = []int{1}
		f := a.m.Func(asm.T(asm.I32, asm.I32), asm.T(asm.I32), asm.T(asm.I32, asm.I32),
			asm.Const32(20), asm.Set(3), a.body(0), asm.Get(2), asm.Call(0), a.expr(0))
		a.m.Export(string(rune('a'+f)), 0, f)
		a.funcs++
	}
	return a.m.Bytes()
}

func TestRandomModulesBehaveAlike(t *testing.T) {
	n := uint64(200)
	if testing.Short() {
		n = 50
	}
	cut := 0
	for seed := range n {
		if compare(t, "seed", randomModule(seed), 3_000_000) >= 3_000_000 {
			cut++
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d of %d ran out of fuel", cut, n)
}
