// Package netio is a connection as weir uses it: reads and writes that cost one system call and no scheduler hand-over,
// deadlines that cost nothing while they are far, and an end that can be called from any goroutine.
package netio

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/pool"
)

// ErrAborted is what blocked and later calls give after Abort. It is temporary, or TLS would give it for ever to a reader
// that goes on after Resume.
var ErrAborted error = aborted{}

type aborted struct{}

func (aborted) Error() string   { return "connection aborted" }
func (aborted) Timeout() bool   { return true }
func (aborted) Temporary() bool { return true }

// slack is how late a deadline may fire. Within it a deadline is not set anew: on a busy connection that saves the
// timer's lock on all but 20 requests a second.
const slack = int64(50 * time.Millisecond)

var past = time.Unix(1, 0)

// Conn wraps a net.Conn. One goroutine reads and one writes at a time; Abort may be called by any.
type Conn struct {
	nc      net.Conn
	raw     syscall.RawConn // nil: nc's own Read and Write
	tls     *tls.Conn       // nc, if it is one
	under   *Conn           // what nc lies over, if nc is TLS over a Conn
	in      incoming
	out     outgoing
	cork    *cork       // of the lower Conn; nil until the first WriteAll over TLS
	aborted atomic.Bool // by Abort
	ended   atomic.Bool // by AbortRead

	// Of the lower Conn, where TLS lies between two:
	readBy, writeBy     int64         // deadlines last set, clock.Nano; 0 = none
	readAt, writeAt     int64         // since when nothing has come, or has been taken
	readIdle, writeIdle time.Duration // how long that may last; 0 = for ever
	inPace, outPace     pace

	peeker
	peekByte [1]byte
	hushed   bool // Read gives errHush
	fin      bool // Read has given io.EOF
}

// New wraps nc. A TCP or unix socket is read and written by raw system calls where the platform has them; anything else
// (TLS, pipes) by its own methods. TLS belongs between two Conns: the lower one is what tells whether the upper one is
// quiet, and how it ended. The Conn owns nc from now on.
func New(nc net.Conn) *Conn {
	c := &Conn{nc: nc}
	if t, ok := nc.(*tls.Conn); ok {
		c.tls = t
		c.under, _ = t.NetConn().(*Conn)
	}
	c.raw = rawOf(nc)
	if c.raw != nil {
		c.in.fn = c.readSome
		c.out.fn = c.writeSome
	}
	return c
}

// Net is the connection beneath, for addresses and TLS state only.
func (c *Conn) Net() net.Conn { return c.nc }

// LocalAddr, RemoteAddr and the Set…Deadline methods make a Conn a net.Conn, so that TLS can be laid over it.
func (c *Conn) LocalAddr() net.Addr                { return c.nc.LocalAddr() }
func (c *Conn) RemoteAddr() net.Addr               { return c.nc.RemoteAddr() }
func (c *Conn) SetDeadline(t time.Time) error      { return c.nc.SetDeadline(t) }
func (c *Conn) SetReadDeadline(t time.Time) error  { return c.nc.SetReadDeadline(t) }
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.nc.SetWriteDeadline(t) }

// Read reads at least one byte or gives an error, never both; io.EOF when the peer has ended its side. The end of a TLS
// connection that the peer did not announce is io.ErrUnexpectedEOF (RFC 9112 §9.8).
func (c *Conn) Read(p []byte) (int, error) {
	if c.hushed {
		return 0, errHush
	}
	if c.raw == nil || len(p) == 0 {
		return c.readPlain(p)
	}
	c.in.p, c.in.lend = p, false
	n, err := c.readRaw()
	c.in.p = nil
	return n, c.came(err)
}

// ReadPooled waits without a buffer, then reads what is there into one lent by pool of at least size bytes. The caller
// releases it, also when n is 0 and err is not nil (buf may then be nil). An idle connection so costs no buffer; a pipe,
// and any connection where there are no raw calls, waits with one.
func (c *Conn) ReadPooled(size int) (buf []byte, n int, err error) {
	if c.raw == nil {
		if c.under != nil && c.under.raw != nil {
			if buf, n, err = c.readHushed(size); err != errHush {
				return buf, n, err
			}
			if err = c.under.await(); err != nil {
				return nil, 0, c.came(err)
			}
		}
		buf = pool.Acquire(size)
		n, err = c.readPlain(buf)
		return buf, n, err
	}
	c.in.p, c.in.lend, c.in.size = nil, true, size
	n, err = c.readRaw()
	buf, c.in.p = c.in.p, nil
	return buf, n, c.came(err)
}

// readHushed reads what the TLS layer holds already; errHush if that is nothing.
func (c *Conn) readHushed(size int) (buf []byte, n int, err error) {
	buf = pool.Acquire(size)
	c.under.hushed = true
	n, err = c.readPlain(buf)
	c.under.hushed = false
	if err == errHush {
		pool.Release(buf)
		buf = nil
	}
	return buf, n, err
}

// readPlain reads by nc's own method. TLS may give the last bytes together with the end, which it then repeats.
func (c *Conn) readPlain(p []byte) (int, error) {
	for {
		c.in.blocked = 0
		if c.inPace.on() {
			c.in.blocked = clock.Nano()
		}
		n, err := c.nc.Read(p)
		if n > 0 {
			c.gave(n)
			return n, nil
		}
		if c.under != nil || !IsTimeout(err) || !c.readOn(&err) {
			return 0, c.came(err)
		}
	}
}

// came translates an error of reading.
func (c *Conn) came(err error) error {
	switch {
	case err == nil:
		return nil
	case err == io.EOF:
		c.fin = true
		if c.under != nil && c.under.fin {
			return io.ErrUnexpectedEOF
		}
		return err
	case (c.aborted.Load() || c.ended.Load()) && (errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ErrAborted)):
		return ErrAborted
	}
	return err
}

// ReadBy sets how long reads may block from now (a reading of clock.Nano): 0 is for ever. It fires up to 50 ms late. One
// that reads at a pace may be late before.
func (c *Conn) ReadBy(now int64, d time.Duration) {
	if c.under != nil {
		c.under.ReadBy(now, d)
		return
	}
	c.readAt, c.readIdle = now, d
	if moved(&c.readBy, now, c.inPace.within(d)) {
		c.arm(c.nc.SetReadDeadline, c.readBy)
	}
}

// WriteBy sets how long the peer may take nothing of what is written, from now on: a write lasts as long as it makes
// progress. 0 is for ever. It fires up to 50 ms late.
func (c *Conn) WriteBy(now int64, d time.Duration) {
	if c.under != nil {
		c.under.WriteBy(now, d)
		return
	}
	c.writeAt, c.writeIdle = now, d
	if moved(&c.writeBy, now, c.outPace.within(d)) {
		c.arm(c.nc.SetWriteDeadline, c.writeBy)
	}
}

// moved says whether the deadline must be set anew, and keeps it.
func moved(by *int64, now int64, d time.Duration) bool {
	if d <= 0 {
		was := *by
		*by = 0
		return was != 0
	}
	want := now + int64(d)
	if *by >= want && *by <= want+slack {
		return false
	}
	*by = want + slack/2
	return true
}

func (c *Conn) arm(set func(time.Time) error, by int64) {
	var t time.Time
	if by != 0 {
		t = time.Now().Add(time.Duration(by - clock.Nano()))
	}
	_ = set(t)
	// An Abort between the caller's decision and set would be undone by it.
	if c.aborted.Load() {
		_ = c.nc.SetDeadline(past)
	} else if c.ended.Load() {
		_ = c.nc.SetReadDeadline(past)
	}
}

// Abort ends blocked reads and writes of c and all later ones with ErrAborted. It does not close: the owner does.
func (c *Conn) Abort() {
	c.aborted.Store(true)
	if c.under != nil {
		c.under.Abort()
		return
	}
	_ = c.nc.SetDeadline(past)
}

// AbortRead is Abort for reads only: what is to be written still can be.
func (c *Conn) AbortRead() {
	c.ended.Store(true)
	if c.under != nil {
		c.under.AbortRead()
		return
	}
	_ = c.nc.SetReadDeadline(past)
}

// Hasten makes a read that is blocked, or about to be, late after d. Any goroutine; the one that reads calls Resume
// before it sets a deadline of its own.
func (c *Conn) Hasten(d time.Duration) { _ = c.nc.SetReadDeadline(time.Now().Add(d)) }

// Resume takes Abort, AbortRead and Hasten back: reads and writes may block again, without a deadline. It is for who reads
// and writes, and only when nobody can be about to call those. Over TLS a write that was ended is not mended by it.
func (c *Conn) Resume() {
	c.aborted.Store(false)
	c.ended.Store(false)
	if c.under != nil {
		c.under.Resume()
		return
	}
	c.readBy, c.writeBy = 0, 0
	_ = c.nc.SetDeadline(time.Time{})
}

// Aborted reports whether Abort was called.
func (c *Conn) Aborted() bool { return c.aborted.Load() }

// Interrupted reports whether Abort or AbortRead was called, and not taken back.
func (c *Conn) Interrupted() bool { return c.aborted.Load() || c.ended.Load() }

// Close closes the connection.
func (c *Conn) Close() error { return c.nc.Close() }

// CloseWrite ends our side of the stream, where the transport can.
func (c *Conn) CloseWrite() error {
	if h, ok := c.nc.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}

// Reset closes so that the peer sees an error and not a clean end, where the transport can: it marks a message that was
// cut as cut (RFC 9112 §8).
func (c *Conn) Reset() {
	nc := base(c.nc) // TLS would say goodbye first
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = nc.Close()
}

// TLS is the state of the TLS layer; ok is false on a plain connection.
func (c *Conn) TLS() (state tls.ConnectionState, ok bool) {
	if c.tls != nil {
		return c.tls.ConnectionState(), true
	}
	return state, false
}

func base(nc net.Conn) net.Conn {
	for {
		switch t := nc.(type) {
		case *tls.Conn:
			nc = t.NetConn()
		case *Conn:
			nc = t.nc
		default:
			return nc
		}
	}
}
