package server

import (
	"errors"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/proxy"
	"github.com/weirproxy/weir/core/wire"
)

// States of a connection, for drain: an idle one is closed at once, a busy one after its answer.
const (
	idle int32 = iota
	busy
)

// conn is one HTTP/1.1 client connection. Its goroutine reads a head, has the exchange served, and begins again; the
// exchange writes its answer through conn, which is its Downstream.
type conn struct {
	server *Server
	from   *listener
	nc     *netio.Conn
	secure bool
	peer   netip.AddrPort
	text   []byte // peer's address as text
	state  atomic.Int32

	in   []byte // lent by pool: bytes of the next request that came with the last, in[:n]
	n    int
	rest []byte // bytes behind the request under way, a view
	body wire.BodyReader
	x    *exchange.Exchange

	out    []byte // lent by pool while an answer is written
	answer answer

	mu        sync.Mutex // guards the two below: 100 Continue is written by whoever pulls the body
	headSent  bool
	continued bool
}

// answer is how the answer under way is framed.
type answer struct {
	close   bool
	chunked bool
	left    int64 // bytes still owed of a body of known length; -1 if not known
	muted   bool  // the answer has no body on the wire
	tunnel  bool
	broken  bool
}

// serve reads and answers requests until the connection ends.
func (c *conn) serve() {
	defer c.server.left(c)
	defer c.nc.Close()
	for {
		// An idle connection pins no plan: the old one's timeouts are as good as the new one's.
		buf, n, end, err := c.readHead(c.server.plan.Load())
		if err != nil {
			c.refuse(buf, err)
			return
		}
		p := c.server.pin()
		keep := c.exchange(p, buf, n, end)
		p.Unpin()
		if !keep || c.server.draining.Load() {
			return
		}
		c.state.Store(idle)
		if c.server.draining.Load() { // it may have begun before the state was seen
			return
		}
	}
}

// readHead waits for a request and reads its head: buf[:end] is the head, buf[end:n] what came with it. Of p it reads plain
// numbers only. On an error buf is nil if no byte had come, else lent still.
func (c *conn) readHead(p *plan.Plan) (buf []byte, n, end int, err error) {
	t := &p.Timeouts
	limits := &p.Limits
	buf, n, c.in, c.n = c.in, c.n, nil, 0
	if n == 0 {
		c.nc.ReadBy(clock.Nano(), t.Idle)
		if buf, n, err = c.nc.ReadPooled(pool.Small); err != nil {
			pool.Release(buf)
			return nil, 0, 0, err
		}
	}
	c.state.Store(busy)
	began := clock.Nano()
	for looked := 0; ; {
		skipped := 0
		for skipped < 4 && n >= skipped+2 && buf[skipped] == '\r' && buf[skipped+1] == '\n' {
			skipped += 2
		}
		if skipped > 0 {
			n = copy(buf, buf[skipped:n])
		}
		if n > 0 && !wire.MayBegin(buf[0]) {
			return buf, n, 0, errGarbage
		}
		if end, err = wire.HeadEnd(buf[:n], looked); end > limits.HeaderBytes {
			return buf, n, 0, errHeadTooLarge
		} else if end > 0 || err != nil {
			return buf, n, end, err
		}
		looked = n
		if n >= limits.HeaderBytes {
			return buf, n, 0, errHeadTooLarge
		}
		if n == len(buf) {
			larger := pool.Acquire(min(2*len(buf), max(limits.HeaderBytes, len(buf)+1)))
			copy(larger, buf)
			pool.Release(buf)
			buf = larger
		}
		left := t.Header - time.Duration(clock.Nano()-began)
		if left <= 0 {
			return buf, n, 0, errHeadLate
		}
		c.nc.ReadBy(clock.Nano(), left)
		m, err := c.nc.Read(buf[n:])
		if n += m; err != nil {
			if n == 0 || !netio.IsTimeout(err) {
				err = wire.Blame(wire.FromClient, err)
				if fault.KindOf(err) == fault.BodyTruncated {
					err = errGone
				}
			} else {
				err = errHeadLate
			}
			return buf, n, 0, err
		}
	}
}

var (
	errGarbage      = fault.New(fault.BadRequest, "not HTTP")
	errHeadTooLarge = fault.New(fault.HeaderTooLarge, "header section too large")
	errHeadLate     = fault.New(fault.RequestTimeout, "head did not come in time")
	errGone         = fault.New(fault.ClientGone, "client left in the middle of a head")
	errTunnel       = errors.New("no tunnel")
)

// exchange serves the request whose head is buf[:end], and reports whether the connection can carry another.
func (c *conn) exchange(p *plan.Plan, buf []byte, n, end int) bool {
	x := c.begin(buf)
	f, err := wire.ParseRequest(buf[:end], c.secure, &p.Limits, &x.Request)
	if err != nil {
		x.Request.Close = true
		c.body = wire.BodyReader{}
		proxy.Refuse(p, x, err)
		c.finish(x)
		c.linger()
		return false
	}
	rest := buf[end:n]
	switch f.Mode {
	case wire.NoBody:
		x.Request.Body.Init(0, nil)
		c.body.Init(c.nc, wire.FromClient, f, nil, 0, nil)
	case wire.FixedBody:
		split := min(int64(len(rest)), f.Length)
		c.body.Init(c.nc, wire.FromClient, f, rest[:split], p.Timeouts.BodyIdle, &x.Request.Trailer)
		x.Request.Body.Init(f.Length, (*requestBody)(c))
		rest = rest[split:]
	case wire.ChunkedBody:
		c.body.Init(c.nc, wire.FromClient, f, rest, p.Timeouts.BodyIdle, &x.Request.Trailer)
		x.Request.Body.Init(-1, (*requestBody)(c))
		rest = nil
	}
	c.rest = rest
	proxy.Serve(p, x)
	if f.Mode == wire.ChunkedBody && c.body.Done() {
		rest = c.body.Ahead()
	}
	read := c.body.Done()
	a := c.answer
	keep := read && !a.close && !a.broken && !a.tunnel && !c.nc.Aborted()
	if keep && len(rest) > 0 {
		c.in = pool.Acquire(len(rest))
		c.n = copy(c.in, rest)
	}
	unread := !read || len(rest) > 0
	c.finish(x)
	if !keep && unread && !a.broken && !a.tunnel {
		c.linger()
	}
	return keep
}

func (c *conn) begin(buf []byte) *exchange.Exchange {
	x := exchange.Acquire()
	x.OwnHead(buf)
	x.Down = c
	x.Record.Start = clock.Nano()
	x.Client = exchange.Client{Peer: c.peer, Text: c.text, IP: c.peer.Addr(), Secure: c.secure}
	x.Bind(exchange.ClientLeg, c.nc)
	c.x, c.answer = x, answer{}
	c.headSent, c.continued = false, false
	return x
}

func (c *conn) finish(x *exchange.Exchange) {
	c.body.Release()
	pool.Release(c.out)
	c.out, c.x = nil, nil
	exchange.Release(x)
}

// refuse answers bytes that are no request, if there is anybody to answer, and records it.
func (c *conn) refuse(buf []byte, err error) {
	if buf == nil || fault.KindOf(err) == fault.ClientGone || c.nc.Aborted() {
		pool.Release(buf)
		return
	}
	p := c.server.pin()
	x := c.begin(buf)
	x.Request.Method, x.Request.Version, x.Request.Close = unknownMethod, exchange.HTTP11, true
	c.body = wire.BodyReader{}
	proxy.Refuse(p, x, err)
	c.finish(x)
	p.Unpin()
	c.linger()
}

var unknownMethod = []byte("-")

// linger waits a little for the client to read the answer: closing a socket that holds unread bytes would reset it and
// throw the answer away.
func (c *conn) linger() {
	_ = c.nc.CloseWrite()
	_ = c.nc.Net().SetReadDeadline(time.Now().Add(time.Second))
	buf := pool.Acquire(pool.Medium)
	for range 64 {
		if _, err := c.nc.Net().Read(buf); err != nil {
			break
		}
	}
	pool.Release(buf)
}

// requestBody is the conn as the source of its request's body. It may be read by another goroutine than the conn's.
type requestBody conn

// Read sends 100 Continue before the first byte is read, if the client waits for it and has no answer yet (RFC 9110 §10.1.1).
func (b *requestBody) Read(p []byte) (int, error) {
	c := (*conn)(b)
	if c.x.Request.Expect {
		c.mu.Lock()
		if !c.continued && !c.headSent {
			c.continued = true
			c.nc.WriteBy(clock.Nano(), time.Second)
			_, _ = c.nc.Write(continueLine)
		}
		c.mu.Unlock()
	}
	return c.body.Read(p)
}

// Whole is false while the client waits to be asked.
func (b *requestBody) Whole() bool { return !b.x.Request.Expect && b.body.Whole() }

var continueLine = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// WriteHead is exchange.Downstream's.
func (c *conn) WriteHead(x *exchange.Exchange, length int64) error {
	c.mu.Lock()
	c.headSent = true
	c.mu.Unlock()
	a := &c.answer
	status := x.Response.Status
	a.muted = wire.Bodiless(status) || string(x.Request.Method) == "HEAD"
	a.tunnel = status == 101
	a.left = length
	a.chunked = length < 0 && !a.muted && x.Request.Version >= exchange.HTTP11
	a.close = !a.tunnel && (x.Request.Close || c.server.draining.Load() || x.Response.Close || !c.bodyAtHand() ||
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
	if a.chunked {
		if !c.x.Request.Trailers {
			trailer = nil
		}
		c.out = wire.AppendLastChunk(c.out, trailer)
	}
	if a.left > 0 && !a.muted {
		c.Abort()
		return errShort
	}
	return c.flush()
}

var errShort = fault.New(fault.ResponseTruncated, "answer shorter than its Content-Length")

// Abort is exchange.Downstream's.
func (c *conn) Abort() {
	c.answer.broken = true
	c.nc.Reset()
}

// Tunnel is exchange.Downstream's.
func (c *conn) Tunnel() (*netio.Conn, []byte, error) {
	if !c.answer.tunnel {
		return nil, nil, errTunnel
	}
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
