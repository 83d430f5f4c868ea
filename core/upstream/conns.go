package upstream

import (
	"math"
	"sync"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/netio"
)

// conns are an endpoint's idle connections of HTTP/1.1.
type conns struct {
	mu     sync.Mutex
	idle   []*conn // the one used last at the end
	closed bool
}

// acquire gives a leg for x's request: a stream, or an idle connection that is still quiet, or a new one. fresh asks for a
// new connection of HTTP/1.1; one of HTTP/2 that is dead is known to be.
func (e *Endpoint) acquire(x *exchange.Exchange, fresh bool) (leg, error) {
	if e.transport.Protocol == HTTP2 {
		return e.open(x)
	}
	var c *conn
	if !fresh {
		c = e.pop()
	}
	if c == nil {
		nc, err := e.dial(x)
		if err != nil {
			return nil, err
		}
		e.opened.Add(1)
		c = &conn{Conn: netio.New(nc), ep: e, last: e.transport.ProxyProtocol != ProxyOff}
	}
	c.begin()
	return c, nil
}

func (e *Endpoint) pop() *conn {
	oldest := e.oldest(clock.Nano())
	for {
		e.conns.mu.Lock()
		n := len(e.conns.idle)
		if n == 0 {
			e.conns.mu.Unlock()
			return nil
		}
		c := e.conns.idle[n-1]
		e.conns.idle[n-1] = nil
		e.conns.idle = e.conns.idle[:n-1]
		e.conns.mu.Unlock()
		if c.since > oldest && c.Quiet() {
			c.used = true
			return c
		}
		_ = c.Close()
	}
}

// oldest is since when a connection may have been idle.
func (e *Endpoint) oldest(now int64) int64 {
	if e.transport.IdleTimeout == 0 {
		return math.MinInt64
	}
	return now - int64(e.transport.IdleTimeout)
}

// release takes a connection back on which nothing is under way.
func (e *Endpoint) release(c *conn) {
	c.since = clock.Nano()
	e.conns.mu.Lock()
	if e.conns.closed || len(e.conns.idle) >= e.transport.MaxIdle {
		e.conns.mu.Unlock()
		_ = c.Close()
		return
	}
	e.conns.idle = append(e.conns.idle, c)
	e.conns.mu.Unlock()
}

// sweep closes what has been idle for too long.
func (e *Endpoint) sweep(now int64) {
	oldest := e.oldest(now)
	e.h2.sweep(oldest)
	e.conns.mu.Lock()
	n := 0
	for n < len(e.conns.idle) && e.conns.idle[n].since <= oldest {
		n++
	}
	old := append([]*conn(nil), e.conns.idle[:n]...)
	e.conns.idle = append(e.conns.idle[:0], e.conns.idle[n:]...)
	e.conns.mu.Unlock()
	for _, c := range old {
		_ = c.Close()
	}
}

func (e *Endpoint) close() {
	e.h2.close()
	e.conns.mu.Lock()
	idle := e.conns.idle
	e.conns.idle, e.conns.closed = nil, true
	e.conns.mu.Unlock()
	for _, c := range idle {
		_ = c.Close()
	}
}
