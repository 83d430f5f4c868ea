package meter

// readElems reads the element section and keeps each segment's place: the function indices in it are rewritten by
// copyElem.
func (m *decoded) readElems(c *cursor, o *Options) {
	for n := c.count("element segments", o.Segments); n > 0 && c.err == nil; n-- {
		start := c.pos
		s := c.elem(m, o, nil, 0)
		m.elems = append(m.elems, s)
		m.elemItems = append(m.elemItems, span{start, c.pos})
	}
}

// elem reads one element segment. With dst it also appends a copy whose indices of defined functions are raised by
// shift.
func (c *cursor) elem(m *decoded, o *Options, dst *code, shift uint32) segment {
	at := c.pos
	flag := c.u32()
	if c.err == nil && flag > 7 {
		c.fail(at, "unknown flag %d of element segment", flag)
	}
	s := segment{elem: typeFunc}
	active, explicit, exprs := flag&1 == 0, flag&2 != 0, flag&4 != 0
	mark := c.pos
	if active && explicit {
		c.index("table", len(m.tables))
	}
	if active && !explicit && c.err == nil && len(m.tables) == 0 {
		c.fail(at, "element segment without a table")
	}
	if dst != nil {
		dst.u32(flag)
		dst.b = append(dst.b, c.b[mark:c.pos]...)
	}
	if active {
		c.constExpr(m, m.globals, dst, shift)
	}
	mark = c.pos
	if flag&3 != 0 {
		if exprs {
			s.elem = c.refType()
		} else if at := c.pos; c.byte() != 0 {
			c.fail(at, "unknown kind of element segment")
		}
	}
	if dst != nil {
		dst.b = append(dst.b, c.b[mark:c.pos]...)
	}
	n := c.count("elements", int(o.TableEntries))
	if dst != nil {
		dst.u32(uint32(n))
	} else if m.elements += n; m.elements > o.Elements {
		c.fail(at, "element segments have more than %d entries together", o.Elements)
	}
	for i := 0; i < n && c.err == nil; i++ {
		if exprs {
			c.constExpr(m, m.globals, dst, shift)
			continue
		}
		f := c.declare(m)
		if dst != nil {
			dst.u32(m.shifted(f, shift))
		}
	}
	if flag&3 == 1 {
		s.length = uint32(n)
	}
	return s
}

// shifted is the index of function f once shift imports have been added behind the module's own.
func (m *decoded) shifted(f, shift uint32) uint32 {
	if int(f) < len(m.importTypes) {
		return f
	}
	return f + shift
}

// constExpr reads a constant expression, which may read the first globals globals. With dst it also appends a copy
// whose indices of defined functions are raised by shift.
func (c *cursor) constExpr(m *decoded, globals int, dst *code, shift uint32) {
	start := c.pos
	for c.err == nil {
		at := c.pos
		switch op := c.byte(); op {
		case 0x0b:
			if dst != nil {
				dst.b = append(dst.b, c.b[start:c.pos]...)
			}
			return
		case opI32Const:
			c.signed(32)
		case opI64Const:
			c.signed(64)
		case 0x43:
			c.bytes(4)
		case 0x44:
			c.bytes(8)
		case opGlobalGet:
			c.index("global", globals)
		case 0xd0:
			c.refType()
		case opRefFunc:
			f := c.declare(m)
			if dst != nil {
				dst.b = append(dst.b, c.b[start:at]...)
				dst.op(opRefFunc).u32(m.shifted(f, shift))
				start = c.pos
			}
		case 0xfd:
			if sub := c.u32(); c.err == nil && sub != 0x0c {
				c.fail(at, "vector opcode 0x%02x in a constant expression", sub)
			}
			c.bytes(16)
		case 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e:
			c.refuse(at, "extended constant expressions", "opcode 0x%02x", op)
		default:
			c.fail(at, "opcode 0x%02x in a constant expression", op)
		}
	}
}
