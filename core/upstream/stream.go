package upstream

import (
	"sync"
	"sync/atomic"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/h2"
	"github.com/weirproxy/weir/core/wire"
)

// stream is the leg of HTTP/2: one stream of a connection that carries others too.
type stream struct {
	*h2.Call
	link  exchange.Link
	ep    *Endpoint
	conn  *h2conn
	first bool // of the connection
	whole atomic.Bool
}

var legs = sync.Pool{New: func() any { return &stream{} }}

func (s *stream) reset() {
	s.Call, s.link, s.ep, s.conn, s.first = nil, nil, nil, nil, false
	s.whole.Store(false)
}

func (s *stream) Abort()     { s.link.Abort() }
func (s *stream) AbortRead() { s.link.AbortRead() }

// sendHead is leg's. HTTP/2 has no upgrade (RFC 9113 §8.6): the request goes out as the plain one that it is without.
func (s *stream) sendHead(r *exchange.Request, host []byte) error {
	r.Upgrade = false
	return s.WriteHead(r, host, s.ep.options.TLS != nil, r.Body.Length)
}

// room is leg's: no body is sent without a goroutine of its own, since any may have to wait for a window.
func (s *stream) room() []byte { return nil }

func (s *stream) sendData(p []byte, flush bool) error { return s.WriteBody(p, flush) }

func (s *stream) sendEnd(trailer *exchange.Header) error { return s.Finish(trailer) }

func (s *stream) sent(err error) {
	if err != nil && fault.KindOf(err).Source() != fault.Upstream {
		s.Abort()
		return
	}
	s.whole.Store(true)
}

func (s *stream) readHead(x *exchange.Exchange, lim *wire.Limits) (p progress, err error) {
	t := &s.ep.transport
	for informational := 0; ; {
		err := s.ReadHead(x, lim, t.ResponseHeader, t.Idle)
		if s.Answered() {
			p = max(p, begun)
		}
		if err != nil || x.Response.Status >= 200 {
			return p, err
		}
		if informational++; informational > maxInformational {
			return p, errInformational
		}
		if x.Response.Status == 103 {
			p = told
		}
		if err := inform(x); err != nil {
			return p, err
		}
	}
}

func (s *stream) atHand() bool { return s.AtHand() }

// tunnel is leg's: there is no 101.
func (s *stream) tunnel() (exchange.Pipe, []byte) { return nil, nil }

// reused reports a connection that has carried others and is dead: a stream that was refused alone is no such thing.
func (s *stream) reused() bool { return !s.first && !s.conn.Usable() }
func (s *stream) unseen() bool { return s.Unprocessed() }
func (s *stream) owing() bool  { return s.whole.Load() }

// end is leg's: a stream that is not whole is reset, the connection lives on.
func (s *stream) end(bool) {
	s.Call.Close()
	s.ep.ended(s.conn)
	s.reset()
	legs.Put(s)
}
