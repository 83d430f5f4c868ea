package netio

import "time"

// errHush is what a Conn under TLS gives instead of reading. It is temporary, or the TLS layer would give it for ever.
var errHush error = hush{}

type hush struct{}

func (hush) Error() string   { return "nothing read ahead" }
func (hush) Timeout() bool   { return true }
func (hush) Temporary() bool { return true }

// pipeWait is how long a connection without a file descriptor is listened to: a passed deadline would hide what is there.
const pipeWait = time.Millisecond

// Quiet reports whether an idle connection may be used again: open, and not one byte to read. A byte that nobody asked
// for would be taken for the next answer (response-queue poisoning; RFC 9112 §9.2).
func (c *Conn) Quiet() bool {
	if c.under != nil {
		return c.under.Quiet() && c.holdsNothing()
	}
	if quiet, ok := c.peek(); ok {
		return quiet
	}
	c.readBy = 0
	_ = c.nc.SetReadDeadline(time.Now().Add(pipeWait))
	n, err := c.nc.Read(c.peekByte[:])
	c.arm(c.nc.SetReadDeadline, 0)
	return n == 0 && IsTimeout(err) && !c.aborted.Load() && !c.ended.Load()
}

// holdsNothing reports whether the TLS layer has no bytes that it has read ahead, and has not seen the end.
func (c *Conn) holdsNothing() bool {
	c.under.hushed = true
	n, err := c.nc.Read(c.peekByte[:])
	c.under.hushed = false
	return n == 0 && err == errHush
}
