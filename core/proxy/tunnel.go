package proxy

import (
	"io"
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
	client, ahead, err := x.Down.Tunnel()
	if err != nil {
		return err
	}
	w.loosen()
	server, first := w.call.Tunnel()
	t := &tunnel{idle: w.p.Timeouts.Idle}
	t.last.Store(clock.Nano())
	up := make(chan int64, 1)
	go func() { up <- t.flow(server, client, ahead) }()
	x.Record.BytesOut += t.flow(client, server, first)
	x.Request.Body.Read += <-up
	if cause := x.Cause(); cause != nil {
		x.Record.Fault = cause.Kind
	}
	return nil
}

// tunnel is what its two directions share.
type tunnel struct {
	idle time.Duration // 0: no limit
	last atomic.Int64  // clock.Nano when bytes last came, from either side
}

// flow copies from src to dst, first what was read ahead, until src ends; then it ends dst's side. An error ends both.
func (t *tunnel) flow(dst, src exchange.Pipe, ahead []byte) (n int64) {
	n, err := t.pass(dst, ahead)
	for err == nil {
		var buf []byte
		var m int
		if buf, m, err = t.read(src); m > 0 {
			var passed int64
			passed, err = t.pass(dst, buf[:m])
			n += passed
		}
		pool.Release(buf)
	}
	if err == io.EOF {
		_ = dst.CloseWrite() // src has ended its side: the other may go on
		return n
	}
	dst.Abort()
	src.Abort()
	return n
}

func (t *tunnel) pass(dst exchange.Pipe, p []byte) (int64, error) {
	if len(p) == 0 {
		return 0, nil
	}
	dst.WriteBy(clock.Nano(), t.idle)
	_, err := dst.Write(p)
	if err != nil {
		return 0, err
	}
	return int64(len(p)), nil
}

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
