package server

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

// phase is what a connection's goroutine is at. It alone moves on, in this order:
//
//	phase       the goroutine …                                           goes on to
//	fresh       shakes hands over TLS, or waits for a first byte          reading, multiplexed, ended
//	waiting     waits for the first byte of another request               reading, ended
//	reading     reads a head                                              serving, ended
//	serving     has an exchange served                                    waiting, tunnelling, lingering, ended
//	tunnelling  passes bytes both ways after a 101                        ended
//	lingering   lets the client read an answer before it closes           ended
//	multiplexed speaks HTTP/2: its streams have lives of their own        ended
//	ended
//
// Two words reach a connection from outside, whatever its phase. Each comes once and is never taken back:
//
//	told to leave   fresh: a first request has freshGrace to come. waiting: its read ends, and it with it, unless bytes have
//	                come meanwhile. reading, serving: the answer says Connection: close. tunnelling: the tunnel says
//	                goodbye. multiplexed: GOAWAY. lingering: nothing, it ends by itself.
//	severed         reads and writes fail from now on, and the exchange is cancelled.
//
// Phase and words are one atomic number, so that a request costs three additions to it. What a word does to the socket it
// does under mu: who moves on and finds the word said waits there until it has been heard.
type phase uint32

const (
	fresh phase = iota
	waiting
	reading
	serving
	tunnelling
	lingering
	multiplexed
	ended

	phases phase = 1<<4 - 1
	told   phase = 1 << 4
	cutOff phase = 1 << 5
)

// freshGrace is how long a client that has just connected has for its first request when the node drains: its connection
// was accepted, so the request is on its way.
const freshGrace = 500 * time.Millisecond

// life is where a connection is. Its methods belong to the connection's goroutine but where they say otherwise.
type life struct {
	word atomic.Uint32

	mu     sync.Mutex
	handle exchange.Handle // of the last exchange begun
	since  int64           // clock.Nano when it began
}

// now gives the phase and the words said. Any goroutine.
func (l *life) now() phase { return phase(l.word.Load()) }

// is reports whether the phase is p. Any goroutine.
func (l *life) is(p phase) bool { return l.now()&phases == p }

// to moves on to p, and gives the words said until now.
func (l *life) to(p phase) phase {
	was := l.word.Load() & uint32(phases)
	return phase(l.word.Add(uint32(p)-was)) &^ phases
}

// begins notes the exchange that is being served from now on.
func (l *life) begins(h exchange.Handle, since int64) {
	l.mu.Lock()
	l.handle, l.since = h, since
	l.mu.Unlock()
	if l.to(serving)&cutOff != 0 {
		h.Cancel(errDraining)
	}
}

// longer gives the exchange that has been served since before a time, ok false if there is none. Any goroutine.
func (l *life) longer(before int64) (h exchange.Handle, ok bool) {
	if !l.is(serving) {
		return h, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.handle, l.since < before
}

// leave tells the connection to leave. Any goroutine.
func (c *conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := phase(c.word.Or(uint32(told)))
	if was&told != 0 {
		return
	}
	switch was & phases {
	case fresh:
		c.nc.Hasten(freshGrace)
	case waiting:
		c.nc.AbortRead()
	case tunnelling:
		c.handle.Leave()
	case multiplexed:
		c.mux.leave()
	}
}

// cut ends the connection whatever it does, or is about to do. Any goroutine.
func (c *conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.word.Or(uint32(cutOff))
	c.handle.Cancel(errDraining)
	if c.mux != nil {
		c.mux.v.Abort(errDraining)
	}
	c.nc.Abort()
}

// leaving reports whether the connection should end after the answer under way.
func (c *conn) leaving() bool { return c.now()&told != 0 }

// resume makes the connection usable again after its reads were ended for something that has passed. It reports false if
// it was severed.
func (c *conn) resume() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now()&cutOff != 0 {
		return false
	}
	c.nc.Resume()
	return true
}

var errDraining = fault.New(fault.Draining, "cut at the end of the drain")
