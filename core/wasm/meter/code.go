package meter

// code is a buffer of instructions and other encoded parts being written.
type code struct{ b []byte }

func (e *code) op(op byte) *code {
	e.b = append(e.b, op)
	return e
}

func (e *code) u32(v uint32) *code {
	for v >= 0x80 {
		e.b = append(e.b, byte(v)|0x80)
		v >>= 7
	}
	e.b = append(e.b, byte(v))
	return e
}

func (e *code) signed(v int64) *code {
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			e.b = append(e.b, b)
			return e
		}
		e.b = append(e.b, b|0x80)
	}
}

func (e *code) name(s string) *code {
	e.u32(uint32(len(s)))
	e.b = append(e.b, s...)
	return e
}

func (e *code) vec(b []byte) *code {
	e.u32(uint32(len(b)))
	e.b = append(e.b, b...)
	return e
}

func (e *code) get(local uint32) *code   { return e.op(opLocalGet).u32(local) }
func (e *code) set(local uint32) *code   { return e.op(opLocalSet).u32(local) }
func (e *code) tee(local uint32) *code   { return e.op(opLocalTee).u32(local) }
func (e *code) gget(global uint32) *code { return e.op(opGlobalGet).u32(global) }
func (e *code) gset(global uint32) *code { return e.op(opGlobalSet).u32(global) }
func (e *code) i32(v int32) *code        { return e.op(opI32Const).signed(int64(v)) }
func (e *code) i64(v int64) *code        { return e.op(opI64Const).signed(v) }
func (e *code) call(f uint32) *code      { return e.op(opCall).u32(f) }

// plain appends a decoded instruction's opcode with index immediates.
func (e *code) plain(op uint32, idx ...uint32) *code {
	if op > 0xff {
		e.op(byte(op >> 8)).u32(op & 0xff)
	} else {
		e.op(byte(op))
	}
	for _, i := range idx {
		e.u32(i)
	}
	return e
}

// section appends a section with the content c.
func (e *code) section(id byte, c *code) {
	e.op(id).vec(c.b)
}
