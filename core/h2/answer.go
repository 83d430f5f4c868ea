package h2

import (
	"errors"
	"strconv"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/wire"
)

// answer is how the answer under way is framed.
type answer struct {
	left  int64 // bytes still owed of a body of known length; -1 if not known
	muted bool  // the answer has no body on the wire

	tunnel bool
}

var (
	errTunnel = errors.New("no tunnel")
	errShort  = fault.New(fault.Internal, "answer shorter than its Content-Length")
)

// Inform is exchange.Downstream's.
func (s *Stream) Inform(x *exchange.Exchange) error {
	if x.Sent || x.Response.Status < 100 || x.Response.Status > 199 || x.Response.Status == 101 {
		return nil
	}
	return s.head(&x.Response.Header, x.Response.Status, -1, true)
}

// proceed writes 100 Continue, once, if it is not too late.
func (s *Stream) proceed() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.continued || s.headSent || s.heard || s.writable() != nil {
		return
	}
	s.continued = true
	c.enc.begin()
	c.enc.status(100)
	c.addHeaders(&s.stream, false)
	c.newest.s = nil
	c.kick()
}

// WriteHead is exchange.Downstream's. A 101 becomes the 200 that extended CONNECT wants.
func (s *Stream) WriteHead(x *exchange.Exchange, length int64) error {
	r := &x.Response
	if s.aborted.Load() && fault.KindOf(x.Cause()) == fault.ExchangeTimeout {
		s.aborted.Store(false) // the one cause of which the client is told
	}
	if x.Sent = true; r.Status == 101 && s.connect {
		return s.accept(x)
	}
	head := x.Asked.Head
	s.answer = answer{left: length, muted: wire.Bodiless(r.Status) || head}
	switch {
	case r.Status == 204 || r.Status < 200:
		length = -1
	case r.Status == 304 || head && !r.Local:
		length = -1
		if !r.Local {
			length = r.Declared
		}
	}
	return s.head(&r.Header, r.Status, length, false)
}

// head writes a header section.
func (s *Stream) head(h *exchange.Header, status int, length int64, flush bool) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := s.take(0, s.x.WriteIdle); err != nil {
		return s.stuck(err)
	}
	c.enc.begin()
	c.enc.status(status)
	c.enc.header(h)
	if length >= 0 {
		c.enc.length(length)
	}
	c.addHeaders(&s.stream, false)
	if flush {
		c.newest.s = nil
		c.flush()
		return nil
	}
	s.headSent = true
	return nil
}

// WriteBody is exchange.Downstream's. It waits while the client grants no window, for x.WriteIdle at most: then it gives
// fault.ClientGone.
func (s *Stream) WriteBody(p []byte, flush bool) error {
	a := &s.answer
	if a.muted {
		p = nil
	} else if a.left >= 0 {
		if int64(len(p)) > a.left {
			p = p[:a.left] // never a byte beyond what the head promised
		}
		a.left -= int64(len(p))
	}
	if len(p) == 0 && !flush {
		return nil
	}
	s.x.Record.BytesOut += int64(len(p))
	return s.write(p, flush, s.x.WriteIdle)
}

// Finish is exchange.Downstream's.
func (s *Stream) Finish(trailer *exchange.Header) error {
	if s.answer.left > 0 && !s.answer.muted {
		return errShort
	}
	return s.finish(trailer, s.x.WriteIdle)
}

// Abort is exchange.Downstream's: it resets this stream (INTERNAL_ERROR) and no other.
func (s *Stream) Abort() {
	s.c.mu.Lock()
	s.handle = exchange.Handle{} // the exchange knows
	s.cut(http2.ErrCodeInternal)
	s.c.mu.Unlock()
}

// status writes the pseudo-field of an answer.
func (e *encoder) status(status int) {
	switch status {
	case 200:
		e.static(":status", "200")
	case 204:
		e.static(":status", "204")
	case 206:
		e.static(":status", "206")
	case 304:
		e.static(":status", "304")
	case 400:
		e.static(":status", "400")
	case 404:
		e.static(":status", "404")
	case 500:
		e.static(":status", "500")
	default:
		e.digits = strconv.AppendInt(e.digits[:0], int64(status), 10)
		e.field(nameStatus, e.digits, exchange.Other)
	}
}

// length writes Content-Length.
func (e *encoder) length(n int64) {
	e.digits = strconv.AppendInt(e.digits[:0], n, 10)
	e.field(nameLength, e.digits, exchange.ContentLength)
}

var (
	nameStatus = []byte(":status")
	nameLength = []byte("content-length")
)
