package exchange

import "github.com/weirproxy/weir/core/fault"

// Leg is one of the two connections of an exchange.
type Leg int

const (
	ClientLeg Leg = iota
	UpstreamLeg
)

// Link is what Cancel ends of a leg: a connection, or one stream of a connection that carries several. Both methods may be
// called from any goroutine, at any time.
type Link interface {
	// Abort makes blocked and later reads and writes fail with netio.ErrAborted.
	Abort()
	// AbortRead does so for reads.
	AbortRead()
}

// Handle lets other goroutines end an exchange. It may outlive it: then it does nothing.
type Handle struct {
	x   *Exchange
	gen uint64
}

// Handle makes one; only the goroutine that serves x may call this.
func (x *Exchange) Handle() Handle { return Handle{x, x.gen} }

// Cancel ends the exchange that h was made of, for the cause, from any goroutine: blocked reads and writes on both sides
// return netio.ErrAborted, later ones fail at once. Only the first cause is kept. It reports whether it came in time.
func (h Handle) Cancel(cause *fault.Fault) bool {
	x := h.x
	if x == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gen != h.gen || x.cause != nil {
		return false
	}
	x.cause = cause
	for _, c := range x.legs {
		if c != nil {
			c.Abort()
		}
	}
	return true
}

// Cancel is Handle.Cancel for the goroutine that serves x.
func (x *Exchange) Cancel(cause *fault.Fault) { x.Handle().Cancel(cause) }

// Cause is why x was cancelled; nil if it was not.
func (x *Exchange) Cause() *fault.Fault {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.cause
}

// Bind makes c what Cancel ends; nil when the exchange is done with it. If x has been cancelled already, c is aborted now.
func (x *Exchange) Bind(leg Leg, c Link) {
	x.mu.Lock()
	x.legs[leg] = c
	if x.cause != nil && c != nil {
		c.Abort()
	}
	x.mu.Unlock()
}

// AbortClientRead ends reading of the request's body; the answer can still be written.
func (x *Exchange) AbortClientRead() {
	x.mu.Lock()
	c := x.legs[ClientLeg]
	x.mu.Unlock()
	if c != nil {
		c.AbortRead()
	}
}
