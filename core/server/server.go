// Package server is weir's shell: it listens, holds the one pointer to the plan of the moment, swaps it on reload and
// drains at the end.
package server

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/metric"
	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/socket"
)

// Server serves one plan at a time. All methods may be called concurrently; reloads wait for one another.
type Server struct {
	log      zerolog.Logger
	sockets  *socket.Set
	plan     atomic.Pointer[plan.Plan]
	draining atomic.Bool
	shared   atomic.Bool // another process has the listeners, too

	reload    sync.Mutex
	listeners map[string]*listener // by plan.Listener.Key

	mu    sync.Mutex
	conns []*conn
	empty chan struct{} // closed when the last one has left, during a drain

	open, refused atomic.Int64
	tunnels       atomic.Int64 // open
	handshakes    atomic.Int64 // that failed
	addresses     perIP
	memory        memory

	numbers atomic.Uint64 // of connections so far

	malformed, denied, calmed *metric.Counter // of HTTP/2
	stop, watched             chan struct{}   // ends the watch, and its end; nil before Listen
}

// New makes a server that serves p on sockets of the set once Listen has been called. The server owns p.
func New(p *plan.Plan, sockets *socket.Set, log zerolog.Logger) *Server {
	s := &Server{log: log, sockets: sockets, listeners: map[string]*listener{}}
	events := p.Shared.Metrics.Registry().Counters("weir_http2_events_total",
		"HTTP/2 requests that were malformed, streams beyond what is allowed, connections ended for a flood.", "event")
	s.malformed, s.denied, s.calmed = events.Acquire("malformed"), events.Acquire("refused"), events.Acquire("flood")
	s.plan.Store(p)
	return s
}

// Plan is the plan of the moment, not pinned: its plain data may be read.
func (s *Server) Plan() *plan.Plan { return s.plan.Load() }

// pin takes hold of the plan of the moment; the caller calls Unpin.
func (s *Server) pin() *plan.Plan {
	for {
		if p := s.plan.Load(); p.Pin() {
			return p
		}
	}
}

// Listen binds the plan's addresses and serves. If one can't be bound, none is.
func (s *Server) Listen() error {
	s.reload.Lock()
	defer s.reload.Unlock()
	p := s.plan.Load()
	bound, err := s.bindNew(p)
	if err != nil {
		return err
	}
	s.serve(bound)
	s.stop, s.watched = make(chan struct{}), make(chan struct{})
	go s.watch()
	return nil
}

// Swap makes p the plan of the moment. Addresses that are new are bound first; if that fails nothing has changed, and p
// stays the caller's. The old plan is closed when its last exchange has ended.
func (s *Server) Swap(p *plan.Plan) error {
	s.reload.Lock()
	defer s.reload.Unlock()
	if s.draining.Load() {
		return errors.New("draining")
	}
	bound, err := s.bindNew(p)
	if err != nil {
		return err
	}
	for i := range p.Listeners {
		if l := s.listeners[p.Listeners[i].Key]; l != nil {
			l.spec.Store(&p.Listeners[i])
		}
	}
	old := s.plan.Swap(p)
	s.serve(bound)
	s.closeUnnamed(p)
	old.Retire()
	return nil
}

// bindNew binds the addresses of p that are not bound yet, all or none.
func (s *Server) bindNew(p *plan.Plan) ([]*listener, error) {
	var bound []*listener
	for i := range p.Listeners {
		spec := &p.Listeners[i]
		if s.listeners[spec.Key] != nil {
			continue
		}
		ln, err := s.sockets.Listen(spec.Network, spec.Target)
		if err != nil {
			for _, l := range bound {
				_ = l.ln.Close()
			}
			return nil, spec.Pos.Errorf("listen on %s: %v", spec.Address, socket.Reason(err))
		}
		bound = append(bound, s.newListener(spec, ln))
	}
	return bound, nil
}

func (s *Server) serve(bound []*listener) {
	for _, l := range bound {
		s.listeners[l.spec.Load().Key] = l
		go l.accept()
	}
}

func (s *Server) closeUnnamed(p *plan.Plan) {
	for key, l := range s.listeners {
		if !slices.ContainsFunc(p.Listeners, func(o plan.Listener) bool { return o.Key == key }) {
			s.close(key, l)
		}
	}
}

// close ends a listener and those of its connections that are idle.
func (s *Server) close(key string, l *listener) {
	l.close()
	delete(s.listeners, key)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		if c.from == l {
			c.leave()
		}
	}
}

// Addresses gives where the server listens, by plan.Listener.Key.
func (s *Server) Addresses() map[string]net.Addr {
	s.reload.Lock()
	defer s.reload.Unlock()
	all := map[string]net.Addr{}
	for key, l := range s.listeners {
		all[key] = l.ln.Addr()
	}
	return all
}

// HandedOver says that another process accepts from the same sockets: closing them loses nobody.
func (s *Server) HandedOver() { s.shared.Store(true) }

// Bound lists the listeners and what they were opened by, for a process that takes them over.
func (s *Server) Bound() []socket.Bound {
	s.reload.Lock()
	defer s.reload.Unlock()
	var all []socket.Bound
	for _, l := range s.listeners {
		spec := l.spec.Load()
		all = append(all, socket.Bound{Network: spec.Network, Target: spec.Target, Listener: l.ln})
	}
	return all
}

// Counts are what a server counts of its clients' connections.
type Counts struct {
	Open, Tunnels int64 // connections; those of them that are WebSocket tunnels
	Scarce        bool  // memory is: new work is refused

	// Of those that were not served: too many, too many of one address, memory scarce, TLS that failed. They only grow.
	Refused, RefusedAddress, Shed, Handshakes int64
}

// Counts gives what is and has been.
func (s *Server) Counts() Counts {
	return Counts{
		Open: s.open.Load(), Tunnels: s.tunnels.Load(), Scarce: s.memory.scarce.Load(), Refused: s.refused.Load(),
		RefusedAddress: s.addresses.refusals(), Shed: s.memory.shed.Load(), Handshakes: s.handshakes.Load(),
	}
}

// admit counts a connection and serves it, or closes it when there are too many.
func (s *Server) admit(l *listener, nc net.Conn) {
	if s.memory.scarce.Load() {
		s.memory.shed.Add(1)
		_ = nc.Close()
		return
	}
	p := s.plan.Load()
	if n := s.open.Add(1); p.Connections > 0 && n > p.Connections {
		s.open.Add(-1)
		s.refused.Add(1)
		_ = nc.Close()
		return
	}
	c := l.start(nc)
	most := p.PerIP
	if c.announced() {
		most = 0 // the peer speaks for many; each of them is counted once it is known
	}
	if !c.counts(c.peer.Addr(), most) {
		s.open.Add(-1)
		_ = nc.Close()
		return
	}
	s.mu.Lock()
	c.index = len(s.conns)
	s.conns = append(s.conns, c)
	s.mu.Unlock()
	go func() {
		if err := c.handshake(); err != nil {
			_ = c.nc.Close()
			s.left(c)
			return
		}
		if !c.secure {
			c.serve()
			return
		}
		go c.serve() // on a stack of its own: that of a handshake is large, and stays as large while the connection idles
	}()
}

// counts makes the connection one of the address's, unless that has most already. Of a unix socket there is none. Whoever
// learns later, from a proxy in front, who the client is, calls it again.
func (c *conn) counts(a netip.Addr, most int) bool {
	k := keyOf(a)
	if c.from.spec.Load().Network == "unix" && a == c.peer.Addr() {
		k = ipKey{}
	}
	if !c.server.addresses.enter(k, most) {
		return false
	}
	c.server.addresses.leave(c.counted)
	c.counted = k
	return true
}

// left forgets a connection that has ended.
func (s *Server) left(c *conn) {
	if c.answer.tunnelled {
		s.tunnels.Add(-1)
	}
	s.addresses.leave(c.counted)
	s.mu.Lock()
	last := len(s.conns) - 1
	s.conns[c.index] = s.conns[last]
	s.conns[c.index].index = c.index
	s.conns[last] = nil
	s.conns = s.conns[:last]
	if len(s.conns) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
	s.mu.Unlock()
	s.open.Add(-1)
}

// Drain ends the server: no connection is accepted any more, idle ones are closed, busy ones end after their answer, those
// of HTTP/2 after their streams, WebSockets are told goodbye, and what is left after wait is cut. It reports how many were
// cut. The plan is retired. A second Drain waits for the first and does nothing.
func (s *Server) Drain(wait time.Duration) (cut int) {
	s.reload.Lock()
	defer s.reload.Unlock()
	if s.draining.Swap(true) {
		return 0
	}
	var closing sync.WaitGroup
	for key, l := range s.listeners {
		closing.Go(l.close)
		delete(s.listeners, key)
	}
	closing.Wait()
	gone := s.leaveAll()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-gone:
	case <-timer.C:
		cut = s.cutAll()
		<-gone
	}
	if s.stop != nil {
		close(s.stop)
		<-s.watched
	}
	s.plan.Load().Retire()
	return cut
}

// leaveAll ends the idle connections, and gives what is closed when all have ended.
func (s *Server) leaveAll() <-chan struct{} {
	gone := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) == 0 {
		close(gone)
		return gone
	}
	s.empty = gone
	for _, c := range s.conns {
		c.leave()
	}
	return gone
}

func (s *Server) cutAll() (cut int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.cut()
	}
	return len(s.conns)
}
