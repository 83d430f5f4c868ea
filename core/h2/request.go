package h2

import (
	"io"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/wire"
)

// Stream is one request of a client, and its answer: an exchange.Downstream. It belongs to its handler until that returns;
// what is not finished by then is reset.
type Stream struct {
	stream
	server *Server
	sec    *section // the request's; nil once it has been read
	over   bool     // END_STREAM came with it
	began  int64
	x      *exchange.Exchange
	idle   time.Duration
	answer answer

	connect bool // an extended CONNECT that is well-formed

	// Guarded by conn.mu.
	handle    exchange.Handle
	zombie    bool
	continued bool
}

var streams sync.Pool

func acquireStream() *Stream {
	if s, ok := streams.Get().(*Stream); ok {
		return s
	}
	s := &Stream{}
	s.hook, s.free = s.killed, s.recycle
	return s
}

func (s *Stream) begin(v *Server, id uint32, h *section, end bool) {
	s.init(&v.conn)
	s.server, s.sec, s.over, s.began = v, h, end, h.began
	s.heard, s.left = end, h.length
	if end {
		s.end(nil)
	}
	s.open(id)
}

func (s *Stream) recycle() {
	s.stream.reset()
	s.server, s.sec, s.over, s.began, s.x, s.idle = nil, nil, false, 0, nil, 0
	s.answer, s.handle = answer{}, exchange.Handle{}
	s.zombie, s.continued, s.connect = false, false, false
	streams.Put(s)
}

// killed passes the end of the stream on to the exchange. mu is held.
func (s *Stream) killed(f *fault.Fault) {
	if !s.zombie {
		s.zombie = true
		s.server.zombies++
	}
	s.handle.Cancel(f)
}

func (s *Stream) run() {
	s.server.handle(s)
	s.leave()
}

// leave ends the stream when its handler has returned.
func (s *Stream) leave() {
	v := s.server
	releaseSection(s.sec)
	s.sec, s.x = nil, nil
	v.mu.Lock()
	defer v.mu.Unlock()
	s.handle = exchange.Handle{}
	if v.streams[s.id] == &s.stream {
		switch {
		case !s.done:
			s.cut(http2.ErrCodeInternal)
		case !s.heard: // the answer is whole, and the rest of the request of no use (RFC 9113 §8.1)
			s.cut(http2.ErrCodeNo)
		}
	}
	if v.refund(s.close()) {
		v.kick()
	}
	v.active--
	if s.zombie {
		v.zombies--
	}
	if v.active == 0 {
		v.idleSince = clock.Nano()
		v.maybeEnd()
	}
	s.release()
	v.handlers.Done()
}

// Began is clock.Nano at the first byte of the request's header section.
func (s *Stream) Began() int64 { return s.began }

var (
	errTooLarge = fault.New(fault.HeaderTooLarge, "header section too large")
	errScheme   = fault.New(fault.BadRequest, "scheme other than http and https")
	noMethod    = []byte("-")
)

// Begin fills x with the request: x.Request, x.Down (this stream), and binds the client's leg, so that the peer's reset or
// the end of the connection cancels x with fault.ClientGone. It is called once, first of all. idle is how long the client may
// send nothing of its body; 0 is for ever. The error is a refusal that can be answered, by x.Down as ever: request line and
// header section stand in x as far as they could be understood. Cookie fields are joined into one (RFC 9113 §8.2.3).
func (s *Stream) Begin(x *exchange.Exchange, lim *wire.Limits, idle time.Duration) error {
	s.x, s.idle = x, idle
	x.Down = s
	x.Bind(exchange.ClientLeg, (*link)(&s.stream))
	s.c.mu.Lock()
	s.handle = x.Handle()
	dead := s.fail
	s.c.mu.Unlock()

	r, h := &x.Request, s.sec
	s.sec = nil
	r.Version, r.Trailers = exchange.HTTP20, true
	r.Method, r.Target, r.Host = h.get(pseudoMethod), h.get(pseudoPath), h.get(pseudoAuthority)
	if len(r.Method) == 0 {
		r.Method = noMethod // of a section too large to have it
	}
	x.Ask()
	s.bindBody(r, h)
	err := s.fields(x, h, lim)
	x.OwnHead(h.own())
	releaseSection(h)
	if dead != nil {
		return dead
	}
	return err
}

func (s *Stream) bindBody(r *exchange.Request, h *section) {
	if s.over {
		r.Body.Init(0, nil)
		return
	}
	r.Body.Init(h.length, (*requestBody)(s))
}

// fields files the section's fields under what they are, as package wire does for HTTP/1.1.
func (s *Stream) fields(x *exchange.Exchange, h *section, lim *wire.Limits) error {
	r := &x.Request
	if h.large || h.size > lim.HeaderBytes {
		return errTooLarge
	}
	var host, expect []byte
	hosts, expects, cookies, first := 0, 0, 0, 0
	for i := range h.fields {
		name, value, id := h.at(i)
		drop, err := wire.CheckField(name, lim)
		if err != nil {
			return err
		}
		if drop {
			continue
		}
		switch id {
		case exchange.Host:
			hosts++
			host = value
		case exchange.Expect:
			expects++
			expect = value
		case exchange.Cookie:
			if cookies++; cookies > 1 {
				continue
			}
			first = r.Header.Len()
			r.Header.Append(name, value, id)
		case exchange.ContentLength, exchange.TE, exchange.Trailer, exchange.ProxyAuthorization, exchange.HTTP2Settings:
		default:
			r.Header.Append(name, value, id)
		}
		if r.Header.Len() > lim.Fields {
			return wire.ErrTooManyFields
		}
	}
	if cookies > 1 {
		r.Header.At(first).Value = joinCookies(x, h)
	}
	if scheme := h.get(pseudoScheme); scheme != nil && !exchange.EqualFold(scheme, "http") && !exchange.EqualFold(scheme, "https") {
		return errScheme
	}
	if h.has&(1<<pseudoProtocol) != 0 {
		if err := s.upgrade(x, h); err != nil {
			return err
		}
	}
	_, secure := s.c.nc.TLS()
	if err := wire.CheckRequest(r, hosts, host, secure, lim); err != nil {
		return err
	}
	ask, err := wire.CheckExpect(expects, expect, !s.over)
	r.Expect = ask
	return err
}

// joinCookies makes one value of the crumbs that HTTP/2 allows a Cookie field to be cut into (RFC 9113 §8.2.3).
func joinCookies(x *exchange.Exchange, h *section) []byte {
	x.Scratch = x.Scratch[:0]
	for i := range h.fields {
		if _, value, id := h.at(i); id == exchange.Cookie {
			if len(x.Scratch) > 0 {
				x.Scratch = append(x.Scratch, "; "...)
			}
			x.Scratch = append(x.Scratch, value...)
		}
	}
	return x.Request.Header.Keep(x.Scratch)
}

// requestBody is the Stream as the source of its request's body.
type requestBody Stream

// Read sends 100 Continue before it waits for the first byte, if the client waits for it and has no answer yet.
func (b *requestBody) Read(p []byte) (int, error) {
	s := (*Stream)(b)
	if s.x.Request.Expect {
		s.proceed()
	}
	n, err := s.read(p, s.idle)
	if err == io.EOF {
		s.trailerTo(&s.x.Request.Trailer)
	}
	return n, err
}

// Whole is exchange.Source's.
// Body is what Begin has made the source of the request's body.
func (s *Stream) Body() exchange.Source { return (*requestBody)(s) }

func (b *requestBody) Whole() bool { return b.whole() }
