package proxy

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/pool"
)

// tunnel passes bytes both ways after a 101, until both sides have ended or neither has sent anything for the idle time.
func (w *walk) tunnel() error {
	x := w.x
	w.stamp()
	if err := x.Down.WriteHead(x, 0); err != nil {
		return err
	}
	server, first := w.call.Tunnel()
	t := &tunnel{idle: w.p.Timeouts.Idle}
	x.OnLeave(t.leave) // before the client's side is handed over: it is called at once if the node drains already
	client, ahead, err := x.Down.Tunnel()
	if err != nil {
		return err
	}
	w.loosen()
	t.last.Store(clock.Nano())
	t.up.src, t.up.dst, t.up.masked = client, server, true
	t.down.src, t.down.dst = server, client
	t.start()
	up := make(chan int64, 1)
	go func() { up <- t.flow(&t.up, &t.down, ahead) }()
	x.Record.BytesOut += t.flow(&t.down, &t.up, first)
	x.Request.Body.Count(<-up)
	t.end()
	if cause := x.Cause(); cause != nil {
		x.Record.Fault = cause.Kind
	}
	return nil
}

// tunnel is what its two directions share.
type tunnel struct {
	idle     time.Duration // 0: no limit
	last     atomic.Int64  // clock.Nano when bytes last came, from either side
	up, down direction

	mu       sync.Mutex
	running  bool
	left     bool // leave was called
	farewell sync.WaitGroup
}

// direction is one way through a tunnel. Its bytes are passed on as they come; of the frames in them only the borders are
// known, so that a close frame of our own can stand between two.
type direction struct {
	src, dst exchange.Pipe
	masked   bool // what goes this way is a client's (RFC 6455 §5.3)

	mu     sync.Mutex // of writing to dst, and of what follows
	frames frames
	asked  bool // dst is to be told goodbye, at the next border
	told   bool // and has been: nothing more is passed on
}

// leave asks both sides to end the tunnel, as soon as there is a border between two frames (RFC 6455 §7.4.1): it is
// exchange.Handle.Leave's.
func (t *tunnel) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left {
		return
	}
	t.left = true
	if t.running {
		t.sayGoodbye()
	}
}

func (t *tunnel) start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = true
	if t.left {
		t.sayGoodbye()
	}
}

// sayGoodbye writes in goroutines of its own: a side may not read.
func (t *tunnel) sayGoodbye() {
	for _, d := range [...]*direction{&t.up, &t.down} {
		t.farewell.Go(func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.asked = true
			t.goodbye(d)
		})
	}
}

func (t *tunnel) end() {
	t.mu.Lock()
	t.running = false
	t.mu.Unlock()
	t.farewell.Wait()
}

// flow copies from d's source to its destination, first what was read ahead, until the source ends; then it ends the
// destination's side. An error ends both.
func (t *tunnel) flow(d, back *direction, ahead []byte) (n int64) {
	n, err := t.pass(d, ahead)
	for err == nil && !t.over(d, back) {
		var buf []byte
		var m int
		if buf, m, err = t.read(d.src); m > 0 {
			var passed int64
			passed, err = t.pass(d, buf[:m])
			n += passed
		}
		pool.Release(buf)
	}
	if err == nil || err == io.EOF {
		_ = d.dst.CloseWrite() // the source has ended its side, or said goodbye: the other may go on
		return n
	}
	d.dst.Abort()
	d.src.Abort()
	return n
}

// over reports whether the source has nothing to say any more: it has answered the goodbye that we told it.
func (t *tunnel) over(d, back *direction) bool {
	back.mu.Lock()
	told := back.told
	back.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	return told && d.frames.closed
}

// pass writes p, or as much of it as stands before a goodbye.
func (t *tunnel) pass(d *direction, p []byte) (n int64, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.told {
		d.frames.skip(p)
		return 0, nil
	}
	if d.asked { // in the middle of a frame, or it would have been told
		border := d.frames.toBorder(p)
		n, err = t.write(d, p[:border])
		if err == nil {
			t.goodbye(d)
			d.frames.skip(p[border:])
		}
		return n, err
	}
	d.frames.skip(p)
	return t.write(d, p)
}

func (t *tunnel) write(d *direction, p []byte) (int64, error) {
	if len(p) == 0 {
		return 0, nil
	}
	d.dst.WriteBy(clock.Nano(), t.idle)
	if _, err := d.dst.Write(p); err != nil {
		return 0, err
	}
	return int64(len(p)), nil
}

// goodbye writes a close frame if there is a border now, and neither side has closed this way. d.mu is held.
func (t *tunnel) goodbye(d *direction) {
	if d.told || d.frames.closed || !d.frames.border() {
		return
	}
	d.told = true
	frame := goingAway
	if d.masked {
		frame = goingAwayMasked
	}
	_, _ = t.write(d, frame) // a side that is gone is noticed by who reads from it
}

// Close frames with code 1001, going away. What a mask hides from is a proxy that is not this one, and there is nothing to
// hide in it (RFC 6455 §10.3).
var (
	goingAway       = []byte{0x88, 2, 0x03, 0xe9}
	goingAwayMasked = []byte{0x88, 0x82, 0xa5, 0x3c, 0x96, 0x5a, 0x03 ^ 0xa5, 0xe9 ^ 0x3c}
)

// read waits for bytes of src for as long as the tunnel is not idle: one side may well only listen.
func (t *tunnel) read(src exchange.Pipe) (buf []byte, n int, err error) {
	for {
		now := clock.Nano()
		left := t.idle
		if t.idle > 0 {
			left = max(t.idle-time.Duration(now-t.last.Load()), time.Millisecond)
		}
		src.ReadBy(now, left)
		buf, n, err = src.ReadPooled(pool.Medium)
		now = clock.Nano()
		if n > 0 {
			t.last.Store(now)
		}
		if n > 0 || !netio.IsTimeout(err) || now-t.last.Load() >= int64(t.idle) {
			return buf, n, err
		}
		pool.Release(buf)
	}
}
