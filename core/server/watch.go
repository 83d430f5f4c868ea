package server

import (
	"net"
	"syscall"
	"time"

	"github.com/weirproxy/weir/core/clock"
)

// watchEvery is how often clients are looked after whose exchange has been under way for as long, and memoryEvery how often
// memory is.
const (
	watchEvery  = 250 * time.Millisecond
	memoryEvery = 100 * time.Millisecond
)

// watchBatch is how many connections are looked through under one lock: 100,000 of them must not hold up accepting.
const watchBatch = 1024

// watch ends the exchanges of clients that have gone. While an exchange waits for its upstream nobody reads from the
// client, so that its end would not be seen before the answer is written, and the upstream would work for nobody.
func (s *Server) watch() {
	defer close(s.watched)
	tick, memory := time.NewTicker(watchEvery), time.NewTicker(memoryEvery)
	defer tick.Stop()
	defer memory.Stop()
	var long []*conn
	for {
		select {
		case <-s.stop:
			return
		case <-memory.C:
			if s.memory.look() {
				s.log.Warn().Bool("scarce", s.memory.scarce.Load()).Msg("memory in use against the memory limit")
			}
			continue
		case <-tick.C:
		}
		before := clock.Nano() - int64(watchEvery)
		halfClose := s.plan.Load().HalfClose
		for first := 0; first >= 0; {
			long, first = s.longExchanges(long[:0], first, before)
			for i, c := range long {
				if h, ok := c.longer(before); ok && gone(rawOf(c.base), halfClose) {
					h.Cancel(errGone)
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
		if _, ok := c.longer(before); ok {
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
