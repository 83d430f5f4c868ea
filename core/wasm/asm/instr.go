package asm

// Op is a plain instruction, or any bytes as they stand.
func Op(b ...byte) []byte { return b }

// U is an unsigned LEB128 immediate.
func U(v uint32) []byte { return uleb(uint64(v)) }

// Const32 is i32.const.
func Const32(v int32) []byte { return append([]byte{0x41}, sleb(int64(v))...) }

// Const64 is i64.const.
func Const64(v int64) []byte { return append([]byte{0x42}, sleb(v)...) }

// Get is local.get.
func Get(i uint32) []byte { return append([]byte{0x20}, U(i)...) }

// Set is local.set.
func Set(i uint32) []byte { return append([]byte{0x21}, U(i)...) }

// Tee is local.tee.
func Tee(i uint32) []byte { return append([]byte{0x22}, U(i)...) }

// GlobalGet is global.get.
func GlobalGet(i uint32) []byte { return append([]byte{0x23}, U(i)...) }

// GlobalSet is global.set.
func GlobalSet(i uint32) []byte { return append([]byte{0x24}, U(i)...) }

// Call is call.
func Call(f uint32) []byte { return append([]byte{0x10}, U(f)...) }

// CallIndirect is call_indirect through table 0.
func CallIndirect(t uint32) []byte { return Cat([]byte{0x11}, U(t), U(0)) }

// Block is a block with its end.
func Block(t byte, code ...[]byte) []byte { return Cat([]byte{0x02, t}, Cat(code...), []byte{0x0b}) }

// Loop is a loop with its end.
func Loop(t byte, code ...[]byte) []byte { return Cat([]byte{0x03, t}, Cat(code...), []byte{0x0b}) }

// If is an if without else, with its end.
func If(t byte, code ...[]byte) []byte { return Cat([]byte{0x04, t}, Cat(code...), []byte{0x0b}) }

// IfElse is an if with else and end.
func IfElse(t byte, then, other []byte) []byte {
	return Cat([]byte{0x04, t}, then, []byte{0x05}, other, []byte{0x0b})
}

// Br is br.
func Br(l uint32) []byte { return append([]byte{0x0c}, U(l)...) }

// BrIf is br_if.
func BrIf(l uint32) []byte { return append([]byte{0x0d}, U(l)...) }

// BrTable is br_table; the last label is the default.
func BrTable(labels ...uint32) []byte {
	b := append([]byte{0x0e}, U(uint32(len(labels)-1))...)
	for _, l := range labels {
		b = append(b, U(l)...)
	}
	return b
}

// Load is a load or store instruction with its alignment and offset.
func Load(op byte, align, off uint32) []byte { return Cat([]byte{op}, U(align), U(off)) }

// Misc is an instruction of the 0xfc space.
func Misc(sub uint32, idx ...uint32) []byte {
	b := append([]byte{0xfc}, U(sub)...)
	for _, i := range idx {
		b = append(b, U(i)...)
	}
	return b
}

// Instructions without immediates, and those whose only immediate is the memory 0.
var (
	Unreachable = Op(0x00)
	Return      = Op(0x0f)
	Drop        = Op(0x1a)
	MemorySize  = Op(0x3f, 0)
	MemoryGrow  = Op(0x40, 0)
	MemoryFill  = Misc(0x0b, 0)
	MemoryCopy  = Misc(0x0a, 0, 0)
	Eqz32       = Op(0x45)
	LtS32       = Op(0x48)
	LtU32       = Op(0x49)
	Add32       = Op(0x6a)
	Sub32       = Op(0x6b)
	Mul32       = Op(0x6c)
	And32       = Op(0x71)
	Add64       = Op(0x7c)
	Mul64       = Op(0x7e)
	Eqz64       = Op(0x50)
	Sub64       = Op(0x7d)
)
