package server

import (
	"errors"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wire"
)

var (
	errGarbage      = fault.New(fault.BadRequest, "not HTTP")
	errTLS          = fault.New(fault.ClientGone, "TLS on a plain port")
	errHeadTooLarge = fault.New(fault.HeaderTooLarge, "header section too large")
	errHeadLate     = fault.New(fault.RequestTimeout, "head did not come in time")
	errGone         = fault.New(fault.ClientGone, "client left")
)

// readHead waits for a request and reads its head: buf[:end] is the head, buf[end:n] what came with it. Of p it reads plain
// numbers only. On an error buf is nil if no byte had come, else lent still.
func (c *conn) readHead(p *plan.Plan) (buf []byte, n, end int, err error) {
	buf, n, c.in, c.n = c.in, c.n, nil, 0
	if n == 0 {
		if buf, n, err = c.wait(p.Timeouts.Idle); err != nil {
			return nil, 0, 0, err
		}
	}
	if c.to(reading)&told != 0 {
		c.resume() // told to leave just now: the request is answered first
	}
	c.began = clock.Nano()
	most := p.Limits.HeaderBytes
	for looked, lines := 0, emptyLines; ; {
		n = skipEmptyLines(buf, n, &lines)
		if n > 0 && (!wire.MayBegin(buf[0]) || buf[0] == '\r' && lines == 0) {
			if buf[0] == handshakeRecord && !c.secure {
				return buf, n, 0, errTLS
			}
			return buf, n, 0, errGarbage
		}
		if end, err = p.Limits.HeadEnd(buf[:n], looked); end > most {
			return buf, n, 0, errHeadTooLarge
		} else if end > 0 || err != nil {
			return buf, n, end, err
		}
		if looked = n; n >= most {
			return buf, n, 0, errHeadTooLarge
		}
		if n == len(buf) {
			larger := pool.Acquire(min(2*len(buf), max(most, len(buf)+1)))
			copy(larger, buf)
			pool.Release(buf)
			buf = larger
		}
		m, err := c.readMore(buf[n:], p.Timeouts.Header)
		if n += m; err != nil {
			return buf, n, 0, err
		}
	}
}

// handshakeRecord is the first byte of TLS (RFC 8446 §5.1).
const handshakeRecord = 0x16

// wait waits for the first bytes of a request.
func (c *conn) wait(idle time.Duration) (buf []byte, n int, err error) {
	c.nc.ReadBy(clock.Nano(), idle)
	if now := c.now(); now&told != 0 && now&phases == fresh {
		c.nc.Hasten(freshGrace) // what leave did, ReadBy may have undone
	}
	buf, n, err = c.nc.ReadPooled(pool.Small)
	if err != nil && errors.Is(err, netio.ErrAborted) && readable(rawOf(c.base)) && c.resume() {
		// A request came while the connection was told to leave: closing now would lose it without a word.
		pool.Release(buf)
		c.nc.ReadBy(clock.Nano(), time.Second)
		buf, n, err = c.nc.ReadPooled(pool.Small)
	}
	if err != nil {
		pool.Release(buf)
		return nil, 0, err
	}
	return buf, n, nil
}

// emptyLines is how many of them may stand before a request (RFC 9112 §2.2): some clients send one after a body.
const emptyLines = 2

// skipEmptyLines drops empty lines, as many as are left.
func skipEmptyLines(buf []byte, n int, left *int) int {
	skipped := 0
	for *left > 0 && n >= skipped+2 && buf[skipped] == '\r' && buf[skipped+1] == '\n' {
		skipped += 2
		*left--
	}
	if skipped == 0 {
		return n
	}
	return copy(buf, buf[skipped:n])
}

// readMore reads on within what is left of the time for a head; 0 is no limit.
func (c *conn) readMore(p []byte, most time.Duration) (int, error) {
	now := clock.Nano()
	left := most
	if most > 0 {
		if left -= time.Duration(now - c.began); left <= 0 {
			return 0, errHeadLate
		}
	}
	c.nc.ReadBy(now, left)
	n, err := c.nc.Read(p)
	if err == nil {
		return n, nil
	}
	if netio.IsTimeout(err) {
		return n, errHeadLate
	}
	return n, errGone
}
