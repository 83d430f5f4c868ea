package h2

import (
	"runtime"
	"sync"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/pool"
)

const (
	// outRoom is how many bytes of heads and bodies may wait for the connection; beyond it their writers wait.
	outRoom = pool.Large
	// controlRoom is how many bytes of control frames may wait. They wait for nobody, so who makes us write more than that
	// without reading it is cut.
	controlRoom = 32 << 10
	frameHead   = 9
)

// output is what is to be written to the connection: frames of all streams, in one buffer, which whoever has need of it
// writes out for all. Guarded by conn.mu.
type output struct {
	out     []byte // lent by pool
	control int    // bytes of control frames in out
	writing bool   // somebody writes; what is added now goes with his next round
	newest  newest
	rest    sync.Cond // nobody writes any more
}

// newest is the last frame in out if it may still be added to: small pieces of a body become one frame, and the end of a
// stream costs no frame of its own.
type newest struct {
	s    *stream
	at   int // of the frame's head in out
	data bool
}

// frames is the conn as its Framer writes to it: all frames but DATA and header blocks are control frames. mu is held.
type frames conn

func (f *frames) Write(p []byte) (int, error) {
	c := (*conn)(f)
	c.append(p)
	if c.control += len(p); c.control > controlRoom && c.err == nil {
		c.set.Calmed.Inc()
		c.sever(&Error{Code: http2.ErrCodeEnhanceYourCalm, Text: "control frames not read"}, kinds[c.side].gone)
	}
	return len(p), nil
}

// append adds bytes to out. mu is held.
func (c *conn) append(p []byte) {
	c.newest.s = nil
	c.out = append(c.grow(len(p)), p...)
}

// grow gives out with room for n more bytes.
func (c *conn) grow(n int) []byte {
	need := len(c.out) + n
	if need <= cap(c.out) {
		return c.out
	}
	size := need
	if c.out != nil {
		size = max(need, pool.Large)
	}
	larger := pool.Acquire(size)
	larger = larger[:copy(larger, c.out)]
	pool.Release(c.out)
	return larger
}

// head9 adds the 9 bytes before a frame's payload (RFC 9113 §4.1).
func (c *conn) head9(length int, t http2.FrameType, flags http2.Flags, id uint32) {
	c.out = append(c.grow(frameHead+length), byte(length>>16), byte(length>>8), byte(length), byte(t), byte(flags),
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

// addData adds p, for which there is window, as DATA of s.
func (c *conn) addData(s *stream, p []byte) {
	if n := &c.newest; n.s == s && n.data {
		if length := len(c.out) - n.at - frameHead + len(p); length <= frameSize {
			c.out = append(c.grow(len(p)), p...)
			h := c.out[n.at:]
			h[0], h[1], h[2] = byte(length>>16), byte(length>>8), byte(length)
			return
		}
	}
	at := len(c.out)
	c.head9(len(p), http2.FrameData, 0, s.id)
	c.out = append(c.out, p...)
	c.newest = newest{s, at, true}
}

// addEnd ends s's side of its stream.
func (c *conn) addEnd(s *stream) {
	if c.newest.s == s {
		c.out[c.newest.at+4] |= byte(http2.FlagDataEndStream) // the same bit for HEADERS
		c.newest.s = nil
		return
	}
	c.newest.s = nil
	c.head9(0, http2.FrameData, http2.FlagDataEndStream, s.id)
}

// addHeaders adds the header block that the encoder holds.
func (c *conn) addHeaders(s *stream, end bool) {
	at, p := len(c.out), c.enc.block
	t, flags := http2.FrameHeaders, http2.Flags(0)
	if end {
		flags = http2.FlagHeadersEndStream
	}
	for {
		piece := p[:min(len(p), frameSize)]
		if p = p[len(piece):]; len(p) == 0 {
			flags |= http2.FlagHeadersEndHeaders
		}
		c.head9(len(piece), t, flags, s.id)
		c.out = append(c.out, piece...)
		if len(p) == 0 {
			break
		}
		t, flags = http2.FrameContinuation, 0
	}
	c.newest = newest{s, at, false}
	if end {
		c.newest.s = nil
	}
}

// flush has out written: by the caller, unless somebody is at it already. mu is held, and let go meanwhile. A caller writes
// for others too, but not for ever: from the third round on a goroutine of its own does.
func (c *conn) flush() {
	if c.writing || len(c.out) == 0 || c.err != nil {
		return
	}
	c.writing = true
	if len(c.streams) > 1 && len(c.out) < outRoom/2 {
		// Others that are ready add what they have, and it is one system call for all.
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	for range 2 {
		if !c.writeOut() {
			c.stopped()
			return
		}
	}
	if len(c.out) == 0 || c.err != nil {
		c.stopped()
		return
	}
	go c.writeAll()
}

// kick is flush for those who may not wait for the connection.
func (c *conn) kick() {
	if !c.writing && len(c.out) > 0 && c.err == nil {
		c.writing = true
		go c.writeAll()
	}
}

func (c *conn) writeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.writeOut() {
	}
	c.stopped()
}

func (c *conn) stopped() {
	c.writing = false
	c.rest.Broadcast()
}

// await waits until nobody writes. mu is held, and let go meanwhile.
func (c *conn) await() {
	for c.writing {
		c.rest.Wait()
	}
}

// writeOut writes what is in out, and reports whether there was anything and it could be.
func (c *conn) writeOut() bool {
	p := c.out
	if len(p) == 0 || c.err != nil {
		return false
	}
	c.out, c.control, c.newest.s = nil, 0, nil
	c.mu.Unlock()
	c.nc.WriteBy(clock.Nano(), c.set.WriteIdle)
	_, err := c.nc.Write(p)
	pool.Release(p)
	c.mu.Lock()
	if err != nil {
		c.sever(err, kinds[c.side].gone)
		return false
	}
	c.roomAgain()
	return true
}
