package h2

import (
	"testing"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/exchange"
)

// TestFairWindow: streams that want more than the connection's window has take turns.
func TestFairWindow(t *testing.T) {
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) {
		x.Response.Status = 200
		if x.Down.WriteHead(x, -1) == nil {
			_ = x.Down.WriteBody(make([]byte, 4<<20), true)
		}
		x.Down.Abort()
	})
	c := r.dial(http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow})
	const streams = 5
	for i := range uint32(streams) {
		c.ask(2*i+1, true, get()...)
	}
	got := map[uint32]int{}
	total := 0
	for total < minWindow { // what there is at first goes to whoever comes first
		total += len(c.until(http2.FrameData, 0).data)
	}
	v := r.server(0)
	for waiting := 0; waiting < streams; {
		v.mu.Lock()
		waiting = len(v.queue)
		v.mu.Unlock()
	}
	for range 20 {
		c.WriteWindowUpdate(0, streams*frameSize)
		round := map[uint32]int{}
		for n := 0; n < streams*frameSize; {
			d := c.until(http2.FrameData, 0)
			got[d.StreamID] += len(d.data)
			round[d.StreamID] += len(d.data)
			n += len(d.data)
		}
		for id, n := range round {
			if n > 2*frameSize {
				t.Errorf("stream %d got %d frames of %d", id, n/frameSize, streams)
			}
		}
	}
	if len(got) != streams {
		t.Errorf("%d streams got anything", len(got))
	}
}

// TestOneStuck: a stream without window holds up nobody.
func TestOneStuck(t *testing.T) {
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) {
		x.Response.Status = 200
		if x.Down.WriteHead(x, -1) == nil && x.Down.WriteBody(make([]byte, 100), true) == nil && x.Down.Finish(nil) == nil {
			return
		}
		x.Down.Abort()
	})
	c := r.dial(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	c.ask(1, true, get()...)
	c.until(http2.FrameHeaders, 1)
	for id := uint32(3); id < 21; id += 2 {
		c.ask(id, true, get()...)
		c.WriteWindowUpdate(id, 100)
		if _, body := c.answer(id); len(body) != 100 {
			t.Errorf("stream %d: %d bytes", id, len(body))
		}
	}
	c.WriteWindowUpdate(1, 100)
	for g := range c.frames() {
		if g.StreamID == 1 && g.Flags.Has(http2.FlagDataEndStream) {
			break
		}
	}
}

// TestShrunkWindow: SETTINGS may take a window below zero (RFC 9113 §6.9.2).
func TestShrunkWindow(t *testing.T) {
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) { reply(x, 200, string(make([]byte, 200))) })
	c := r.dial(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	c.ask(1, true, get()...)
	if d := c.until(http2.FrameData, 1); len(d.data) != 100 {
		t.Errorf("%d bytes", len(d.data))
	}
	c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}) // now −100
	c.WriteWindowUpdate(1, 150)
	if d := c.until(http2.FrameData, 1); len(d.data) != 50 {
		t.Errorf("%d bytes", len(d.data))
	}
	c.WriteWindowUpdate(1, 50)
	if d := c.until(http2.FrameData, 1); len(d.data) != 50 {
		t.Errorf("%d bytes", len(d.data))
	}
}

// TestPadding: padding takes window like data, and gives it back though nobody reads it (RFC 9113 §6.1).
func TestPadding(t *testing.T) {
	r := startServer(t, Settings{}, echo)
	c := r.dial()
	c.ask(1, false, post()...)
	opened := minWindow
	pad := make([]byte, 255)
	for range 1000 {
		for opened < 257 {
			if g := c.until(http2.FrameWindowUpdate, 0); g.StreamID == 1 {
				opened += int(g.n)
			}
		}
		c.WriteDataPadded(1, false, []byte("x"), pad)
		opened -= 257
	}
	c.WriteData(1, true, nil)
	if h, _ := c.answer(1); h["x-length"] != "1000" {
		t.Errorf("%v", h)
	}
}
