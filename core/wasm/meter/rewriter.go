package meter

import "fmt"

// rewriter writes a decoded module anew.
type rewriter struct {
	m           *decoded
	o           *Options
	types       []funcType // beyond the module's own
	blocks      map[string]uint32
	helpers     map[helperKey]uint32
	helperTypes []uint32
	helperCode  [][]byte
	dataLen     map[uint32]uint32 // globals that hold the length of passive segments longer than a step
	elemLen     map[uint32]uint32
	lens        []uint32 // their first values
	code        [][]byte
	maxFrame    int64
	effort      int64
}

func (w *rewriter) fuel() uint32  { return uint32(w.m.globals) }
func (w *rewriter) depth() uint32 { return uint32(w.m.globals) + 1 }

// out is the index of the added import, behind the module's own.
func (w *rewriter) out() uint32 { return uint32(len(w.m.importTypes)) }

// typeIndex returns the index of a function type, added if need be.
func (w *rewriter) typeIndex(t funcType) uint32 {
	key := string(t.params) + "|" + string(t.results)
	if i, ok := w.blocks[key]; ok {
		return i
	}
	i := uint32(len(w.m.types) + len(w.types))
	w.types = append(w.types, t)
	w.blocks[key] = i
	return i
}

// bodies rewrites every function body.
func (w *rewriter) bodies() error {
	w.typeIndex(funcType{})
	w.dataLen = w.lengths(w.m.datas, stepBytes)
	w.elemLen = w.lengths(w.m.elems, stepEntries)
	for i, s := range w.m.code {
		f := uint32(i + len(w.m.importTypes))
		b, err := w.body(int(f), s, w.m.typeOf(f))
		if err != nil {
			return err
		}
		w.code = append(w.code, b)
	}
	return nil
}

func (w *rewriter) lengths(segs []segment, step uint32) map[uint32]uint32 {
	m := map[uint32]uint32{}
	for i, s := range segs {
		if s.length > step {
			m[uint32(i)] = w.depth() + 1 + uint32(len(w.lens))
			w.lens = append(w.lens, s.length)
		}
	}
	return m
}

func (w *rewriter) body(i int, s span, t funcType) ([]byte, error) {
	c := &cursor{b: w.m.b, pos: s.start, end: s.end}
	groups := c.count("groups of locals", w.o.Locals)
	all := groups
	mark, locals := c.pos, len(t.params)
	for ; groups > 0 && c.err == nil; groups-- {
		at := c.pos
		n := c.u32()
		if uint64(n) > uint64(w.o.Locals) || locals+int(n) > w.o.Locals {
			c.fail(at, "function %d has more than %d locals", i, w.o.Locals)
			break
		}
		locals += int(n)
		c.valType()
	}
	if c.err != nil {
		return nil, c.err
	}
	out := &code{b: make([]byte, 0, (s.end-s.start)*5/4+64)}
	out.u32(uint32(all + 1))
	out.b = append(out.b, w.m.b[mark:c.pos]...)
	out.u32(2).op(typeI64)
	start := c.pos
	b, err := scanBody(c, w.m, locals, t)
	if err != nil {
		return nil, err
	}
	w.maxFrame = max(w.maxFrame, b.frame)
	if err := w.spend(i, s.start, &b.effort); err != nil {
		return nil, err
	}
	f := &function{w: w, out: out, body: &b, scratch: uint32(locals), t: t}
	f.emit(start, s.end)
	return out.b, nil
}

// spend refuses function i if compiling it, or all so far, takes more than is allowed.
func (w *rewriter) spend(i, at int, e *effort) error {
	step, most := e.step(), w.o.Effort
	w.effort += step + e.walk()
	switch {
	case e.blocks > int64(w.o.Blocks):
		return &Error{Offset: at, Msg: fmt.Sprintf("function %d has %d basic blocks, at most %d allowed", i, e.blocks, w.o.Blocks)}
	case step > most:
		return &Error{Offset: at, Msg: fmt.Sprintf("function %d is too complex: an effort of %d to compile, at most %d allowed", i, step, most)}
	case w.effort > effortAll*most:
		return &Error{Offset: at, Msg: fmt.Sprintf("functions up to %d are too complex together: an effort of %d to compile, at most %d allowed", i, w.effort, effortAll*most)}
	}
	return nil
}

// checkNegative calls the host if the i64 local is below zero.
func (w *rewriter) checkNegative(out *code, local uint32) {
	out.get(local)
	w.callBelowZero(out)
}

// callBelowZero calls the host if the i64 on the operand stack is below zero. The call stands in the branch that is not taken:
// where ways join, the engine's register allocator goes on with the registers of the one that comes first, and a call leaves
// none. With the call first, every value that a loop carries would be loaded anew at each turn.
func (w *rewriter) callBelowZero(out *code) {
	out.i64(0).op(opI64GeS).op(opIf).op(0x40).op(opElse).call(w.out()).op(opEnd)
}
