package h2

import (
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/pool"
)

// inbox is what has come on a stream and has not been read. The window bounds it. The reading goroutine of the connection
// fills it, the stream's reader empties it.
type inbox struct {
	bell bell

	imu     sync.Mutex // inside conn.mu, never around it
	pieces  []piece
	filling bool // the last piece is being read into
	size    int
	eof     bool     // all has come
	trailer *section // the trailer section, if there is one
	err     error    // why no more will come
	shut    bool     // nobody reads any more
}

type piece struct {
	buf  []byte // lent by pool
	r, w int
}

func (b *inbox) reset() {
	b.pieces, b.filling, b.size = b.pieces[:0], false, 0
	b.eof, b.trailer, b.err, b.shut = false, nil, nil, false
}

// room gives memory for up to n bytes to come; nil if nobody wants them. It is lent until came.
func (b *inbox) room(n int) []byte {
	b.imu.Lock()
	defer b.imu.Unlock()
	if b.shut || b.err != nil {
		return nil
	}
	last := len(b.pieces) - 1
	if last < 0 || b.pieces[last].w == len(b.pieces[last].buf) {
		size := pool.Medium
		if n <= pool.Small {
			size = pool.Small
		}
		b.pieces = append(b.pieces, piece{buf: pool.Acquire(size)})
		last++
	}
	p := &b.pieces[last]
	b.filling = true
	return p.buf[p.w:min(len(p.buf), p.w+n)]
}

// came says that n bytes have been put into what room gave, and tells how many of them nobody will read.
func (b *inbox) came(n int) (unread int) {
	b.imu.Lock()
	b.filling = false
	b.pieces[len(b.pieces)-1].w += n
	b.size += n
	if b.shut {
		unread = b.empty()
	}
	b.imu.Unlock()
	b.bell.signal()
	return unread
}

// end says that all has come.
func (b *inbox) end(trailer *section) {
	b.imu.Lock()
	b.eof, b.trailer = true, trailer
	b.imu.Unlock()
	b.bell.signal()
}

// fail says that no more will come; what has come as a whole stays.
func (b *inbox) fail(err error) {
	b.imu.Lock()
	if !b.eof && b.err == nil {
		b.err = err
	}
	b.imu.Unlock()
	b.bell.signal()
}

// pull moves what there is to p.
func (b *inbox) pull(p []byte) (n int) {
	for n < len(p) && b.size > 0 {
		f := &b.pieces[0]
		m := copy(p[n:], f.buf[f.r:f.w])
		n += m
		b.size -= m
		f.r += m
		if f.r < f.w || b.filling && len(b.pieces) == 1 {
			continue
		}
		pool.Release(f.buf)
		b.pieces = append(b.pieces[:0], b.pieces[1:]...)
	}
	return n
}

// empty throws away what there is, and tells how much it was. imu is held.
func (b *inbox) empty() (n int) {
	n, b.size = b.size, 0
	if b.filling {
		return n // came will call again
	}
	for _, p := range b.pieces {
		pool.Release(p.buf)
	}
	clear(b.pieces)
	b.pieces = b.pieces[:0]
	return n
}

// close says that nobody reads any more, and tells how much was unread.
func (b *inbox) close() (n int) {
	b.imu.Lock()
	defer b.imu.Unlock()
	b.shut = true
	releaseSection(b.trailer)
	b.trailer = nil
	return b.empty()
}

// trailerTo moves the trailer fields to h, once.
func (b *inbox) trailerTo(h *exchange.Header) {
	b.imu.Lock()
	t := b.trailer
	b.trailer = nil
	b.imu.Unlock()
	if t != nil {
		t.trailerTo(h)
		releaseSection(t)
	}
}

// whole reports whether all has come.
func (b *inbox) whole() bool {
	b.imu.Lock()
	defer b.imu.Unlock()
	return b.eof
}

// read reads body bytes, waiting for idle at most (0: for ever). io.EOF comes when END_STREAM has.
func (s *stream) read(p []byte, idle time.Duration) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if s.aborted.Load() || s.hushed.Load() {
			return 0, netio.ErrAborted
		}
		s.imu.Lock()
		n := s.pull(p)
		s.imu.Unlock()
		if n > 0 {
			s.giveBack(n)
			return n, nil
		}
		if err := s.await(idle); err == os.ErrDeadlineExceeded {
			return 0, s.kind.late
		} else if err != nil {
			return 0, err
		}
	}
}

// await waits until there is something to read; else it says why there is nothing.
func (s *stream) await(most time.Duration) error {
	by := deadline(clock.Nano(), most)
	for {
		if s.aborted.Load() || s.hushed.Load() {
			return netio.ErrAborted
		}
		s.imu.Lock()
		some, eof, err := s.size > 0, s.eof, s.err
		s.imu.Unlock()
		switch {
		case some:
			return nil
		case eof:
			return io.EOF
		case err != nil:
			return err
		}
		if !s.bell.wait(by) {
			return os.ErrDeadlineExceeded
		}
	}
}

// giveBack lets the peer send as much again as has been read, in steps: a WINDOW_UPDATE for each read would be a flood.
func (s *stream) giveBack(n int) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.owed += int64(n)
	update := false
	if !s.heard && s.owed >= int64(c.set.Window)/2 && c.streams[s.id] == s {
		_ = c.fr.WriteWindowUpdate(s.id, uint32(s.owed))
		s.recv += s.owed
		s.owed = 0
		update = true
	}
	if c.refund(n) || update {
		c.kick()
	}
}

// refund is giveBack for the connection, and reports whether it has written anything. mu is held.
func (c *conn) refund(n int) bool {
	c.owed += int64(n)
	if c.owed < int64(c.set.ConnWindow)/4 || c.err != nil {
		return false
	}
	_ = c.fr.WriteWindowUpdate(0, uint32(c.owed))
	c.recv += c.owed
	c.owed = 0
	return true
}

// data takes a DATA frame, whose payload is read to where it will be read from.
func (c *conn) data(fh http2.FrameHeader) error {
	if fh.StreamID == 0 {
		return &Error{Code: http2.ErrCodeProtocol, Text: "DATA on stream 0"}
	}
	n := int(fh.Length)
	pad := 0
	if fh.Flags.Has(http2.FlagDataPadded) {
		var b [1]byte
		if n == 0 {
			return &Error{Code: http2.ErrCodeFrameSize, Text: "frame too short"}
		}
		if err := c.in.full(b[:]); err != nil {
			return c.fault(err)
		}
		pad = int(b[0])
		if n--; pad > n {
			return &Error{Code: http2.ErrCodeProtocol, Text: "padding longer than its frame"}
		}
		n -= pad
	}
	extra := int(fh.Length) - n
	end := fh.Flags.Has(http2.FlagDataEndStream)
	s, code, err := c.admit(fh, n, end)
	if err != nil {
		return err
	}
	if s == nil {
		if err := c.throw(int(fh.Length), n+pad); err != nil {
			return err
		}
		if code != 0 {
			return c.refuse(fh.StreamID, code)
		}
		return nil
	}
	defer func() {
		c.mu.Lock()
		s.release()
		c.mu.Unlock()
	}()
	for n > 0 {
		p := s.room(n)
		if p == nil { // its reader has gone meanwhile
			if err := c.throw(n, n); err != nil {
				return err
			}
			break
		}
		if err := c.in.full(p); err != nil {
			s.came(0)
			return c.fault(err)
		}
		n -= len(p)
		if unread := s.came(len(p)); unread > 0 {
			c.mu.Lock()
			c.refund(unread)
			c.mu.Unlock()
		}
	}
	if extra > 0 {
		if err := c.in.discard(pad); err != nil {
			return c.fault(err)
		}
		s.giveBack(extra) // nobody will read it
	}
	if end {
		s.end(nil)
		c.mu.Lock()
		s.ended()
		c.mu.Unlock()
	}
	return nil
}

// admit accounts for a DATA frame with n bytes of body: s is nil if they are nobody's, code then says how the stream is to be
// reset, if at all. Else s is held until released.
func (c *conn) admit(fh http2.FrameHeader, n int, end bool) (s *stream, code http2.ErrCode, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recv -= int64(fh.Length); c.recv < 0 {
		return nil, 0, &Error{Code: http2.ErrCodeFlowControl, Text: "more than the window of the connection"}
	}
	if n == 0 && !end {
		if err := c.spendLocked(1); err != nil {
			return nil, 0, err
		}
	} else if n >= 512 {
		c.calm.earn(1)
	}
	s = c.streams[fh.StreamID]
	switch {
	case s == nil:
		if !c.role.begun(fh.StreamID) {
			return nil, 0, &Error{Code: http2.ErrCodeProtocol, Text: "DATA on an idle stream"}
		}
		if _, ours := c.closed.find(fh.StreamID); ours {
			return nil, 0, nil
		}
		return nil, http2.ErrCodeStreamClosed, nil
	case s.heard:
		return nil, http2.ErrCodeStreamClosed, nil
	case s.recv < int64(fh.Length):
		return nil, http2.ErrCodeFlowControl, nil
	case s.left >= 0 && (int64(n) > s.left || end && int64(n) < s.left), s.early:
		return nil, http2.ErrCodeProtocol, nil
	}
	s.recv -= int64(fh.Length)
	if s.left >= 0 {
		s.left -= int64(n)
	}
	s.heard = end
	s.refs++
	return s, 0, nil
}

// throw reads n bytes that are nobody's, and gives their window back.
func (c *conn) throw(window, n int) error {
	if err := c.in.discard(n); err != nil {
		return c.fault(err)
	}
	c.mu.Lock()
	c.refund(window)
	c.mu.Unlock()
	return nil
}
