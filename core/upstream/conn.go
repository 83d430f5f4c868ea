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

// conn is one connection to an endpoint. It belongs to one call at a time, or lies idle in its endpoint.
type conn struct {
	c        *netio.Conn
	ep       *Endpoint
	body     wire.BodyReader
	requests int
	since    int64 // clock.Nano when it became idle
	reused   bool
	last     bool // carries no request after this one

	sent atomic.Int64 // clock.Nano when the request had been sent to its end; 0 until then
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

// readHead reads the answer's head into x, and binds x.Response.Body to what follows it. began reports whether a byte
// of an answer has come.
func (c *conn) readHead(x *exchange.Exchange, lim *wire.Limits) (began bool, err error) {
	var buf []byte // what has been read; the head of the next answer begins at from
	from, n, looked := 0, 0, 0
	for informational := 0; ; {
		end := 0
		if n > from {
			if end, err = wire.HeadEnd(buf[from:n], looked); err != nil {
				pool.Release(buf)
				return true, fault.Wrap(fault.BadResponse, err)
			}
			looked = n - from
		}
		if end > lim.HeaderBytes || end == 0 && n-from >= lim.HeaderBytes {
			pool.Release(buf)
			return true, errHead
		}
		if end == 0 {
			if buf, n, err = c.more(buf, n, from+lim.HeaderBytes); err != nil {
				pool.Release(buf)
				return n > 0, err
			}
			continue
		}
		r := &x.Response
		f, err := wire.ParseResponse(buf[from:from+end], x.Request.Method, lim, r)
		if err != nil {
			pool.Release(buf)
			return true, err
		}
		from, looked = from+end, 0
		if r.Status < 200 && r.Status != 101 {
			if informational++; informational > maxInformational {
				pool.Release(buf)
				return true, errInformational
			}
			x.ClearResponse()
			continue
		}
		if r.Status == 101 && !x.Request.Upgrade {
			pool.Release(buf)
			return true, errSwitch
		}
		x.OwnBack(buf)
		x.Record.UpstreamStatus = r.Status
		c.bindBody(x, f, buf[from:n])
		return true, nil
	}
}

func (c *conn) bindBody(x *exchange.Exchange, f wire.Framing, ahead []byte) {
	r := &x.Response
	most := c.ep.transport.MaxRequests
	c.last = c.last || f.Close || most > 0 && c.requests >= most || r.Status == 101
	c.body.Init(c.c, wire.FromUpstream, f, ahead, c.ep.transport.Idle, &r.Trailer)
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
		c.c.ReadBy(now, left)
		var m int
		var err error
		if buf == nil {
			buf, m, err = c.c.ReadPooled(pool.Small)
		} else {
			m, err = c.c.Read(buf[n:])
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
	sent := c.sent.Load()
	if most == 0 || sent == 0 {
		return most, false
	}
	left = most - time.Duration(now-sent)
	return left, left <= 0
}
