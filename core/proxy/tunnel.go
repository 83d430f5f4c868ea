package proxy

import (
	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wire"
)

// tunnel passes bytes both ways after a 101, until both sides have ended or nothing has come for the idle time.
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
	server, first := w.call.Tunnel()
	up := make(chan int64, 1)
	go func() {
		n := flow(w, server, client, ahead)
		up <- n
	}()
	x.Record.BytesOut = flow(w, client, server, first)
	x.Request.Body.Read += <-up
	client.Close()
	if x.Cause() != nil {
		x.Record.Fault = fault.Draining
	}
	return nil
}

// flow copies from src to dst, first what was read ahead, until src ends; then it ends dst's side. An error ends both.
func flow(w *walk, dst, src *netio.Conn, ahead []byte) (n int64) {
	idle := w.p.Timeouts.Idle
	dst.WriteBy(clock.Nano(), idle)
	if len(ahead) > 0 {
		if _, err := dst.Write(ahead); err != nil {
			src.Abort()
			return 0
		}
		n = int64(len(ahead))
	}
	for {
		src.ReadBy(clock.Nano(), idle)
		buf, m, err := src.ReadPooled(pool.Medium)
		if m > 0 {
			dst.WriteBy(clock.Nano(), idle)
			if _, werr := dst.Write(buf[:m]); werr != nil {
				err = werr
			} else {
				n += int64(m)
			}
		}
		pool.Release(buf)
		if err != nil {
			if fault.KindOf(wire.Blame(wire.FromUpstream, err)) == fault.ResponseTruncated {
				_ = dst.CloseWrite() // src has ended its side: the other may go on
			} else {
				dst.Abort()
				src.Abort()
			}
			return n
		}
	}
}
