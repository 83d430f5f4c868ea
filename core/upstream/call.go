package upstream

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wire"
)

// Call is one exchange's use of an upstream, from Send to Close. It belongs to the goroutine that serves the exchange.
type Call struct {
	u      *Upstream
	x      *exchange.Exchange
	ep     *Endpoint
	ticket Ticket
	conn   *conn
	host   []byte // nil: the endpoint's own

	uploads bool          // an uploader was started
	pulled  atomic.Bool   // and has all of the body: what is left is to write the last of it
	joined  bool          // and has ended
	sent    error         // how the upload ended; read after it was joined
	ended   chan struct{} // the uploader's end
}

func (k *Call) reset() {
	k.u, k.x, k.ep, k.conn, k.host = nil, nil, nil, nil, nil
	k.ticket, k.sent = Ticket{}, nil
	k.uploads, k.joined = false, false
	k.pulled.Store(false)
}

var calls = sync.Pool{New: func() any { return &Call{ended: make(chan struct{}, 1)} }}

// Send sends x's request to an endpoint of u and reads the head of the answer into x.Response, whose Body streams the
// rest. host is what Host will say; nil is the endpoint's own name. The body is sent while it is pulled, and the answer
// may come before its end. The caller always closes the Call that it gets; on an error there is none.
func (u *Upstream) Send(x *exchange.Exchange, host []byte) (*Call, error) {
	if now := u.flight.n.Add(1); u.max > 0 && now > u.max {
		u.flight.n.Add(-1)
		return nil, errBusy
	}
	ep, ticket, err := u.pick(x, nil)
	if err != nil {
		u.flight.n.Add(-1)
		return nil, err
	}
	k := calls.Get().(*Call)
	k.u, k.x, k.ep, k.ticket, k.host = u, x, ep, ticket, host
	x.Record.Upstream, x.Record.Endpoint = u.Name, ep.Name
	x.Record.UpstreamStart = clock.Nano()
	began, err := k.try(false)
	if err != nil && !began && k.mayRepeat(err) {
		k.dropConn()
		_, err = k.try(true)
	}
	if err != nil {
		k.Close(err)
		return nil, err
	}
	return k, nil
}

// mayRepeat allows one more try on a new connection when a kept one turned out dead: the endpoint closed it while the
// request was on its way. Only for a request that may be sent twice and has no body (RFC 9110 §9.2.2).
func (k *Call) mayRepeat(err error) bool {
	if k.conn == nil || !k.conn.reused || k.x.Request.Body.Length != 0 || k.ticket.Probe() || k.x.Cause() != nil {
		return false
	}
	if kind := fault.KindOf(err); kind != fault.UpstreamReset && kind != fault.ResponseTruncated {
		return false
	}
	switch string(k.x.Request.Method) {
	case "GET", "HEAD", "OPTIONS":
		return true
	}
	return false
}

// try sends the request over one connection and reads the head of the answer. began reports whether a byte of an answer
// has come.
func (k *Call) try(fresh bool) (began bool, err error) {
	x := k.x
	x.Record.Tries++
	k.ep.requests.Add(1)
	if k.conn, err = k.ep.acquire(x, fresh); err != nil {
		return false, k.Explain(err)
	}
	k.conn.requests++
	k.conn.sent.Store(0)
	x.Bind(exchange.UpstreamLeg, k.conn.c)
	if err = k.send(); err == nil {
		began, err = k.conn.readHead(x, &k.u.limits)
	}
	if err != nil && !began {
		err = k.Explain(err)
	}
	if err == nil && k.uploads && k.pulled.Load() {
		k.settle()
	}
	return began, err
}

// settle waits a moment for an uploader at its last write. An upstream may answer before our own goroutine has noticed
// that it is done; taken for an early answer, that would cost both connections.
func (k *Call) settle() {
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	select {
	case <-k.ended:
		k.joined = true
	case <-timer.C:
	}
}

const settleTime = 5 * time.Millisecond

// Explain gives the reason behind err: why the exchange was cancelled, or what broke the upload. The upstream's end is
// often only the echo of those.
func (k *Call) Explain(err error) error {
	if cause := k.x.Cause(); cause != nil {
		return cause
	}
	if k.uploads && (errors.Is(err, netio.ErrAborted) || !k.x.Uploading.Load()) {
		if sent := k.join(); sent != nil {
			return sent
		}
	}
	return err
}

// send sends the head and, if it is at hand, the whole body in one write; else a goroutine streams the body.
func (k *Call) send() error {
	r := &k.x.Request
	if r.Upgrade && !r.Body.Empty() {
		r.Upgrade = false // a filter gave the handshake a body: without framing it would be read as the next request
	}
	host := k.host
	if host == nil {
		host = k.ep.Host
	}
	// With the framing that is added this is more than the head takes.
	need := r.Header.Bytes() + 4*r.Header.Len() + len(r.Method) + len(r.Target) + len(host) + 128
	size := pool.Medium
	if need > size/2 {
		size = max(need, pool.Large)
	}
	buf := pool.Acquire(size)
	out := wire.AppendRequest(buf[:0], r, host, r.Body.Length)
	if !r.Body.Empty() && (r.Body.Length < 0 || !r.Body.Whole() || int64(len(out))+r.Body.Length > int64(len(buf))) {
		k.uploads = true
		k.x.Uploading.Store(true)
		go k.upload(buf, out)
		return nil
	}
	defer pool.Release(buf)
	head := len(out)
	for {
		p, err := r.Body.Next(buf[min(len(out), len(buf)):])
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		out = append(out, p...)
	}
	if r.Body.Length > 0 && int64(len(out)-head) != r.Body.Length {
		return errLength
	}
	if err := k.write(out); err != nil {
		return err
	}
	k.conn.sent.Store(clock.Nano())
	return nil
}

// errLength keeps a filter's mistake from becoming another request: bytes beyond Content-Length would be read as one.
var errLength = fault.New(fault.Internal, "request body is not as long as its Content-Length")

// upload writes out, the head, and then the body as it is pulled, by way of buf. Its end is told by k.ended.
func (k *Call) upload(buf, out []byte) {
	k.sent = k.stream(buf, out)
	pool.Release(buf)
	if k.sent == nil || fault.KindOf(k.sent).Source() == fault.Upstream {
		k.conn.sent.Store(clock.Nano()) // also of one that takes no more: it owes an answer from now on
	} else {
		// The request can't be completed: the upstream must not take it for a whole one.
		k.conn.c.Abort()
	}
	k.x.Uploading.Store(false)
	k.ended <- struct{}{}
}

func (k *Call) stream(buf, out []byte) (err error) {
	defer func() {
		if r := recover(); r != nil { // in a source of the body: nobody else would catch it here
			err = fault.Wrap(fault.Internal, fmt.Errorf("panic while sending a body: %v\n%s", r, debug.Stack()))
		}
	}()
	// The head goes first: the upstream may answer it before the client sends, or is asked for, a byte of the body.
	if err := k.write(out); err != nil {
		return err
	}
	out = buf[:0]
	body := &k.x.Request.Body
	chunked := body.Length < 0
	left := body.Length
	piece := pool.Acquire(pool.Medium)
	defer func() { pool.Release(piece) }()
	for {
		p, err := body.Next(piece)
		if err == io.EOF {
			k.pulled.Store(true)
			break
		}
		if err != nil {
			return err
		}
		if body.Empty() {
			k.pulled.Store(true)
		}
		if len(p) == 0 {
			continue // an empty chunk would be the last
		}
		if left -= int64(len(p)); !chunked && left < 0 {
			return errLength
		}
		if chunked {
			out = wire.AppendChunkSize(out, len(p))
		}
		if len(out)+len(p)+2 <= len(buf) {
			out = append(out, p...)
		} else {
			if err := k.write(out); err != nil {
				return err
			}
			if err := k.write(p); err != nil {
				return err
			}
			out = buf[:0]
		}
		if chunked {
			out = append(out, "\r\n"...)
		}
		if !body.Whole() {
			if err := k.write(out); err != nil {
				return err
			}
			out = buf[:0]
		}
	}
	if chunked {
		for _, name := range k.x.Guarded {
			k.x.Request.Trailer.DelLike(name)
		}
		out = wire.AppendLastChunk(out, &k.x.Request.Trailer)
	} else if left > 0 {
		return errLength
	}
	return k.write(out)
}

func (k *Call) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	k.conn.c.WriteBy(clock.Nano(), k.ep.transport.Idle)
	if _, err := k.conn.c.Write(p); err != nil {
		return wire.Blame(wire.FromUpstream, err)
	}
	return nil
}

// join waits for the uploader and gives its error.
func (k *Call) join() error {
	if k.uploads && !k.joined {
		<-k.ended
		k.joined = true
	}
	return k.sent
}

// AtHand reports whether bytes behind the head of the answer came with it.
func (k *Call) AtHand() bool { return len(k.conn.body.Ahead()) > 0 }

// Tunnel hands over the connection of an answer 101, and what was read of it beyond the head. The call is closed as ever.
func (k *Call) Tunnel() (c exchange.Pipe, ahead []byte) {
	return k.conn.c, k.conn.body.Ahead()
}

// Close ends the call: the connection is kept if another request can follow, the breaker learns how it went. err is what
// went wrong with the exchange, nil if nothing did. An upload under way is ended, and with it reading from the client.
func (k *Call) Close(err error) {
	x := k.x
	if k.uploads && !k.joined {
		if x.Uploading.Load() {
			k.conn.c.Abort()
			x.AbortClientRead()
		}
		k.join()
	}
	x.Bind(exchange.UpstreamLeg, nil)
	kind := fault.KindOf(err)
	how := outcome(x, kind)
	if kind == fault.ExchangeTimeout && x.Record.UpstreamStatus == 0 && k.conn != nil && k.conn.sent.Load() > 0 {
		how = OutcomeFailure // the route's time ran out while the endpoint owed an answer
	}
	k.u.done(k.ep, k.ticket, how, kind, clock.Nano())
	if k.conn != nil {
		if c := k.conn; err == nil && k.sent == nil && !c.last && c.body.Done() && len(c.body.Ahead()) == 0 && !c.c.Aborted() {
			c.body.Release()
			k.ep.release(c)
		} else {
			k.dropConn()
		}
	}
	k.u.flight.n.Add(-1)
	k.reset()
	calls.Put(k)
}

func (k *Call) dropConn() {
	k.x.Bind(exchange.UpstreamLeg, nil)
	k.conn.body.Release()
	_ = k.conn.c.Close()
	k.conn = nil
}

// outcome says what the breaker learns: nothing from a client's or a filter's doing.
func outcome(x *exchange.Exchange, kind fault.Kind) Outcome {
	switch {
	case kind.Punish():
		return OutcomeFailure
	case kind != fault.None:
		return OutcomeNeutral
	case x.Record.UpstreamStatus >= 500:
		return OutcomeFailure
	}
	return OutcomeSuccess
}
