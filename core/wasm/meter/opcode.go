package meter

const (
	opUnreachable = 0x00
	opBlock       = 0x02
	opLoop        = 0x03
	opIf          = 0x04
	opElse        = 0x05
	opEnd         = 0x0b
	opBr          = 0x0c
	opBrIf        = 0x0d
	opBrTable     = 0x0e
	opReturn      = 0x0f
	opCall        = 0x10
	opCallInd     = 0x11
	opDrop        = 0x1a
	opSelectT     = 0x1c
	opLocalGet    = 0x20
	opLocalSet    = 0x21
	opLocalTee    = 0x22
	opGlobalGet   = 0x23
	opGlobalSet   = 0x24
	opMemorySize  = 0x3f
	opMemoryGrow  = 0x40
	opI32Const    = 0x41
	opI64Const    = 0x42
	opI32LeU      = 0x4d
	opI32GtU      = 0x4b
	opI64LeU      = 0x58
	opI64GeS      = 0x59
	opI32Add      = 0x6a
	opI32Sub      = 0x6b
	opI64Add      = 0x7c
	opI64Sub      = 0x7d
	opI64Or       = 0x84
	opI64Shl      = 0x86
	opI64ShrU     = 0x88
	opExtendU     = 0xad
	opRefFunc     = 0xd2

	miscMemoryInit = 0xfc08
	miscDataDrop   = 0xfc09
	miscMemoryCopy = 0xfc0a
	miscMemoryFill = 0xfc0b
	miscTableInit  = 0xfc0c
	miscElemDrop   = 0xfc0d
	miscTableCopy  = 0xfc0e
	miscTableGrow  = 0xfc0f
	miscTableSize  = 0xfc10
	miscTableFill  = 0xfc11
)

// instr is one decoded instruction at b[at:end]. x and y are its indices; for control instructions pop and push are
// the arity of the label or the callee.
type instr struct {
	op        uint32 // 0xfc00|sub and 0xfd00|sub for the prefixed ones
	at, end   int
	x, y      uint32
	pop, push int32
	labels    int32 // of a branch
	passed    int64 // values that its labels take, together
}

// scope is what the indices of a function's instructions may reach.
type scope struct {
	m      *decoded
	locals int
	depth  int // open labels, the function's own included
	frames *[]frame
}

// next decodes one instruction with all its immediates.
func (c *cursor) next(s *scope, in *instr) {
	*in = instr{at: c.pos}
	op := c.byte()
	in.op = uint32(op)
	switch {
	case op == 0xfc:
		c.misc(s, in)
	case op == 0xfd:
		c.vector(s, in)
	case op >= 0x28 && op <= 0x3e:
		c.memarg(s)
		in.pop, in.push = 1, 1
		if op >= 0x36 {
			in.pop, in.push = 2, 0
		}
	case op >= 0x45 && op <= 0xc4:
		in.pop, in.push = int32(arity[op]), 1
	default:
		c.plain(s, in)
	}
	in.end = c.pos
}

func (c *cursor) plain(s *scope, in *instr) {
	m := s.m
	switch op := byte(in.op); op {
	case opUnreachable, 0x01, opElse, opEnd, opReturn:
	case opBlock, opLoop, opIf:
		in.pop, in.push = c.blockType(m)
		if op == opIf {
			in.x = 1 // one more operand, the condition
		}
	case opBr, opBrIf:
		in.x = c.label(s, in)
	case opBrTable:
		for n := c.count("labels", labelsMost); n >= 0 && c.err == nil; n-- {
			c.label(s, in)
		}
	case opCall:
		in.x = c.index("function", m.funcCount())
		if c.err == nil {
			t := m.typeOf(in.x)
			in.pop, in.push = int32(len(t.params)), int32(len(t.results))
		}
	case opCallInd:
		in.x = c.index("type", len(m.types))
		in.y = c.index("table", len(m.tables))
		if c.err == nil {
			t := m.types[in.x]
			in.pop, in.push = int32(len(t.params))+1, int32(len(t.results))
		}
	case opDrop:
		in.pop = 1
	case 0x1b:
		in.pop, in.push = 3, 1
	case opSelectT:
		for n := c.count("types", 1000); n > 0 && c.err == nil; n-- {
			c.valType()
		}
		in.pop, in.push = 3, 1
	case opLocalGet, opLocalSet, opLocalTee:
		in.x = c.index("local", s.locals)
		in.pop, in.push = b2i(op != opLocalGet), b2i(op != opLocalSet)
	case opGlobalGet, opGlobalSet:
		in.x = c.index("global", m.globals)
		in.pop, in.push = b2i(op == opGlobalSet), b2i(op == opGlobalGet)
	case 0x25, 0x26: // table.get, table.set
		in.x = c.index("table", len(m.tables))
		in.pop, in.push = 1+b2i(op == 0x26), b2i(op == 0x25)
	case opMemorySize, opMemoryGrow:
		c.zeroMemory(s)
		in.pop, in.push = b2i(op == opMemoryGrow), 1
	case opI32Const:
		c.signed(32)
		in.push = 1
	case opI64Const:
		c.signed(64)
		in.push = 1
	case 0x43:
		c.bytes(4)
		in.push = 1
	case 0x44:
		c.bytes(8)
		in.push = 1
	case 0xd0:
		c.refType()
		in.push = 1
	case 0xd1:
		in.pop, in.push = 1, 1
	case opRefFunc:
		in.x = c.index("function", m.funcCount())
		in.push = 1
		if _, ok := m.declared[in.x]; !ok {
			c.fail(in.at, "reference to function %d, which nothing but code names", in.x)
		}
	default:
		c.unknown(in.at, op)
	}
}

func (c *cursor) label(s *scope, in *instr) uint32 {
	l := c.index("label", s.depth)
	if c.err == nil {
		f := &(*s.frames)[s.depth-1-int(l)]
		in.labels++
		if f.op == opLoop {
			in.passed += int64(f.pop)
		} else {
			in.passed += int64(f.push)
		}
	}
	return l
}

func b2i(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

func (c *cursor) unknown(at int, op byte) {
	switch {
	case op >= 0x06 && op <= 0x0a || op == 0x18 || op == 0x19 || op == 0x1f:
		c.refuse(at, "exception handling", "opcode 0x%02x", op)
	case op == 0x12 || op == 0x13:
		c.refuse(at, "tail calls", "opcode 0x%02x", op)
	case op == 0x14 || op == 0x15 || op >= 0xd3 && op <= 0xd6:
		c.refuse(at, "typed function references", "opcode 0x%02x", op)
	case op == 0xfb:
		c.refuse(at, "garbage collection", "opcode 0x%02x", op)
	case op == 0xfe:
		c.refuse(at, "threads", "opcode 0x%02x", op)
	default:
		c.fail(at, "unknown opcode 0x%02x", op)
	}
}

func (c *cursor) blockType(m *decoded) (pop, push int32) {
	at := c.pos
	if c.pos < c.end && c.b[c.pos] == 0x40 {
		c.pos++
		return 0, 0
	}
	if c.pos < c.end && c.b[c.pos]&0xc0 == 0x40 {
		c.valType()
		return 0, 1
	}
	v := c.signed(33)
	if c.err != nil {
		return 0, 0
	}
	if v < 0 || v >= int64(len(m.types)) {
		c.fail(at, "type index %d of block out of range, there are %d", v, len(m.types))
		return 0, 0
	}
	t := m.types[v]
	return int32(len(t.params)), int32(len(t.results))
}

func (c *cursor) zeroMemory(s *scope) {
	at := c.pos
	if b := c.byte(); c.err == nil && b != 0 {
		c.refuse(at, "multiple memories", "memory index %d", b)
	}
	if c.err == nil && s.m.memory == nil {
		c.fail(at, "memory instruction without a memory")
	}
}

func (c *cursor) memarg(s *scope) {
	at := c.pos
	align := c.u32()
	switch {
	case c.err != nil:
	case align&0x40 != 0:
		c.refuse(at, "multiple memories", "memory index in an address")
	case align >= 32:
		c.fail(at, "alignment 2**%d", align)
	case s.m.memory == nil:
		c.fail(at, "memory instruction without a memory")
	}
	c.u32()
}

func (c *cursor) misc(s *scope, in *instr) {
	m := s.m
	sub := c.u32()
	if c.err == nil && sub > 0x11 {
		c.fail(in.at, "unknown opcode 0xfc 0x%02x", sub)
	}
	in.op = 0xfc00 | sub
	in.pop = 3
	switch in.op {
	default: // saturating truncations
		in.pop, in.push = 1, 1
	case miscMemoryInit:
		in.x = c.dataIndex(m)
		c.zeroMemory(s)
	case miscDataDrop:
		in.x = c.dataIndex(m)
		in.pop = 0
	case miscMemoryCopy:
		c.zeroMemory(s)
		c.zeroMemory(s)
	case miscMemoryFill:
		c.zeroMemory(s)
	case miscTableInit:
		in.x = c.index("element segment", len(m.elems))
		in.y = c.index("table", len(m.tables))
	case miscElemDrop:
		in.x = c.index("element segment", len(m.elems))
		in.pop = 0
	case miscTableCopy:
		in.x = c.index("table", len(m.tables))
		in.y = c.index("table", len(m.tables))
	case miscTableGrow:
		in.x = c.index("table", len(m.tables))
		in.pop, in.push = 2, 1
	case miscTableSize:
		in.x = c.index("table", len(m.tables))
		in.pop, in.push = 0, 1
	case miscTableFill:
		in.x = c.index("table", len(m.tables))
	}
}

// dataIndex reads the index of a data segment. The data section stands after the code; decode has read both by the
// time bodies are looked at.
func (c *cursor) dataIndex(m *decoded) uint32 {
	if c.err == nil && !m.hasCount {
		c.fail(c.pos, "data segment named without a data count")
	}
	return c.index("data segment", len(m.datas))
}

func (c *cursor) vector(s *scope, in *instr) {
	sub := c.u32()
	if c.err != nil {
		return
	}
	if sub > 0xff {
		c.refuse(in.at, "relaxed SIMD", "opcode 0xfd 0x%02x", sub)
		return
	}
	in.op = 0xfd00 | sub
	switch {
	case sub <= 0x0b || sub == 0x5c || sub == 0x5d: // loads and store
		c.memarg(s)
	case sub == 0x0c || sub == 0x0d: // const, shuffle
		c.bytes(16)
	case sub >= 0x15 && sub <= 0x22: // lanes
		c.byte()
	case sub >= 0x54 && sub <= 0x5b: // loads and stores of a lane
		c.memarg(s)
		c.byte()
	}
	a := vectorArity[sub]
	if a == '.' {
		c.fail(in.at, "unknown opcode 0xfd 0x%02x", sub)
		return
	}
	in.pop, in.push = int32(a-'0'), 1
	if sub == 0x0b || sub >= 0x58 && sub <= 0x5b {
		in.push = 0
	}
}

// arity is the number of operands of the numeric instructions 0x45 to 0xc4, each of which gives one result.
var arity = func() (t [256]byte) {
	for i := range t {
		t[i] = 2
	}
	for _, r := range [][2]int{{0x45, 0x45}, {0x50, 0x50}, {0x67, 0x69}, {0x79, 0x7b}, {0x8b, 0x91}, {0x99, 0x9f}, {0xa7, 0xc4}} {
		for i := r[0]; i <= r[1]; i++ {
			t[i] = 1
		}
	}
	return t
}()

// vectorArity is the number of operands of each vector instruction, a row of sixteen opcodes a line; a dot is an
// opcode not assigned.
const vectorArity = "1111111111120221" + // 00
	"1111111211211212" + // 10
	"1212222222222222" + // 20
	"2222222222222222" + // 30
	"2222222222222122" + // 40
	"2231222222221111" + // 50
	"1111122111122222" + // 60
	"2222112222121111" + // 70
	"1121122111122222" + // 80
	"22221222" + "22.22222" + // 90
	"11.11..11112222." + // a0
	".2..." + "222222" + ".2222" + // b0
	"11.11..111122" + "22." + // c0
	".2...2222222" + "2222" + // d0
	"11.122222222" + "11.1" + // e0
	"2222222211111111" // f0

// cost is the weight of an instruction in fuel. One unit is about a simple instruction in a tight loop, some 60 ps on a
// machine of today; what is dearer by nature weighs what it costs at worst with its operands in cache. Cache misses and page faults are seen by the host's
// clock instead.
func (in *instr) cost() int64 {
	switch op := in.op; {
	case op == 0x01, op == opBlock, op == opLoop, op == opEnd, op == opElse:
		return 0
	case op == opCall:
		return 40
	case op == opCallInd:
		return 60
	case op == opBrTable:
		return 10
	case op >= 0x28 && op <= 0x3e:
		return 3
	case op == 0x25, op == 0x26: // table.get, table.set
		return 6
	case op == opMemoryGrow, op == miscTableGrow:
		return 3000
	case op == opRefFunc:
		return 1000
	case op >= 0x6d && op <= 0x70, op >= 0x7f && op <= 0x82: // integer division
		return 100
	case op == 0x91, op == 0x95, op == 0x9f, op == 0xa3: // square roots, float division
		return 60
	case op >= 0xa8 && op <= 0xb1, op >= 0xfc00 && op <= 0xfc07: // conversions
		return 20
	case op >= miscMemoryInit && op <= miscTableFill:
		return 200
	case op >= 0xfd00:
		return 8
	}
	return 1
}
