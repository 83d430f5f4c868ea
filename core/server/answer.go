package server

import (
	"errors"
	"io"
	"net"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wire"
)

// answer is how the answer under way is framed.
type answer struct {
	close   bool
	chunked bool
	left    int64 // bytes still owed of a body of known length; -1 if not known
	muted   bool  // the answer has no body on the wire
	tunnel  bool
	broken  bool
}

var (
	errTunnel = errors.New("no tunnel")
	errShort  = fault.New(fault.Internal, "answer shorter than its Content-Length")
)

// Inform is exchange.Downstream's.
func (c *conn) Inform(x *exchange.Exchange) error { return nil }

// WriteHead is exchange.Downstream's.
func (c *conn) WriteHead(x *exchange.Exchange, length int64) error {
	if x.Request.Expect {
		c.mu.Lock()
		c.headSent = true
		c.mu.Unlock()
	}
	a := &c.answer
	if c.nc.Aborted() && fault.KindOf(x.Cause()) == fault.ExchangeTimeout {
		c.revive() // the one cause of which the client is told
		a.close = true
	}
	status := x.Response.Status
	a.muted = wire.Bodiless(status) || string(x.Request.Method) == "HEAD"
	a.tunnel = status == 101
	a.left = length
	a.chunked = length < 0 && !a.muted && x.Request.Version >= exchange.HTTP11
	a.close = !a.tunnel && (a.close || x.Request.Close || x.Response.Close || c.leaving() || !c.bodyAtHand() ||
		length < 0 && !a.muted && !a.chunked)
	if c.out == nil {
		c.out = pool.Acquire(pool.Medium)
	}
	c.out = wire.AppendResponse(c.out[:0], x, length, a.close)
	x.Sent = true
	if a.tunnel {
		return c.flush()
	}
	return nil
}

// bodyAtHand reports whether the request's body has been read or will be without asking the client: else the connection
// can't be used again, and the client is told so.
func (c *conn) bodyAtHand() bool {
	if c.x.Uploading.Load() {
		return false
	}
	return c.body.Done() || c.body.Whole() && c.drainAtHand()
}

// drainAtHand takes the rest of a body that nobody wanted and that lies in memory.
func (c *conn) drainAtHand() bool {
	var scratch [512]byte
	for !c.body.Done() {
		if _, err := c.body.Read(scratch[:]); err != nil && err != io.EOF {
			return false
		}
	}
	return true
}

// WriteBody is exchange.Downstream's.
func (c *conn) WriteBody(p []byte, flush bool) error {
	a := &c.answer
	if a.muted || len(p) == 0 {
		if flush {
			return c.flush()
		}
		return nil
	}
	if a.left >= 0 {
		if int64(len(p)) > a.left {
			p = p[:a.left] // never a byte beyond what the head promised
		}
		a.left -= int64(len(p))
	}
	c.x.Record.BytesOut += int64(len(p))
	if a.chunked {
		c.out = wire.AppendChunkSize(c.out, len(p))
	}
	if len(c.out)+len(p)+2 <= cap(c.out) {
		c.out = append(c.out, p...)
	} else {
		if err := c.flush(); err != nil {
			return err
		}
		if err := c.write(p); err != nil {
			return err
		}
	}
	if a.chunked {
		c.out = append(c.out, "\r\n"...)
	}
	if flush {
		return c.flush()
	}
	return nil
}

// Finish is exchange.Downstream's.
func (c *conn) Finish(trailer *exchange.Header) error {
	a := &c.answer
	if a.left > 0 && !a.muted {
		return errShort
	}
	if a.chunked {
		if !c.x.Request.Trailers {
			trailer = nil
		}
		c.out = wire.AppendLastChunk(c.out, trailer)
	}
	return c.flush()
}

// Abort is exchange.Downstream's. It closes beneath TLS: above it the client would be told that the end is a proper one.
func (c *conn) Abort() {
	c.answer.broken = true
	if t, ok := c.base.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.base.Close()
}

// Tunnel is exchange.Downstream's.
func (c *conn) Tunnel() (exchange.Pipe, []byte, error) {
	if !c.answer.tunnel {
		return nil, nil, errTunnel
	}
	c.since.Store(0) // from here on both sides are read: whoever goes is noticed
	return c.nc, c.rest, nil
}

func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	err := c.write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *conn) write(p []byte) error {
	c.nc.WriteBy(clock.Nano(), c.x.WriteIdle)
	if _, err := c.nc.Write(p); err != nil {
		c.answer.broken = true
		return wire.Blame(wire.FromClient, err)
	}
	return nil
}
