package proxy

// frames follows the borders of WebSocket frames in a stream of bytes (RFC 6455 §5.2). It reads the first bytes of each and
// counts over the rest. The zero value stands before the first frame.
type frames struct {
	head   [10]byte // of the frame under way, without its mask
	have   int      // bytes of it that have come
	mask   int      // bytes of the mask that are to come
	left   uint64   // bytes of the payload that are to come
	opaque bool     // what has come is not WebSocket: there is no border any more
	closed bool     // a close frame has gone by as a whole
}

// border reports whether the bytes until now end with a whole frame.
func (f *frames) border() bool { return f.have == 0 && !f.opaque }

// skip goes over p.
func (f *frames) skip(p []byte) {
	for len(p) > 0 {
		p = p[f.toBorder(p):]
	}
}

// toBorder goes over p to the end of the frame under way, or of p, and gives how far that was.
func (f *frames) toBorder(p []byte) (n int) {
	for n < len(p) {
		switch {
		case f.opaque:
			return len(p)
		case f.have < f.size():
			f.head[f.have] = p[n]
			f.have++
			n++
			if f.have == f.size() {
				f.begin()
			}
		case f.mask > 0:
			m := min(f.mask, len(p)-n)
			f.mask -= m
			n += m
		default:
			m := int(min(f.left, uint64(len(p)-n)))
			f.left -= uint64(m)
			n += m
		}
		if f.have > 0 && f.have == f.size() && f.mask == 0 && f.left == 0 {
			f.closed = f.closed || f.head[0]&0xf == 8
			f.have = 0
			return n
		}
	}
	return n
}

// size is how long the head under way is, as far as that is known.
func (f *frames) size() int {
	if f.have >= 2 {
		switch f.head[1] & 0x7f {
		case 126:
			return 4
		case 127:
			return 10
		}
	}
	return 2
}

// begin reads a head that is there as a whole.
func (f *frames) begin() {
	f.left = uint64(f.head[1] & 0x7f)
	if f.size() > 2 {
		f.left = 0
		for _, b := range f.head[2:f.size()] {
			f.left = f.left<<8 | uint64(b)
		}
	}
	f.opaque = f.left>>63 != 0
	if f.head[1]&0x80 != 0 {
		f.mask = 4
	}
}
