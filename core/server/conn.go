package server

import (
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
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

// conn is one client connection. Over HTTP/1.1 its goroutine reads a head, has the exchange served, and begins again; the
// exchange writes its answer through conn, which is its Downstream. For HTTP/2 see mux.
type conn struct {
	life
	server *Server
	from   *listener
	index  int         // in server.conns; guarded by server.mu
	base   net.Conn    // as it was accepted
	nc     *netio.Conn // base, with TLS over it if there is; written under life.mu

	secure    bool
	agreed    bool // on HTTP/2, by ALPN
	jitter    int8 // how far its number of requests is from what is configured, in 1,280ths
	peer      netip.AddrPort
	text      []byte // peer's address as text
	local     netip.AddrPort
	number    uint64        // of its own among the connections of the process
	agreement *exchange.TLS // nil: not TLS
	counted   ipKey         // what it counts for among the connections of an address

	certificate *exchange.Certificate // the client's, verified; nil without

	pinned *plan.Plan
	served int    // requests
	began  int64  // clock.Nano at the first byte of the request under way
	in     []byte // lent by pool: bytes of the next request that came with the last, in[:n]
	n      int
	rest   []byte // bytes behind the request under way, a view
	body   wire.BodyReader
	x      *exchange.Exchange
	asked  asked

	out    []byte // lent by pool while an answer is written
	answer answer

	mux *mux // written under life.mu, once

	interim   sync.Mutex // of writing before the head of the answer: 100 Continue is written by whoever pulls the body
	headSent  bool       // no more of that
	continued bool
}

// asked is what else the client's own request said of the message that answers it: filters change the request that is forwarded.
type asked struct {
	upgrade bool
	expect  bool
}

// serve reads and answers requests until the connection ends.
func (c *conn) serve() {
	defer c.server.left(c)
	defer func() { c.to(ended); _ = c.nc.Close() }()
	defer c.recover()
	if c.agreed {
		c.multiplex(nil)
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
	if c.begins2(buf, n, end) || !c.exchange(buf, n, end) {
		return false
	}
	words := c.to(waiting)
	// What has been read already is answered, also while leaving: nobody else could.
	return c.n > 0 || words == 0
}

// recover is the last resort: panics of filters end in package proxy, but for those while their state is released.
func (c *conn) recover() {
	r := recover()
	if r == nil {
		return
	}
	c.server.log.Error().Interface("panic", r).Bytes("stack", debug.Stack()).Msg("panic on a connection")
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
	x.Ask()
	c.asked = asked{x.Request.Upgrade, x.Request.Expect}
	c.rest = c.bindBody(x, f, buf[end:n])
	if c.server.memory.scarce.Load() && !c.probe(x) {
		c.reject(x, errScarce)
		return false
	}
	unpinned := proxy.Serve(p, c.from.spec.Load(), x)
	x.Settle()
	if f.Mode == wire.ChunkedBody && c.body.Done() {
		c.rest = c.body.Ahead()
	}
	a := c.answer
	read := c.body.Done()
	keep := read && !a.close && !a.broken && !a.tunnel
	if keep && c.nc.Interrupted() {
		keep = c.resume() // by what came too late to concern this exchange
	}
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

// probe reports whether x asks for the listener's own health.
func (c *conn) probe(x *exchange.Exchange) bool {
	health := c.from.spec.Load().Health
	return health != "" && len(x.Request.Path) >= len(health) && string(x.Request.Path[:len(health)]) == health
}

var errScarce = fault.New(fault.NotReady, "memory is scarce")

// bindBody makes x's body what f says of the bytes behind its head, and gives those that are not the body's.
func (c *conn) bindBody(x *exchange.Exchange, f wire.Framing, behind []byte) (rest []byte) {
	idle := c.pinned.Timeouts.BodyIdle
	switch f.Mode {
	case wire.FixedBody:
		split := min(int64(len(behind)), f.Length)
		c.body.Init(c.nc, wire.FromClient, f, behind[:split], idle, &x.Request.Trailer)
		x.Request.Body.Init(f.Length, (*requestBody)(c))
		c.pace(x)
		return behind[split:]
	case wire.ChunkedBody:
		c.body.Init(c.nc, wire.FromClient, f, behind, idle, &x.Request.Trailer)
		x.Request.Body.Init(-1, (*requestBody)(c))
		c.pace(x)
		return nil
	}
	x.Request.Body.Init(0, nil)
	c.body.Init(c.nc, wire.FromClient, f, nil, 0, nil)
	return behind
}

// pace makes the client keep the least rate with the body of x. A stream of messages has none.
func (c *conn) pace(x *exchange.Exchange) {
	if rate := c.pinned.MinRate; rate > 0 && !isGRPC(x.Request.Header.Get("content-type")) {
		c.nc.PaceReads(rate)
	}
}

func isGRPC(contentType []byte) bool {
	const prefix = "application/grpc"
	return len(contentType) >= len(prefix) && exchange.EqualFold(contentType[:len(prefix)], prefix)
}

func (c *conn) begin(buf []byte) *exchange.Exchange {
	c.pinned = c.server.pin()
	x := exchange.Acquire()
	x.OwnHead(buf)
	x.Down = c
	x.Record.Start = c.began
	x.WriteIdle = c.pinned.Timeouts.BodyIdle
	x.Client = c.client()
	x.Bind(exchange.ClientLeg, c.nc)
	c.x, c.answer, c.asked, c.rest = x, answer{}, asked{}, nil
	c.headSent, c.continued = false, false
	c.served++
	c.begins(x.Handle(), c.began)
	return x
}

// client is who is at the other end.
func (c *conn) client() exchange.Client {
	return exchange.Client{
		Peer: c.peer, Text: c.text, IP: c.peer.Addr(), Secure: c.secure, Certificate: c.certificate,
		Local: c.local, Connection: c.number, TLS: c.agreement,
	}
}

func (c *conn) finish(x *exchange.Exchange, unpinned bool) {
	c.body.Release()
	pool.Release(c.out)
	c.out, c.x, c.rest = nil, nil, nil
	exchange.Release(x)
	if c.pinned.MinRate > 0 {
		c.nc.PaceReads(0)
		c.nc.PaceWrites(0)
	}
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
	x.Ask()
	c.body.Init(c.nc, wire.FromClient, wire.Framing{}, nil, 0, nil)
	proxy.Refuse(c.pinned, x, err)
	x.Settle()
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
	c.to(lingering)
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

// requestBody is the conn as the source of its request's body. It may be read by another goroutine than the conn's.
type requestBody conn

// Read sends 100 Continue before the first byte is read, if the client waits for it and has no answer yet (RFC 9110 §10.1.1).
func (b *requestBody) Read(p []byte) (int, error) {
	c := (*conn)(b)
	if c.asked.expect {
		c.interim.Lock()
		if !c.continued && !c.headSent {
			c.continued = true
			c.nc.WriteBy(clock.Nano(), time.Second)
			_, _ = c.nc.Write(continueLine) // the body will not come, or the head of the answer fail, if this did
		}
		c.interim.Unlock()
	}
	return c.body.Read(p)
}

// Whole is false while the client waits to be asked.
func (b *requestBody) Whole() bool { return !b.asked.expect && b.body.Whole() }

var continueLine = []byte("HTTP/1.1 100 Continue\r\n\r\n")
