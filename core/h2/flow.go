package h2

import (
	"slices"
	"time"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/clock"
)

// flow is what we may send on the connection (RFC 9113 §5.2), and who waits for it. Guarded by conn.mu.
type flow struct {
	window  int64
	granted int64     // clock.Nano when a stream last got some of it
	queue   []*stream // have window of their own and wait for the connection's, or for room: in the order in which they came
	waiters []*stream // that are within wait
}

// take waits until s may write DATA, and gives how many bytes of the n that it wants; n 0 asks for room in the buffer only.
// Streams that want more than there is take turns, a frame each. It gives up after most without any window of its own, or
// of the connection for anybody; 0 is never. Who waits only because others have their turn, or because the peer is slow to
// take what has been written, is not given up for it: a peer that takes nothing at all ends the connection. mu is held, and
// let go meanwhile.
func (s *stream) take(n int, most time.Duration) (int, error) {
	c := s.c
	defer s.leaveQueue()
	since := clock.Nano()
	for {
		if err := s.writable(); err != nil {
			return 0, err
		}
		room := len(c.out) < outRoom
		switch {
		case !room && !c.writing:
			c.flush()
			continue
		case n == 0 && room:
			return 0, nil
		case n == 0:
		case n > 0 && s.send <= 0:
			s.leaveQueue()
		case n > 0 && (len(c.queue) > 0 && c.queue[0] != s || c.window <= 0 || !room):
			if !s.queued {
				s.queued = true
				c.queue = append(c.queue, s)
			}
		case n > 0:
			m := min(int64(n), s.send, c.window, frameSize)
			s.send -= m
			c.window -= m
			c.granted = clock.Nano()
			if m == int64(min(n, frameSize)) {
				c.calm.earn(2) // worth two WINDOW_UPDATEs
			} else if m >= 512 {
				c.calm.earn(1) // a window that is opened by bytes earns nothing
			}
			return int(m), nil
		}
		if len(c.out) > 0 && !c.writing { // what has been held back goes out before anything is waited for
			c.flush()
			continue
		}
		c.waiters = append(c.waiters, s)
		c.mu.Unlock()
		ok := s.wake.wait(deadline(since, most))
		c.mu.Lock()
		c.waiters = without(c.waiters, s)
		if ok {
			continue
		}
		if err := s.writable(); err != nil {
			return 0, err
		}
		moves := c.granted > since || c.writing && len(c.out) >= outRoom
		if n > 0 && s.send <= 0 || !moves {
			return 0, errNoWindow
		}
		since = clock.Nano()
	}
}

// leaveQueue gives s's turn to the next.
func (s *stream) leaveQueue() {
	c := s.c
	if s.queued {
		s.queued = false
		c.queue = without(c.queue, s)
	}
	if len(c.queue) > 0 && c.window > 0 && len(c.out) < outRoom {
		c.queue[0].wake.signal()
	}
}

func without(all []*stream, s *stream) []*stream {
	i := slices.Index(all, s)
	return slices.Delete(all, i, i+1)
}

// roomAgain wakes those who wait: there is room, or there will never be.
func (c *conn) roomAgain() {
	for _, s := range c.waiters {
		s.wake.signal()
	}
}

func (c *conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.StreamID == 0 {
		if c.window += int64(f.Increment); c.window > maxWindow {
			return &Error{Code: http2.ErrCodeFlowControl, Text: "window of the connection too large"}
		}
		if len(c.queue) > 0 {
			c.queue[0].wake.signal()
		}
		return c.spendLocked(1)
	}
	s := c.streams[f.StreamID]
	if s == nil {
		if !c.role.begun(f.StreamID) {
			return &Error{Code: http2.ErrCodeProtocol, Text: "WINDOW_UPDATE for an idle stream"}
		}
		return c.spendLocked(1)
	}
	if s.send += int64(f.Increment); s.send > maxWindow {
		c.drop(s, s.kind.bad)
		c.rstLocked(s.id, http2.ErrCodeFlowControl)
		if !c.resets.spend(1) {
			return c.flooded("made us reset streams too often")
		}
		return nil
	}
	s.wake.signal()
	return c.spendLocked(1)
}

// settings takes the peer's settings and acknowledges them (RFC 9113 §6.5).
func (c *conn) settings(f *http2.SettingsFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.IsAck() {
		return c.spendLocked(1)
	}
	if err := f.ForeachSetting(c.setting); err != nil {
		return err
	}
	_ = c.fr.WriteSettingsAck()
	if !c.greeted {
		c.greeted, c.late = true, 0
		c.role.hello()
	}
	return c.spendLocked(1 + f.NumSettings()/8)
}

func (c *conn) setting(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return c.fault(err)
	}
	switch s.ID {
	case http2.SettingHeaderTableSize:
		c.enc.hp.SetMaxDynamicTableSize(min(s.Val, tableSize))
	case http2.SettingInitialWindowSize:
		by := int64(s.Val) - c.peerWindow
		c.peerWindow = int64(s.Val)
		for _, st := range c.streams {
			if st.send += by; st.send > maxWindow {
				return &Error{Code: http2.ErrCodeFlowControl, Text: "window of a stream too large"}
			}
			st.wake.signal()
		}
	case http2.SettingMaxConcurrentStreams:
		c.peerStreams = s.Val
	case http2.SettingEnablePush:
		if s.Val != 0 && c.role.pushes() {
			return &Error{Code: http2.ErrCodeProtocol, Text: "a server offers to be pushed to"}
		}
	}
	return nil
}

// bell wakes one goroutine, which looks again at what it waits for.
type bell struct {
	c     chan struct{}
	timer *time.Timer
}

func (b *bell) signal() {
	select {
	case b.c <- struct{}{}:
	default:
	}
}

// wait waits for a signal, until clock.Nano is by (0 is for ever), and reports whether there was one.
func (b *bell) wait(by int64) bool {
	if by == 0 {
		<-b.c
		return true
	}
	left := time.Duration(by - clock.Nano())
	if left <= 0 {
		return false
	}
	if b.timer == nil {
		b.timer = time.NewTimer(left)
	} else {
		b.timer.Reset(left)
	}
	select {
	case <-b.c:
		b.timer.Stop()
		return true
	case <-b.timer.C:
		return false
	}
}

// clear forgets a signal that nobody has waited for.
func (b *bell) clear() {
	select {
	case <-b.c:
	default:
	}
}
