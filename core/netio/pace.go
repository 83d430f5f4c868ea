package netio

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/clock"
)

// ErrSlow is what a read or a write gives when the peer has been slower than its pace for too long. It is a timeout.
var ErrSlow error = slow{}

type slow struct{}

func (slow) Error() string        { return "peer too slow" }
func (slow) Timeout() bool        { return true }
func (slow) Temporary() bool      { return true }
func (slow) Is(target error) bool { return target == os.ErrDeadlineExceeded }

// Grace is how long a peer may keep us waiting in all before its pace counts.
const Grace = 10 * time.Second

// pause is how long a peer that has sent enough before may keep us waiting for more: a telephone in a tunnel, a program
// that packs what it sends. It is what most servers allow between two reads.
const pause = time.Minute

// pace bounds how slowly a peer may send, or take. It is a credit of waiting time: Grace at first, spent while a read or a
// write is blocked, earned by bytes. What a peer did fast long ago so allows it no more than the most it can have.
type pace struct {
	rate atomic.Int64 // bytes a second; 0 = off
	left time.Duration
	most time.Duration
}

func (p *pace) set(rate int64, most time.Duration) {
	p.left, p.most = Grace, most
	p.rate.Store(rate)
}

func (p *pace) on() bool { return p.rate.Load() > 0 }

// within gives how long may be waited of d, where 0 is for ever.
func (p *pace) within(d time.Duration) time.Duration {
	if !p.on() || d > 0 && d < p.left {
		return d
	}
	return max(p.left, 1)
}

// waited spends what was waited, and earns what has come of it.
func (p *pace) waited(ns int64, bytes int) {
	if rate := p.rate.Load(); rate > 0 {
		p.left += time.Duration(int64(bytes)*int64(time.Second)/rate - ns)
		p.left = min(p.left, p.most)
	}
}

// Pace is the pace of one of several streams of a connection, whose waits are measured by who reads or writes it. The zero
// Pace is off. End may be called by any goroutine.
type Pace struct{ pace }

// Reads and Writes begin it; see [Conn.PaceReads] and [Conn.PaceWrites].
func (p *Pace) Reads(rate int64)  { p.set(rate, pause) }
func (p *Pace) Writes(rate int64) { p.set(rate, Grace) }

// On reports whether there is a pace to keep.
func (p *Pace) On() bool { return p.on() }

// End takes it back.
func (p *Pace) End() { p.rate.Store(0) }

// Waited notes what came, or was taken, of a wait since clock.Nano was since. It gives ErrSlow when the credit is spent.
func (p *Pace) Waited(since int64, bytes int) error {
	if p.waited(clock.Nano()-since, bytes); p.on() && p.left <= 0 {
		return ErrSlow
	}
	return nil
}

// PaceReads makes reads give ErrSlow when the peer has sent less than rate bytes a second, but for Grace, of the time that
// they waited for it, and for a pause of a minute at most that it has earned. 0 takes it back. It is for who reads; EndPace
// may be called by any goroutine.
func (c *Conn) PaceReads(rate int64) { c.lowest().inPace.set(rate, pause) }

// EndPace takes PaceReads back. A read that is blocked goes on for as long as ReadBy allows.
func (c *Conn) EndPace() { c.lowest().inPace.rate.Store(0) }

// PaceWrites is PaceReads for writes: only while one is blocked does time count, so a peer that takes all there is has no
// pace to keep, however little that is. It is for who writes.
func (c *Conn) PaceWrites(rate int64) { c.lowest().outPace.set(rate, Grace) }

// lowest is the Conn that has the socket.
func (c *Conn) lowest() *Conn {
	if c.under != nil {
		return c.under
	}
	return c
}

// gave notes bytes that were read, perhaps after a wait.
func (c *Conn) gave(n int) {
	if !c.inPace.on() {
		return
	}
	ns := int64(0)
	if c.in.blocked != 0 {
		ns, c.in.blocked = clock.Nano()-c.in.blocked, 0
	}
	c.inPace.waited(ns, n)
}

// readOn says whether a read whose deadline has passed may wait on: its pace, for which it was early, has been ended. Else
// err is set to why not.
func (c *Conn) readOn(err *error) bool {
	if c.in.blocked == 0 || c.aborted.Load() || c.ended.Load() {
		return false
	}
	now := clock.Nano()
	c.inPace.waited(now-c.in.blocked, 0)
	c.in.blocked = 0
	if c.inPace.on() && c.inPace.left <= 0 {
		*err = ErrSlow
		return false
	}
	left := c.readIdle - time.Duration(now-c.readAt)
	if c.readIdle > 0 && left <= 0 {
		return false
	}
	if c.readIdle == 0 {
		left = 0
	}
	moved(&c.readBy, now, c.inPace.within(left))
	c.arm(c.nc.SetReadDeadline, c.readBy)
	return true
}

// writeOn says whether a write whose deadline has passed may wait on: the peer has taken something meanwhile, or its pace
// allows more. taken is what went out since the write was blocked, as far as that is known. Else err is set to why not.
func (c *Conn) writeOn(taken int, err *error) bool {
	if c.aborted.Load() {
		return false
	}
	now := clock.Nano()
	if c.out.blocked != 0 {
		c.outPace.waited(now-c.out.blocked, taken)
		c.out.blocked = now
	}
	if c.outPace.on() && c.outPace.left <= 0 {
		*err = ErrSlow
		return false
	}
	if taken > 0 {
		c.writeAt = now
	}
	left := c.writeIdle - time.Duration(now-c.writeAt)
	if c.writeIdle > 0 && left <= 0 {
		return false
	}
	if c.writeIdle == 0 {
		left = 0
	}
	moved(&c.writeBy, now, c.outPace.within(left))
	c.arm(c.nc.SetWriteDeadline, c.writeBy)
	return true
}

// IsTimeout reports whether err says that a deadline of ReadBy or WriteBy has passed, or that the peer was slow.
func IsTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
