package upstream

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/h2"
	"github.com/weirproxy/weir/core/netio"
)

// Protocol is the version of HTTP that an endpoint is spoken to in.
type Protocol byte

// The protocols. HTTP2 is chosen by ALPN over TLS and known beforehand without (RFC 9113 §3.2, §3.3): an endpoint that does
// not speak it can't be connected to.
const (
	HTTP1 Protocol = 0
	HTTP2 Protocol = 2
)

// pingAfter is how long a connection of HTTP/2 may be silent before the peer is asked whether it is alive: many requests
// hang on it, and a peer whose machine is gone says nothing.
const pingAfter = 15 * time.Second

// streams are an endpoint's connections of HTTP/2. A request goes to the one with the fewest streams; another is made when
// the peers take no more on those that there are.
type streams struct {
	mu      sync.Mutex
	all     []*h2conn // that may take streams
	dialing *attempt  // nil: none
	closed  bool
}

type h2conn struct {
	*h2.Client
	carried atomic.Int64 // streams opened so far
	own     bool         // of one exchange
}

// attempt is a connection being made for one request, and whoever comes meanwhile.
type attempt struct {
	done chan struct{}
	err  error // when done; nil also if the one that it was made for went away
}

// open gives a stream for x. Who makes a connection is the first to use it; the others wait until the peer has said how many
// streams it takes, or they would all go to a connection that refuses most of them.
func (e *Endpoint) open(x *exchange.Exchange) (leg, error) {
	if e.transport.ProxyProtocol != ProxyOff {
		c, err := e.newH2(x)
		if err != nil {
			return nil, err
		}
		c.own = true
		return e.streamOf(c)
	}
	for {
		s, young := e.openOnBest()
		if s != nil {
			return s, nil
		}
		if young != nil {
			if !e.await(x, young.Greeted()) {
				return nil, errAwaited
			}
			continue
		}
		e.h2.mu.Lock()
		a := e.h2.dialing
		if a == nil {
			a = &attempt{done: make(chan struct{})}
			e.h2.dialing = a
			e.h2.mu.Unlock()
			return e.openOnNew(x, a)
		}
		e.h2.mu.Unlock()
		if !e.await(x, a.done) {
			return nil, errAwaited
		}
		if a.err != nil {
			return nil, a.err
		}
	}
}

// openOnBest opens a stream on the connection with the fewest that takes one. Without such a one it gives a connection that
// may be one soon, if there is any.
func (e *Endpoint) openOnBest() (s leg, young *h2conn) {
	e.h2.mu.Lock()
	defer e.h2.mu.Unlock()
	all := e.h2.all
	for full := 0; full < len(all); full++ { // those before it take no more
		best := full
		for i := full + 1; i < len(all); i++ {
			if all[i].Streams() < all[best].Streams() {
				best = i
			}
		}
		all[full], all[best] = all[best], all[full]
		c := all[full]
		select {
		case <-c.Greeted():
		default:
			young = c
			continue
		}
		if s, err := e.streamOf(c); err == nil {
			return s, nil
		}
	}
	return nil, young
}

// openOnNew connects for x, and for all who wait for a, and opens x's stream first.
func (e *Endpoint) openOnNew(x *exchange.Exchange, a *attempt) (s leg, err error) {
	var c *h2conn
	defer func() {
		e.h2.mu.Lock()
		e.h2.dialing = nil
		closed := e.h2.closed
		if c != nil && !closed {
			e.h2.all = append(e.h2.all, c)
		}
		e.h2.mu.Unlock()
		close(a.done)
		if c != nil && closed {
			c.Client.Close() // once x's stream has ended
		}
	}()
	if c, err = e.newH2(x); err == nil {
		s, err = e.streamOf(c)
	}
	if x.Cause() == nil {
		a.err = err
	}
	return s, err
}

// streamOf opens a stream on c.
func (e *Endpoint) streamOf(c *h2conn) (leg, error) {
	k, err := c.Open()
	if err != nil {
		return nil, err
	}
	s := legs.Get().(*stream)
	s.Call, s.link, s.ep, s.conn, s.first = k, k.Link(), e, c, c.carried.Add(1) == 1
	return s, nil
}

func (e *Endpoint) newH2(x *exchange.Exchange) (*h2conn, error) {
	nc, err := e.dial(x)
	if err != nil {
		return nil, err
	}
	e.opened.Add(1)
	t := &e.transport
	return &h2conn{Client: h2.NewClient(netio.New(nc), h2.Settings{
		HeaderBytes: t.HeaderBytes, Header: t.Connect, WriteIdle: t.Idle, Ping: pingAfter,
	})}, nil
}

var errAwaited = fault.New(fault.ConnectFailed, "waited in vain for a connection")

// await waits until c is closed, for as long as a connection may take. It reports false if that was not enough, or x was
// cancelled.
func (e *Endpoint) await(x *exchange.Exchange, c <-chan struct{}) bool {
	s := newSleeper()
	if e.transport.Connect > 0 {
		s.timer.Reset(e.transport.Connect)
		defer s.timer.Stop()
	}
	x.Bind(exchange.UpstreamLeg, &s)
	defer x.Bind(exchange.UpstreamLeg, nil)
	select {
	case <-c:
		return true
	case <-s.woken:
	case <-s.timer.C:
	}
	return false
}

// ended hears that a stream of c has ended: c may have carried as many as it should, or be one too many.
func (e *Endpoint) ended(c *h2conn) {
	most := int64(e.transport.MaxRequests)
	spent := c.own || most > 0 && c.carried.Load() >= most || !c.Usable()
	if !spent && (e.transport.MaxIdle > 0 || c.Streams() > 0) {
		return
	}
	e.h2.mu.Lock()
	if i := slices.Index(e.h2.all, c); i >= 0 {
		e.h2.remove(i)
	}
	e.h2.mu.Unlock()
	c.Client.Close()
}

// remove takes the connection at i out, under the lock.
func (s *streams) remove(i int) {
	last := len(s.all) - 1
	s.all[i] = s.all[last]
	s.all[last] = nil
	s.all = s.all[:last]
}

// sweep closes connections that have carried nothing since oldest, and lets go of those that have ended.
func (s *streams) sweep(oldest int64) {
	var old []*h2conn
	s.mu.Lock()
	for i := 0; i < len(s.all); {
		c := s.all[i]
		if since := c.IdleSince(); c.Usable() && (since == 0 || since > oldest) {
			i++
			continue
		}
		old = append(old, c)
		s.remove(i)
	}
	s.mu.Unlock()
	for _, c := range old {
		c.Client.Close()
	}
}

func (s *streams) close() {
	s.mu.Lock()
	all := s.all
	s.all, s.closed = nil, true
	s.mu.Unlock()
	for _, c := range all {
		c.Client.Close()
	}
}
