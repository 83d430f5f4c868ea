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
//
// A fault.ExchangeTimeout that comes before Begin leaves writing to the client as it is: it is the one cause of which the
// client is told.
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
	for leg := range x.legs {
		x.abort(Leg(leg))
	}
	for _, l := range x.waits {
		l.Abort()
	}
	return true
}

// abort ends a leg for x.cause. x.mu is held.
func (x *Exchange) abort(leg Leg) {
	switch c := x.legs[leg]; {
	case c == nil:
	case leg == ClientLeg && !x.begun && x.cause.Kind == fault.ExchangeTimeout:
		c.AbortRead()
	default:
		c.Abort()
	}
}

// Cancel is Handle.Cancel for the goroutine that serves x.
func (x *Exchange) Cancel(cause *fault.Fault) { x.Handle().Cancel(cause) }

// Leave asks the exchange to end by itself soon: the node drains. Any goroutine; it does not wait. Only one that has called
// OnLeave does anything then.
func (h Handle) Leave() {
	if h.x == nil {
		return
	}
	h.x.mu.Lock()
	f := h.x.leave
	if h.x.gen != h.gen {
		f = nil
	}
	h.x.mu.Unlock()
	if f != nil {
		f()
	}
}

// OnLeave makes f what Handle.Leave calls, perhaps more than once and from any goroutine. It must not block, and may be
// called a last time when x is over.
func (x *Exchange) OnLeave(f func()) {
	x.mu.Lock()
	x.leave = f
	x.mu.Unlock()
}

// Begin is called by Down when the head of the answer is about to be sent: from then on Cancel ends writing to the client
// whatever the cause. An error is the cause that x was cancelled for meanwhile: this answer is not to be sent.
func (x *Exchange) Begin() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cause != nil && x.Record.Fault != x.cause.Kind { // unless the answer is about the cause
		return x.cause
	}
	x.begun, x.Sent = true, true
	return nil
}

// Settle says that the exchange is done with the client's leg: Cancel does not touch it any more. It reports whether that
// came too late: then the leg may have been aborted though nothing was wrong with it.
func (x *Exchange) Settle() (aborted bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.legs[ClientLeg] = nil
	return x.cause != nil
}

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
	if x.cause != nil {
		x.abort(leg)
	}
	x.mu.Unlock()
}

// Await makes l something else that Cancel ends, with Abort, and AbortClientRead, with AbortRead: what a filter waits for.
// Neither may block, or call x. If that has happened already it is called now. Forget is called for each Await, before x is
// released.
func (x *Exchange) Await(l Link) {
	x.mu.Lock()
	x.waits = append(x.waits, l)
	cancelled, unread := x.cause != nil, x.unread
	x.mu.Unlock()
	if cancelled {
		l.Abort()
	}
	if unread {
		l.AbortRead()
	}
}

// Forget ends an Await. After it returns l is not called any more.
func (x *Exchange) Forget(l Link) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range x.waits {
		if x.waits[i] == l {
			x.waits[i] = x.waits[len(x.waits)-1]
			x.waits[len(x.waits)-1] = nil
			x.waits = x.waits[:len(x.waits)-1]
			return
		}
	}
}

// AbortClientRead ends reading of the request's body, and what a filter that it passes waits for (Await); the answer can still be
// written.
func (x *Exchange) AbortClientRead() {
	x.mu.Lock()
	c := x.legs[ClientLeg]
	x.unread = true
	for _, l := range x.waits {
		l.AbortRead()
	}
	x.mu.Unlock()
	if c != nil {
		c.AbortRead()
	}
}
