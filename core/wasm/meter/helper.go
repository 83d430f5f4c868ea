package meter

const (
	// stepBytes and stepEntries are the longest run of a bulk operation between two charges: 64 KiB.
	stepBytes   = 64 << 10
	stepEntries = stepBytes / 8
	// pageFuel is charged for each page a memory grows by. The page faults it stands for come later; the point is that
	// the host gets to look at its clock.
	pageFuel = 8192
)

// helperKey names a function that stands for an instruction with immediates x and y.
type helperKey struct{ op, x, y uint32 }

// helper returns the index of the function that does the work of instruction in, charged and in steps.
func (w *rewriter) helper(in *instr) uint32 {
	k := helperKey{in.op, in.x, in.y}
	if f, ok := w.helpers[k]; ok {
		return f
	}
	f := uint32(w.m.funcCount()) + 1 + uint32(len(w.helperCode))
	w.helpers[k] = f
	var t funcType
	h := &helper{w: w, k: k}
	switch in.op {
	case opMemoryGrow:
		t = funcType{[]byte{typeI32}, []byte{typeI32}}
		h.grow(0, 1, 1, pageFuel)
	case miscTableGrow:
		t = funcType{[]byte{w.m.tables[in.x].elem, typeI32}, []byte{typeI32}}
		h.grow(1, 2, 2, 8)
	case miscMemoryFill:
		t = funcType{[]byte{typeI32, typeI32, typeI32}, nil}
		h.fill()
	case miscTableFill:
		t = funcType{[]byte{typeI32, w.m.tables[in.x].elem, typeI32}, nil}
		h.fill()
	case miscMemoryCopy, miscTableCopy:
		t = funcType{[]byte{typeI32, typeI32, typeI32}, nil}
		h.copy()
	default:
		t = funcType{[]byte{typeI32, typeI32, typeI32}, nil}
		h.init()
	}
	h.c.op(opEnd)
	w.helperTypes = append(w.helperTypes, w.typeIndex(t))
	w.helperCode = append(w.helperCode, append(h.locals, h.c.b...))
	return f
}

// helper is one such function being written. Its parameters are locals 0 to 2, amount an i64 local.
type helper struct {
	w      *rewriter
	k      helperKey
	locals []byte
	amount uint32
	c      code
}

func (h *helper) declare(amount uint32, locals ...byte) {
	h.amount, h.locals = amount, append(h.locals, locals...)
}

// native appends the instruction itself.
func (h *helper) native() { h.c.bulk(h.k) }

func (e *code) bulk(k helperKey) {
	switch k.op {
	case opMemoryGrow, miscMemoryFill:
		e.plain(k.op, 0)
	case miscMemoryCopy:
		e.plain(k.op, 0, 0)
	case miscMemoryInit:
		e.plain(k.op, k.x, 0)
	case miscTableFill, miscTableGrow:
		e.plain(k.op, k.x)
	default:
		e.plain(k.op, k.x, k.y)
	}
}

// charge lowers the fuel by the i64 on the operand stack.
func (h *helper) charge() {
	h.c.set(h.amount).gget(h.w.fuel()).get(h.amount).op(opI64Sub).tee(h.amount).gset(h.w.fuel())
	h.w.checkNegative(&h.c, h.amount)
}

// grow runs the instruction on param n and charges unit for each page or entry won. Nothing is charged ahead: a growth
// that is refused costs little whatever it asked for.
func (h *helper) grow(n, amount, operands uint32, unit int64) {
	h.declare(amount, 2, 1, typeI64, 1, typeI32)
	r := amount + 1
	for i := uint32(0); i < operands; i++ {
		h.c.get(i)
	}
	h.native()
	h.c.tee(r).i32(-1).op(0x47).op(opIf).op(0x40) // i32.ne
	h.c.get(n).op(opExtendU).i64(unit).op(0x7e)   // i64.mul
	h.charge()
	h.c.op(opEnd).get(r)
}

func (h *helper) step() int32 {
	switch h.k.op {
	case miscMemoryFill, miscMemoryCopy, miscMemoryInit:
		return stepBytes
	}
	return stepEntries
}

// size appends the size of what operand param 0 points into, or for a source what param 1 points into, as an i64.
func (h *helper) size(source bool) {
	switch h.k.op {
	case miscMemoryFill, miscMemoryCopy, miscMemoryInit:
		if source && h.k.op == miscMemoryInit {
			h.c.gget(h.w.dataLen[h.k.x]).op(opExtendU)
			return
		}
		h.c.op(opMemorySize).op(0).op(opExtendU).i64(16).op(opI64Shl)
	case miscTableInit:
		if source {
			h.c.gget(h.w.elemLen[h.k.x]).op(opExtendU)
			return
		}
		h.c.plain(miscTableSize, h.k.y).op(opExtendU)
	case miscTableCopy:
		t := h.k.x
		if source {
			t = h.k.y
		}
		h.c.plain(miscTableSize, t).op(opExtendU)
	default:
		h.c.plain(miscTableSize, h.k.x).op(opExtendU)
	}
}

// inRange opens an if for: more than a step is left, and all of it lies in range. What is out of range goes to the
// native instruction whole, which traps before it writes anything.
func (h *helper) inRange(source bool) {
	h.c.get(2).i32(h.step()).op(opI32GtU).op(opIf).op(0x40)
	h.c.get(0).op(opExtendU).get(2).op(opExtendU).op(opI64Add)
	h.size(false)
	h.c.op(opI64LeU).op(opIf).op(0x40)
	if source {
		h.c.get(1).op(opExtendU).get(2).op(opExtendU).op(opI64Add)
		h.size(true)
		h.c.op(opI64LeU).op(opIf).op(0x40)
	}
}

// rest appends the native instruction on what is left, and its charge.
func (h *helper) rest(shift int64) {
	h.c.get(0).get(1).get(2)
	h.native()
	h.c.get(2).op(opExtendU).i64(shift).op(opI64ShrU)
	h.charge()
}

// shift divides bytes or entries into fuel.
func (h *helper) shift() int64 {
	if h.step() == stepBytes {
		return 1
	}
	return 0
}

// advance adds by steps to param p.
func (h *helper) advance(p uint32, by int32) { h.c.get(p).i32(by).op(opI32Add).set(p) }

func (h *helper) again() {
	h.c.i64(int64(h.step()) >> h.shift())
	h.charge()
	h.c.get(2).i32(h.step()).op(opI32GtU).op(opBrIf).u32(0).op(opEnd)
}

func (h *helper) fill() {
	h.declare(3, 1, 1, typeI64)
	h.inRange(false)
	h.c.op(opLoop).op(0x40).get(0).get(1).i32(h.step())
	h.native()
	h.advance(0, h.step())
	h.advance(2, -h.step())
	h.again()
	h.c.op(opEnd).op(opEnd)
	h.rest(h.shift())
}

func (h *helper) forward() {
	h.c.op(opLoop).op(0x40).get(0).get(1).i32(h.step())
	h.native()
	h.advance(0, h.step())
	h.advance(1, h.step())
	h.advance(2, -h.step())
	h.again()
}

// copy goes forward when the destination stands before the source and backward else, so that no step overwrites what
// a later one reads.
func (h *helper) copy() {
	h.declare(3, 1, 1, typeI64)
	h.inRange(true)
	h.c.get(0).get(1).op(opI32LeU).op(opIf).op(0x40)
	h.forward()
	h.c.op(opElse)
	h.c.op(opLoop).op(0x40)
	h.advance(2, -h.step())
	h.c.get(0).get(2).op(opI32Add).get(1).get(2).op(opI32Add).i32(h.step())
	h.native()
	h.again()
	h.c.op(opEnd).op(opEnd).op(opEnd).op(opEnd)
	h.rest(h.shift())
}

// init splits only what can be longer than a step: an operation longer than its segment traps natively.
func (h *helper) init() {
	h.declare(3, 1, 1, typeI64)
	lens := h.w.dataLen
	if h.k.op == miscTableInit {
		lens = h.w.elemLen
	}
	if _, ok := lens[h.k.x]; ok {
		h.inRange(true)
		h.forward()
		h.c.op(opEnd).op(opEnd).op(opEnd)
	}
	h.rest(h.shift())
}
