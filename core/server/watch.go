package server

import (
	"net"
	"syscall"
	"time"

	"github.com/weirproxy/weir/core/clock"
)

// watchEvery is how often clients are looked after whose exchange has been under way for as long.
const watchEvery = 250 * time.Millisecond

// watchBatch is how many connections are looked through under one lock: 100,000 of them must not hold up accepting.
const watchBatch = 1024

// watch ends the exchanges of clients that have gone. While an exchange waits for its upstream nobody reads from the
// client, so that its end would not be seen before the answer is written, and the upstream would work for nobody. A
// request that is answered fast pays one atomic store for this.
func (s *Server) watch() {
	defer close(s.watched)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var long []*conn
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		before := clock.Nano() - int64(watchEvery)
		halfClose := s.plan.Load().HalfClose
		for first := 0; first >= 0; {
			long, first = s.longExchanges(long[:0], first, before)
			for i, c := range long {
				if gone(rawOf(c.base), halfClose) && c.since.Load() != 0 {
					c.cancel(errGone)
				}
				long[i] = nil
			}
		}
	}
}

// longExchanges appends those of a batch of connections whose exchange began before a time, and gives the first of the
// next batch, -1 at the end. Connections that come and go meanwhile may be missed once.
func (s *Server) longExchanges(dst []*conn, first int, before int64) ([]*conn, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := min(first+watchBatch, len(s.conns))
	for _, c := range s.conns[min(first, end):end] {
		if since := c.since.Load(); since != 0 && since < before {
			dst = append(dst, c)
		}
	}
	if end == len(s.conns) {
		end = -1
	}
	return dst, end
}

// rawOf gives access to the socket of a connection; nil if it has none.
func rawOf(nc net.Conn) syscall.RawConn {
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}
