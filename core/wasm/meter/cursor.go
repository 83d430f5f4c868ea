package meter

import (
	"fmt"
	"unicode/utf8"
)

// cursor reads b[pos:end]. The first error sticks: later reads give zero values and pos stays, so callers check once a
// loop turn. Positions are offsets in the whole module.
type cursor struct {
	b   []byte
	pos int
	end int
	err *Error
}

func (c *cursor) fail(at int, format string, args ...any) {
	if c.err == nil {
		c.err = &Error{Offset: at, Msg: fmt.Sprintf(format, args...)}
	}
}

func (c *cursor) refuse(at int, feature, format string, args ...any) {
	if c.err == nil {
		c.err = &Error{Offset: at, Feature: feature, Msg: fmt.Sprintf(format, args...)}
	}
}

func (c *cursor) more() bool { return c.err == nil && c.pos < c.end }

func (c *cursor) byte() byte {
	if c.err != nil {
		return 0
	}
	if c.pos >= c.end {
		c.fail(c.pos, "unexpected end")
		return 0
	}
	v := c.b[c.pos]
	c.pos++
	return v
}

func (c *cursor) bytes(n uint32) []byte {
	if c.err != nil {
		return nil
	}
	if uint64(n) > uint64(c.end-c.pos) {
		c.fail(c.pos, "unexpected end: %d bytes wanted, %d left", n, c.end-c.pos)
		return nil
	}
	v := c.b[c.pos : c.pos+int(n)]
	c.pos += int(n)
	return v
}

func (c *cursor) u32() uint32 {
	at := c.pos
	var v uint32
	for shift := 0; ; shift += 7 {
		b := c.byte()
		if c.err != nil {
			return 0
		}
		if shift == 28 && b > 0x0f {
			c.fail(at, "integer too large")
			return 0
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
}

// signed reads a signed integer of at most bits bits.
func (c *cursor) signed(bits int) int64 {
	at := c.pos
	var v int64
	for shift := 0; ; shift += 7 {
		b := c.byte()
		if c.err != nil {
			return 0
		}
		if left := bits - shift; left < 7 {
			// The unused bits of the last byte repeat the sign.
			top := int8(b<<1) >> left
			if b >= 0x80 || (top != 0 && top != -1) {
				c.fail(at, "integer too large")
				return 0
			}
		}
		v |= int64(b&0x7f) << shift
		if b < 0x80 {
			if n := shift + 7; n < 64 {
				v = v << (64 - n) >> (64 - n)
			}
			return v
		}
	}
}

// count reads the length of a vector whose items take at least one byte each.
func (c *cursor) count(what string, limit int) int {
	at := c.pos
	n := c.u32()
	if c.err != nil {
		return 0
	}
	if uint64(n) > uint64(limit) {
		c.fail(at, "%d %s, at most %d allowed", n, what, limit)
		return 0
	}
	if uint64(n) > uint64(c.end-c.pos) {
		c.fail(at, "%d %s in %d bytes", n, what, c.end-c.pos)
		return 0
	}
	return int(n)
}

func (c *cursor) index(what string, limit int) uint32 {
	at := c.pos
	v := c.u32()
	if c.err == nil && uint64(v) >= uint64(limit) {
		c.fail(at, "%s index %d out of range, there are %d", what, v, limit)
		return 0
	}
	return v
}

func (c *cursor) name() string {
	at := c.pos
	b := c.bytes(c.u32())
	if c.err == nil && !utf8.Valid(b) {
		c.fail(at, "name is not UTF-8")
	}
	return string(b)
}

// shortName reads a name of at most nameMost bytes.
func (c *cursor) shortName() string {
	at := c.pos
	n := c.u32()
	if c.err == nil && n > nameMost {
		c.fail(at, "name of %d bytes, at most %d allowed", n, nameMost)
	}
	c.pos = at
	return c.name()
}

const (
	typeI32  = 0x7f
	typeI64  = 0x7e
	typeV128 = 0x7b
	typeFunc = 0x70
	typeExt  = 0x6f
)

func (c *cursor) valType() byte {
	at := c.pos
	b := c.byte()
	if c.err == nil {
		c.checkValType(at, b)
	}
	return b
}

func (c *cursor) checkValType(at int, b byte) {
	switch {
	case b >= typeV128 && b <= typeI32, b == typeFunc, b == typeExt:
	case b == 0x63 || b == 0x64:
		c.refuse(at, "typed function references", "value type 0x%02x", b)
	case b == 0x69 || b == 0x74:
		c.refuse(at, "exception handling", "value type 0x%02x", b)
	case b >= 0x6a && b <= 0x6e || b >= 0x71 && b <= 0x73 || b == 0x77 || b == 0x78:
		c.refuse(at, "garbage collection", "value type 0x%02x", b)
	default:
		c.fail(at, "unknown value type 0x%02x", b)
	}
}

func (c *cursor) refType() byte {
	at := c.pos
	b := c.valType()
	if c.err == nil && b != typeFunc && b != typeExt {
		c.fail(at, "value type 0x%02x where a reference type must stand", b)
	}
	return b
}
