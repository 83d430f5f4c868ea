package exchange

import (
	"io"

	"github.com/weirproxy/weir/core/fault"
)

// Source gives the bytes of a body as they come from a wire, without its framing. Read has io.Reader's contract: after
// the last byte io.EOF, and only if the message was complete (RFC 9112 §8); by then its trailer fields have been filled in.
// Whole reports whether all bytes that are left can be read without waiting for the peer.
type Source interface {
	Read(p []byte) (int, error)
	Whole() bool
}

var errTooLarge = fault.New(fault.BodyTooLarge, "body larger than allowed")

// Body is pulled, by whoever needs bytes first: a filter, or the copy to the other side. What was pulled may be pushed
// back, or replaced. The zero Body is empty. One goroutine at a time.
type Body struct {
	// Length is what the message says its body has in bytes; -1 if that is known only at its end.
	Length int64
	// Limit is the most bytes that may be pulled from src, 0 is no limit; see Bound.
	Limit int64
	// Read counts bytes pulled from src; see Pulled.
	Read int64

	under *Body  // what src pulls from, if a filter stands between; nil: src is the wire
	src   Source // nil: err says how it ended
	front []byte // to be pulled before src
	own   []byte // backs front after Buffer, Unread or Replace
	err   error  // sticky; io.EOF after the last byte

	tap    []byte // gets a copy; nil: none is wanted
	tapped int    // bytes of it; more than it has room for: there is no copy
	ended  bool   // and all has come
}

// Init makes b the body that src gives, length bytes long (-1: until src ends). length 0 is no body and no src is needed.
func (b *Body) Init(length int64, src Source) {
	own := b.own
	*b = Body{Length: length, src: src, own: own[:0]}
	if length == 0 {
		b.src = nil
	}
	if b.src == nil {
		b.err = io.EOF
	}
}

// Through puts s between b and whoever pulls it from now on: under takes over all that b was, and b becomes the bytes that s
// makes of it, length of them as for Init. Nobody may be pulling meanwhile. A limit, and a copy under way (Tap), stay with
// what b was. under stays where it is, in nobody else's use, for as long as b is pulled.
func (b *Body) Through(under *Body, s Source, length int64) {
	own := under.own
	*under = *b
	*b = Body{own: own}
	b.Init(length, s)
	b.under = under
}

// Layered reports whether a filter stands between the wire and whoever pulls b.
func (b *Body) Layered() bool { return b.under != nil }

// Bound makes limit the most bytes that may come from the wire, whatever filters make of them; 0 is no limit. The error says
// that more have come already, or that the message announces more.
func (b *Body) Bound(limit int64) error {
	b = b.wire()
	b.Limit = limit
	if limit > 0 && max(b.Length, b.Read) > limit {
		return errTooLarge
	}
	return nil
}

// Pulled counts the bytes that have come from the wire, whatever filters made of them.
func (b *Body) Pulled() int64 { return b.wire().Read }

// Count adds bytes that came from the wire and did not pass b: a tunnel's.
func (b *Body) Count(n int64) { b.wire().Read += n }

// wire is the body beneath all layers.
func (b *Body) wire() *Body {
	for b.under != nil {
		b = b.under
	}
	return b
}

// Empty reports whether there is no byte left and it is already known.
func (b *Body) Empty() bool {
	return len(b.front) == 0 && (b.err == io.EOF || b.err == nil && b.src == nil)
}

// Whole reports whether pulling the rest will not wait for the peer.
func (b *Body) Whole() bool { return b.err != nil || b.src == nil || b.src.Whole() }

// Next gives the next bytes: a view of memory of b, or of buf after a read into it; valid until the next call. At the
// end it gives io.EOF and no bytes.
func (b *Body) Next(buf []byte) ([]byte, error) {
	if len(b.front) > 0 {
		p := b.front
		b.front = nil
		return p, nil
	}
	if b.err != nil {
		return nil, b.err
	}
	if b.src == nil {
		return nil, io.EOF
	}
	n, err := b.src.Read(buf)
	b.Read += int64(n)
	if b.tap != nil {
		b.copyOut(buf[:n])
		b.ended = err == io.EOF
	}
	if err != nil {
		b.err = err
	}
	if b.Limit > 0 && b.Read > b.Limit {
		b.err = errTooLarge
		return nil, errTooLarge
	}
	if n == 0 && err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// Buffer pulls until the end or until more than limit bytes are held, and pushes them back. It gives the bytes held, a
// view until the next call on b, and whether they are the whole rest of the body.
func (b *Body) Buffer(limit int, buf []byte) (p []byte, whole bool, err error) {
	held := append(b.own[:0], b.front...) // front lies in own
	b.front = nil
	for len(held) <= limit {
		var q []byte
		q, err = b.Next(buf)
		held = append(held, q...)
		if err != nil {
			break
		}
	}
	b.own, b.front = held, held
	if err == io.EOF {
		return held, true, nil
	}
	return held, false, err
}

// Unread pushes p back, so that it is pulled before all else. It copies.
func (b *Body) Unread(p []byte) {
	if len(p) == 0 {
		return
	}
	held := make([]byte, 0, len(p)+len(b.front))
	held = append(append(held, p...), b.front...)
	b.own, b.front = held, held
}

// Replace makes p, which it copies, the whole rest of the body; what the wire still has is left unread.
func (b *Body) Replace(p []byte) {
	b.own = append(b.own[:0], p...) // p may be a view of own, so that the copy is onto itself
	b.front = b.own
	b.Length = int64(len(p))
	b.src, b.err = nil, io.EOF
}

// Tap makes buf get a copy of the rest of the body, each byte once, however often it is pushed back and pulled again.
// buf stays the caller's, who keeps it until nobody pulls any more.
func (b *Body) Tap(buf []byte) {
	b.tap, b.tapped, b.ended = buf, 0, b.err == io.EOF
	b.copyOut(b.front)
}

// Tapped gives the copy, if buf had room for it and the body has come to its end.
func (b *Body) Tapped() (p []byte, whole bool) {
	if !b.ended || b.tapped > len(b.tap) {
		return nil, false
	}
	return b.tap[:b.tapped], true
}

// Overflown reports whether the copy was given up for want of room.
func (b *Body) Overflown() bool { return b.tapped > len(b.tap) }

func (b *Body) copyOut(p []byte) {
	if b.tapped <= len(b.tap) {
		copy(b.tap[b.tapped:], p)
		b.tapped += len(p)
	}
}

// Fail makes err what is pulled from now on.
func (b *Body) Fail(err error) { b.front, b.err = nil, err }

// Failed gives why b is known to end before its time; nil if it is not.
func (b *Body) Failed() error {
	if b.err == io.EOF {
		return nil
	}
	return b.err
}

// Reset makes b empty. It keeps a buffer that is not large.
func (b *Body) Reset() { b.reset() }

func (b *Body) reset() {
	own := b.own
	if cap(own) > 64<<10 {
		own = nil
	}
	*b = Body{own: own[:0], err: io.EOF}
}
