package server

import (
	"errors"
	"io"
	"net"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wire"
)

// answer is how the answer under way is framed.
type answer struct {
	close   bool
	chunked bool
	left    int64 // bytes still owed of a body of known length; -1 if not known
	muted   bool  // the answer has no body on the wire
	tunnel  bool  // is a 101
	broken  bool

	tunnelled bool // the client's bytes have been handed over
}

var (
	errTunnel = errors.New("no tunnel")
	errSwitch = fault.New(fault.GuestFailed, "101 to a client that asked for no upgrade")
	errShort  = fault.New(fault.Internal, "answer shorter than its Content-Length")
)

// Inform is exchange.Downstream's.
func (c *conn) Inform(x *exchange.Exchange) error {
	if x.Asked.Version < exchange.HTTP11 || x.Sent || x.Response.Status < 102 || x.Response.Status > 199 {
		return nil
	}
	c.interim.Lock()
	defer c.interim.Unlock()
	buf := pool.Acquire(pool.Medium)
	err := c.write(wire.AppendResponse(buf[:0], x, 0, false), nil, nil)
	pool.Release(buf)
	return err
}

// WriteHead is exchange.Downstream's.
func (c *conn) WriteHead(x *exchange.Exchange, length int64) error {
	if err := c.frame(x, length); err != nil {
		return err
	}
	if c.asked.expect {
		c.interim.Lock()
		c.headSent = true
		c.interim.Unlock()
	}
	if rate := c.pinned.MinRate; rate > 0 {
		c.nc.EndPace()
		if !c.answer.tunnel {
			c.nc.PaceWrites(rate)
		}
	}
	if c.out == nil {
		c.out = pool.Acquire(pool.Medium)
	}
	c.out = wire.AppendResponse(c.out[:0], x, length, c.answer.close)
	if c.answer.tunnel {
		return c.flush()
	}
	return nil
}

// frame decides how the answer lies on the wire: by its status and by what the client asked, whatever filters and stages have
// made of the request since.
func (c *conn) frame(x *exchange.Exchange, length int64) error {
	a, status := &c.answer, x.Response.Status
	if status == 101 && !c.asked.upgrade {
		return errSwitch
	}
	if err := x.Begin(); err != nil {
		return err
	}
	a.muted = wire.Bodiless(status) || x.Asked.Head
	a.tunnel = status == 101
	a.left = length
	a.chunked = length < 0 && !a.muted && x.Asked.Version >= exchange.HTTP11
	a.close = !a.tunnel && (x.Request.Close || x.Response.Close || c.leaving() || c.worn() || !c.bodyAtHand() ||
		length < 0 && !a.muted && !a.chunked || x.Record.Fault == fault.ExchangeTimeout)
	return nil
}

// worn reports whether the connection has carried as many requests as it may.
func (c *conn) worn() bool {
	most := c.most(c.pinned)
	return most > 0 && c.served >= most
}

// most is how many requests the connection may carry, 0 for any number: what is configured, give or take a tenth, so that
// clients do not come back all at once.
func (c *conn) most(p *plan.Plan) int {
	n := p.RequestsPerConnection
	if n == 0 {
		return 0
	}
	return max(1, n+n*int(c.jitter)/1280)
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
	end := noBytes
	if a.chunked {
		c.out = wire.AppendChunkSize(c.out, len(p))
		end = crlf
	}
	if len(c.out)+len(p)+len(end) > cap(c.out) {
		err := c.write(c.out, p, end)
		c.out = c.out[:0]
		return err
	}
	c.out = append(append(c.out, p...), end...)
	if flush {
		return c.flush()
	}
	return nil
}

var (
	crlf    = []byte("\r\n")
	noBytes []byte
)

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
	c.answer.tunnelled = true
	c.server.tunnels.Add(1)
	// From here on both sides are read: whoever goes is noticed.
	if c.to(tunnelling)&told != 0 {
		c.x.Handle().Leave()
	}
	return c.nc, c.rest, nil
}

func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	err := c.write(c.out, nil, nil)
	c.out = c.out[:0]
	return err
}

func (c *conn) write(a, b, z []byte) error {
	c.nc.WriteBy(clock.Nano(), c.x.WriteIdle)
	if err := c.nc.WriteAll(a, b, z); err != nil {
		c.answer.broken = true
		return wire.Blame(wire.FromClient, err)
	}
	return nil
}
