package server

import (
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/h2"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/proxy"
	"github.com/weirproxy/weir/core/wire"
)

// priorKnowledge is the head that a client without TLS begins HTTP/2 with (RFC 9113 §3.3): what HTTP/1.1 reads of the preface.
const priorKnowledge = "PRI * HTTP/2.0\r\n\r\n"

// mux is a connection's HTTP/2. Each of its streams is an exchange of its own.
type mux struct {
	v      *h2.Server
	served atomic.Int64 // streams

	mu      sync.Mutex
	left    bool
	tunnels map[*stream]exchange.Handle // those that are open
}

// leave ends the connection without losing a request. Any goroutine.
func (m *mux) leave() {
	m.v.GoAway()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = true
	for _, h := range m.tunnels {
		h.Leave()
	}
}

func (m *mux) opens(s *stream, h exchange.Handle) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tunnels == nil {
		m.tunnels = map[*stream]exchange.Handle{}
	}
	m.tunnels[s] = h
	if m.left {
		h.Leave()
	}
}

func (m *mux) closes(s *stream) {
	m.mu.Lock()
	delete(m.tunnels, s)
	m.mu.Unlock()
}

// multiplex speaks HTTP/2 until the connection ends. ahead is what has been read of it.
func (c *conn) multiplex(ahead []byte) {
	p := c.server.plan.Load() // plain numbers of the moment
	m := &mux{}
	m.v = h2.NewServer(c.nc, h2.Settings{
		HeaderBytes: p.Limits.HeaderBytes, Header: p.Timeouts.Header, Idle: p.Timeouts.Idle, WriteIdle: p.Timeouts.BodyIdle,
		Tunnels: true, Malformed: c.server.malformed, Refused: c.server.denied, Calmed: c.server.calmed,
	}, c.stream)
	c.mu.Lock()
	c.mux = m
	words := c.to(multiplexed)
	c.mu.Unlock()
	switch {
	case words&cutOff != 0:
		m.v.Abort(errDraining)
	case words&told != 0:
		_ = c.resume() // reads were hastened, and there is an orderly way now
		m.leave()
	}
	if err := m.v.Serve(ahead); err != nil {
		c.server.log.Debug().Err(err).Stringer("peer", c.peer).Msg("HTTP/2 connection ended")
	}
}

// stream serves one request of an HTTP/2 connection, in a goroutine of its own.
func (c *conn) stream(s *h2.Stream) {
	p := c.server.pin()
	x := exchange.Acquire()
	pinned := true
	defer func() {
		if r := recover(); r != nil {
			c.server.log.Error().Interface("panic", r).Bytes("stack", debug.Stack()).Msg("panic on a stream")
			s.Abort()
		}
		if pinned {
			p.Unpin()
		}
	}()
	x.Record.Start = s.Began()
	x.WriteIdle = p.Timeouts.BodyIdle
	x.Client = c.client()
	err := s.Begin(x, &p.Limits, p.Timeouts.BodyIdle)
	d := streams.Get().(*stream)
	*d = stream{Stream: s, c: c, x: x, upgrade: x.Request.Upgrade}
	x.Down = d
	d.pace(p.MinRate)
	c.count(p)
	if err == nil && c.server.memory.scarce.Load() && !c.probe(x) {
		err = errScarce
	}
	if err != nil {
		proxy.Refuse(p, x, err)
	} else {
		pinned = !proxy.Serve(p, c.from.spec.Load(), x)
	}
	x.Settle()
	if d.tunnel {
		c.mux.closes(d)
		c.server.tunnels.Add(-1)
	}
	exchange.Release(x)
	*d = stream{}
	streams.Put(d)
}

// count ends the connection, in an orderly way, when it has carried as many requests as it may, or memory is scarce.
func (c *conn) count(p *plan.Plan) {
	served := c.mux.served.Add(1)
	if most := int64(c.most(p)); most > 0 && served >= most || c.server.memory.scarce.Load() {
		c.mux.leave()
	}
}

// stream is an h2.Stream as the exchange's Downstream.
type stream struct {
	*h2.Stream
	c       *conn
	x       *exchange.Exchange
	upgrade bool // it asked for one (RFC 8441)
	tunnel  bool

	reads, writes netio.Pace
}

// pace makes the client keep the least rate: with the body, unless that is a stream of messages, and with the answer.
func (s *stream) pace(rate int64) {
	if rate <= 0 {
		return
	}
	s.writes.Writes(rate)
	if b := &s.x.Request.Body; !b.Empty() && !isGRPC(s.x.Request.Header.Get("content-type")) {
		s.reads.Reads(rate)
		b.Init(b.Length, s)
	}
}

// Read is exchange.Source's.
func (s *stream) Read(p []byte) (n int, err error) {
	if !s.reads.On() {
		return s.Body().Read(p)
	}
	began := clock.Nano()
	n, err = s.Body().Read(p)
	if slow := s.reads.Waited(began, n); slow != nil && err == nil {
		return 0, wire.Blame(wire.FromClient, slow)
	}
	return n, err
}

// Whole is exchange.Source's.
func (s *stream) Whole() bool { return s.Body().Whole() }

// WriteBody is exchange.Downstream's.
func (s *stream) WriteBody(p []byte, flush bool) error {
	if !s.writes.On() {
		return s.Stream.WriteBody(p, flush)
	}
	began := clock.Nano()
	if err := s.Stream.WriteBody(p, flush); err != nil {
		return err
	}
	if slow := s.writes.Waited(began, len(p)); slow != nil {
		return wire.Blame(wire.FromClient, slow)
	}
	return nil
}

var streams = sync.Pool{New: func() any { return &stream{} }}

// WriteHead is exchange.Downstream's.
func (s *stream) WriteHead(x *exchange.Exchange, length int64) error {
	if x.Response.Status == 101 && !s.upgrade {
		return errSwitch
	}
	if err := x.Begin(); err != nil {
		return err
	}
	s.reads.End() // who is answered already may send as it likes
	return s.Stream.WriteHead(x, length)
}

// Tunnel is exchange.Downstream's.
func (s *stream) Tunnel() (exchange.Pipe, []byte, error) {
	pipe, ahead, err := s.Stream.Tunnel()
	if err == nil {
		s.tunnel = true
		s.c.server.tunnels.Add(1)
		s.c.mux.opens(s, s.x.Handle())
	}
	return pipe, ahead, err
}

// begins2 serves a connection that begins with head as HTTP/2 if that is what it is and may be.
func (c *conn) begins2(buf []byte, n, end int) bool {
	if c.secure || c.served > 0 || !c.from.spec.Load().H2C || string(buf[:end]) != priorKnowledge {
		return false
	}
	c.multiplex(buf[:n])
	pool.Release(buf)
	return true
}
