package upstream

import (
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wire"
)

// conn is one connection to an endpoint, the leg of HTTP/1.1. It belongs to one call at a time, or lies idle in its
// endpoint.
type conn struct {
	*netio.Conn
	ep       *Endpoint
	body     wire.BodyReader
	requests int
	since    int64 // clock.Nano when it became idle
	used     bool  // was idle before this request
	last     bool  // carries no request after this one

	// Of the request on its way out.
	buf     []byte // lent by pool
	out     []byte // what is to be written, in buf
	chunked bool
	wrote   bool // bytes of it have left

	owed atomic.Int64 // clock.Nano since when an answer is owed; 0 while the request is being sent
}

// begin readies c for a request.
func (c *conn) begin() {
	c.requests++
	c.wrote = false
	c.owed.Store(0)
}

func (c *conn) sendHead(r *exchange.Request, host []byte) error {
	// With the framing that is added this is more than the head takes.
	need := r.Header.Bytes() + 4*r.Header.Len() + len(r.Method) + len(r.Target) + len(host) + 128
	size := pool.Medium
	if need > size/2 {
		size = max(need, pool.Large)
	}
	c.buf = pool.Acquire(size)
	c.out = wire.AppendRequest(c.buf[:0], r, host, r.Body.Length)
	c.chunked = r.Body.Length < 0 && !r.Upgrade
	return nil
}

func (c *conn) room() []byte { return c.buf[min(len(c.out), len(c.buf)):] }

func (c *conn) sendData(p []byte, flush bool) error {
	if len(p) > 0 { // an empty chunk would be the last
		if c.chunked {
			c.out = wire.AppendChunkSize(c.out, len(p))
		}
		end := 0
		if c.chunked {
			end = len("\r\n")
		}
		if len(c.out)+len(p)+end <= len(c.buf) {
			c.out = append(c.out, p...)
		} else {
			if err := c.flush(); err != nil {
				return err
			}
			if err := c.write(p); err != nil {
				return err
			}
		}
		if c.chunked {
			c.out = append(c.out, "\r\n"...)
		}
	}
	if flush {
		return c.flush()
	}
	return nil
}

func (c *conn) sendEnd(trailer *exchange.Header) error {
	if c.chunked {
		c.out = wire.AppendLastChunk(c.out, trailer)
	}
	return c.flush()
}

func (c *conn) sent(err error) {
	pool.Release(c.buf)
	c.buf, c.out = nil, nil
	if err != nil && fault.KindOf(err).Source() != fault.Upstream {
		c.Abort()
		return
	}
	c.owed.Store(clock.Nano())
}

func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	err := c.write(c.out)
	c.out = c.buf[:0]
	return err
}

func (c *conn) write(p []byte) error {
	c.WriteBy(clock.Nano(), c.ep.transport.Idle)
	n, err := c.Conn.Write(p)
	c.wrote = c.wrote || n > 0
	if err != nil {
		return wire.Blame(wire.FromUpstream, err)
	}
	return nil
}

func (c *conn) atHand() bool { return len(c.body.Ahead()) > 0 }
func (c *conn) reused() bool { return c.used }
func (c *conn) unseen() bool { return !c.wrote }
func (c *conn) owing() bool  { return c.owed.Load() > 0 }

func (c *conn) tunnel() (exchange.Pipe, []byte) { return c.Conn, c.body.Ahead() }

// end keeps the connection if another request can follow: nothing is left of this one, and not a byte too many has come.
func (c *conn) end(ok bool) {
	keep := ok && !c.last && c.body.Done() && len(c.body.Ahead()) == 0 && !c.Aborted()
	c.body.Release()
	if !keep {
		_ = c.Close()
		return
	}
	c.ep.release(c)
}

// transportLimits are a Transport's bounds on answers, in the form the reader wants.
type transportLimits = wire.Limits

func limitsOf(t Transport) transportLimits {
	return wire.Limits{HeaderBytes: t.HeaderBytes, Fields: t.HeaderFields, Underscores: wire.PassUnderscores}
}

// maxInformational is how many 1xx answers may come before the real one.
const maxInformational = 100

var (
	errHead          = fault.New(fault.BadResponse, "answer's head too large")
	errInformational = fault.New(fault.BadResponse, "too many 1xx answers")
	errSwitch        = fault.New(fault.BadResponse, "101 without a handshake")
	errHeadLate      = fault.New(fault.UpstreamTimeout, "answer's head did not come in time")
)

// readHead reads the answer's head into x, and binds x.Response.Body to what follows it.
func (c *conn) readHead(x *exchange.Exchange, lim *wire.Limits) (p progress, err error) {
	var buf []byte // what has been read; the head of the next answer begins at from
	from, n, looked := 0, 0, 0
	for informational := 0; ; {
		end := 0
		if n > from {
			if end, err = wire.HeadEnd(buf[from:n], looked); err != nil {
				pool.Release(buf)
				return p, fault.Wrap(fault.BadResponse, err)
			}
			looked = n - from
		}
		if end > lim.HeaderBytes || end == 0 && n-from >= lim.HeaderBytes {
			pool.Release(buf)
			return p, errHead
		}
		if end == 0 {
			if from > 0 { // interim answers are over, and nothing views them: their room is for the next
				n = copy(buf, buf[from:n])
				from = 0
			}
			if buf, n, err = c.more(buf, n, lim.HeaderBytes); err != nil {
				pool.Release(buf)
				return p, err
			}
			p = max(p, begun)
			continue
		}
		r := &x.Response
		f, err := wire.ParseResponse(buf[from:from+end], x.Request.Method, lim, r)
		if err != nil {
			pool.Release(buf)
			return p, err
		}
		from, looked = from+end, 0
		if r.Status < 200 && r.Status != 101 {
			if informational++; informational > maxInformational {
				pool.Release(buf)
				return p, errInformational
			}
			if r.Status == 103 {
				p = told
			}
			if err := inform(x); err != nil {
				pool.Release(buf)
				return p, err
			}
			continue
		}
		if r.Status == 101 && !x.Request.Upgrade {
			pool.Release(buf)
			return p, errSwitch
		}
		x.OwnBack(buf)
		x.Record.UpstreamStatus = r.Status
		c.bindBody(x, f, buf[from:n])
		return p, nil
	}
}

// inform passes an interim answer on that is of use to the client, 103 (RFC 8297), and forgets it: 100 and 102 are between
// the upstream and us. Its hop-by-hop fields were left behind when it was read.
func inform(x *exchange.Exchange) error {
	var err error
	if x.Response.Status == 103 {
		err = x.Down.Inform(x)
	}
	x.ClearResponse()
	return err
}

func (c *conn) bindBody(x *exchange.Exchange, f wire.Framing, ahead []byte) {
	r := &x.Response
	most := c.ep.transport.MaxRequests
	c.last = c.last || f.Close || most > 0 && c.requests >= most || r.Status == 101
	c.body.Init(c.Conn, wire.FromUpstream, f, ahead, c.ep.transport.Idle, &r.Trailer)
	switch f.Mode {
	case wire.NoBody:
		r.Body.Init(0, nil)
	case wire.FixedBody:
		r.Body.Init(f.Length, &c.body)
	default:
		r.Body.Init(-1, &c.body)
	}
}

// more reads on behind buf[:n], into a larger buffer if there is no room left.
func (c *conn) more(buf []byte, n, limit int) ([]byte, int, error) {
	if buf != nil && n == len(buf) {
		larger := pool.Acquire(min(2*len(buf), max(limit, len(buf)+1)))
		copy(larger, buf)
		pool.Release(buf)
		buf = larger
	}
	for {
		now := clock.Nano()
		left, late := c.patience(now)
		if late {
			return buf, n, errHeadLate
		}
		c.ReadBy(now, left)
		var m int
		var err error
		if buf == nil {
			buf, m, err = c.ReadPooled(pool.Small)
		} else {
			m, err = c.Conn.Read(buf[n:])
		}
		if err == nil {
			return buf, n + m, nil
		}
		if !netio.IsTimeout(err) {
			return buf, n, wire.Blame(wire.FromUpstream, err)
		}
	}
}

// patience is how long the head of the answer may still take, 0 for ever, and whether that is over. It is owed from the
// moment when the whole request had been sent: while the client still sends, the upstream owes nothing.
func (c *conn) patience(now int64) (left time.Duration, late bool) {
	most := c.ep.transport.ResponseHeader
	owed := c.owed.Load()
	if most == 0 || owed == 0 {
		return most, false
	}
	left = most - time.Duration(now-owed)
	return left, left <= 0
}
