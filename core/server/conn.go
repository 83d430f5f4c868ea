package server

import (
	"net"
	"net/netip"
	"runtime/debug"
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

// States of a connection. Only an idle one may be ended at once; one that is busy ends after its answer.
const (
	idle    int32 = iota // waits for a request
	busy                 // has a byte of a request, or is answering it
	leaving              // was idle, and told to go
)

// conn is one HTTP/1.1 client connection. Its goroutine reads a head, has the exchange served, and begins again; the
// exchange writes its answer through conn, which is its Downstream.
type conn struct {
	server *Server
	from   *listener
	index  int      // in server.conns; guarded by server.mu
	base   net.Conn // as it was accepted

	secure bool
	peer   netip.AddrPort
	text   []byte // peer's address as text

	certificate *exchange.Certificate // the client's, verified; nil without

	state atomic.Int32
	since atomic.Int64 // clock.Nano when the exchange under way began; 0: there is none, or it is a tunnel

	pinned *plan.Plan
	began  int64  // clock.Nano at the first byte of the request under way
	in     []byte // lent by pool: bytes of the next request that came with the last, in[:n]
	n      int
	rest   []byte // bytes behind the request under way, a view
	body   wire.BodyReader
	x      *exchange.Exchange

	out    []byte // lent by pool while an answer is written
	answer answer

	mu        sync.Mutex      // guards the fields below, which others read or write too; nc is written by the conn's goroutine only
	nc        *netio.Conn     // base, with TLS over it if there is
	handle    exchange.Handle // of the last exchange begun
	headSent  bool            // 100 Continue may be written, by whoever pulls the body, until then
	continued bool
	severed   bool // by cut: nothing is served any more
}

// serve reads and answers requests until the connection ends.
func (c *conn) serve() {
	defer c.server.left(c)
	defer func() { _ = c.nc.Close() }()
	defer c.recover()
	if c.state.Load() == leaving {
		return
	}
	for c.next() {
	}
}

// next serves one request and reports whether another may come.
func (c *conn) next() bool {
	// An idle connection pins no plan: of the one of the moment plain numbers are read.
	buf, n, end, err := c.readHead(c.server.plan.Load())
	if err != nil {
		c.refuse(buf, err)
		return false
	}
	if !c.exchange(buf, n, end) {
		return false
	}
	c.state.Store(idle)
	// What has been read already is answered, also while leaving: nobody else could.
	return c.n > 0 || !c.leaving()
}

// leaving reports whether the connection should end after the answer under way.
func (c *conn) leaving() bool { return c.server.draining.Load() || c.from.closing.Load() }

// recover is the last resort: panics of filters end in package proxy, but for those while their state is released.
func (c *conn) recover() {
	r := recover()
	if r == nil {
		return
	}
	c.server.log.Error().Interface("panic", r).Bytes("stack", debug.Stack()).Msg("panic on a connection")
	c.since.Store(0)
	c.Abort()
	c.unpin(false)
}

// exchange serves the request whose head is buf[:end], and reports whether the connection can carry another.
func (c *conn) exchange(buf []byte, n, end int) bool {
	x := c.begin(buf)
	p := c.pinned
	f, err := wire.ParseRequest(buf[:end], c.secure, &p.Limits, &x.Request)
	if err != nil {
		c.reject(x, err)
		return false
	}
	c.rest = c.bindBody(x, f, buf[end:n])
	c.since.Store(x.Record.Start)
	unpinned := proxy.Serve(p, c.from.spec.Load(), x)
	c.since.Store(0)
	if f.Mode == wire.ChunkedBody && c.body.Done() {
		c.rest = c.body.Ahead()
	}
	a := c.answer
	read := c.body.Done()
	keep := read && !a.close && !a.broken && !a.tunnel && !c.nc.Aborted()
	if keep && len(c.rest) > 0 {
		c.in = pool.Acquire(len(c.rest))
		c.n = copy(c.in, c.rest)
	}
	unread := !read || len(c.rest) > 0
	c.finish(x, unpinned)
	if !keep && unread && !a.broken && !a.tunnel {
		c.linger()
	}
	return keep
}

// bindBody makes x's body what f says of the bytes behind its head, and gives those that are not the body's.
func (c *conn) bindBody(x *exchange.Exchange, f wire.Framing, behind []byte) (rest []byte) {
	idle := c.pinned.Timeouts.BodyIdle
	switch f.Mode {
	case wire.FixedBody:
		split := min(int64(len(behind)), f.Length)
		c.body.Init(c.nc, wire.FromClient, f, behind[:split], idle, &x.Request.Trailer)
		x.Request.Body.Init(f.Length, (*requestBody)(c))
		return behind[split:]
	case wire.ChunkedBody:
		c.body.Init(c.nc, wire.FromClient, f, behind, idle, &x.Request.Trailer)
		x.Request.Body.Init(-1, (*requestBody)(c))
		return nil
	}
	x.Request.Body.Init(0, nil)
	c.body.Init(c.nc, wire.FromClient, f, nil, 0, nil)
	return behind
}

func (c *conn) begin(buf []byte) *exchange.Exchange {
	c.pinned = c.server.pin()
	x := exchange.Acquire()
	x.OwnHead(buf)
	x.Down = c
	x.Record.Start = c.began
	x.WriteIdle = c.pinned.Timeouts.BodyIdle
	x.Client = exchange.Client{Peer: c.peer, Text: c.text, IP: c.peer.Addr(), Secure: c.secure, Certificate: c.certificate}
	x.Bind(exchange.ClientLeg, c.nc)
	c.x, c.answer, c.rest = x, answer{}, nil
	c.mu.Lock()
	c.handle, c.headSent, c.continued = x.Handle(), false, false
	if c.severed {
		c.handle.Cancel(errDraining)
	}
	c.mu.Unlock()
	return x
}

func (c *conn) finish(x *exchange.Exchange, unpinned bool) {
	c.body.Release()
	pool.Release(c.out)
	c.out, c.x, c.rest = nil, nil, nil
	exchange.Release(x)
	c.unpin(unpinned)
}

func (c *conn) unpin(already bool) {
	if p := c.pinned; p != nil && !already {
		p.Unpin()
	}
	c.pinned = nil
}

// refuse answers bytes that are no request, if there is anybody to answer, and records it.
func (c *conn) refuse(buf []byte, err error) {
	if buf == nil || fault.KindOf(err) == fault.ClientGone || c.nc.Aborted() {
		pool.Release(buf)
		return
	}
	x := c.begin(buf)
	x.Request.Method, x.Request.Version = unknownMethod, exchange.HTTP11
	c.reject(x, err)
}

var unknownMethod = []byte("-")

// reject answers a request that could not be read: where the next one begins is not known.
func (c *conn) reject(x *exchange.Exchange, err error) {
	x.Request.Close = true
	c.body = wire.BodyReader{}
	proxy.Refuse(c.pinned, x, err)
	broken := c.answer.broken
	c.finish(x, false)
	if !broken {
		c.linger()
	}
}

// lingerTime is how long a client may take to read an answer to a request that was not read to its end.
const lingerTime = 2 * time.Second

// linger waits for the client to read the answer: closing a socket that holds unread bytes would reset it and throw the
// answer away.
func (c *conn) linger() {
	_ = c.nc.CloseWrite()
	nc := c.nc.Net()
	_ = nc.SetReadDeadline(time.Now().Add(lingerTime))
	buf := pool.Acquire(pool.Medium)
	for !c.nc.Aborted() {
		if _, err := nc.Read(buf); err != nil {
			break
		}
	}
	pool.Release(buf)
}

// revive makes a connection whose reads or writes were aborted usable for what is still owed to the client. One that was
// cut stays so: the drain waits for its end.
func (c *conn) revive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.severed {
		return
	}
	_ = c.nc.SetDeadline(time.Time{})
	c.nc = netio.New(c.nc.Net())
}

// leave ends the connection if it is idle. Any goroutine.
func (c *conn) leave() {
	if !c.state.CompareAndSwap(idle, leaving) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc.AbortRead()
}

// cut ends the connection whatever it does, or is about to do. Any goroutine.
func (c *conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.severed = true
	c.handle.Cancel(errDraining)
	c.nc.Abort()
}

// cancel ends the exchange under way. Any goroutine.
func (c *conn) cancel(cause *fault.Fault) {
	c.mu.Lock()
	h := c.handle
	c.mu.Unlock()
	h.Cancel(cause)
}

var errDraining = fault.New(fault.Draining, "cut at the end of the drain")

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
