package h2

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/metric"
)

// calmed sends until the connection is ended with ENHANCE_YOUR_CALM, and fails if send has been called most times before.
func (r *rig) calmed(c *raw, most int, send func(i int)) {
	r.t.Helper()
	code := make(chan http2.ErrCode, 1)
	go func() { // reads all the while, so that it is not our silence that is punished
		g, err := c.seek(http2.FrameGoAway, 0)
		if err != nil {
			g.code = http2.ErrCodeNo
		}
		code <- g.code
		c.nc.Close()
	}()
	for i := 0; ; i++ {
		select {
		case got := <-code:
			if got != http2.ErrCodeEnhanceYourCalm {
				r.t.Errorf("ended with %v", got)
			}
			return
		default:
		}
		if i > most { // what has been sent may still be on its way
			if got := <-code; got != http2.ErrCodeEnhanceYourCalm {
				r.t.Errorf("not ended after %d: %v", i, got)
			}
			return
		}
		send(i)
	}
}

func newCalmRig(t *testing.T) *rig {
	s := Settings{Control: 200, Resets: 50, Calmed: metric.NewCounter()}
	r := start(t, &rig{set: s, handle: func(x *exchange.Exchange, err error) {
		if err == nil {
			_, _ = drain(x)
		}
		reply(x, 200, "")
	}})
	t.Cleanup(func() {
		if s.Calmed.Value() != 1 {
			t.Errorf("%d connections calmed", s.Calmed.Value())
		}
	})
	return r
}

// TestRapidReset: CVE-2023-44487.
func TestRapidReset(t *testing.T) {
	r := newCalmRig(t)
	c := r.dial()
	r.calmed(c, 1000, func(i int) {
		c.ask(uint32(2*i+1), false, post()...)
		c.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
	})
}

// TestEndOfSubscription: a client that ends streams whose answers have begun does nothing wrong, however often.
func TestEndOfSubscription(t *testing.T) {
	r := startServer(t, Settings{Resets: 50}, func(x *exchange.Exchange, err error) {
		x.Response.Status = 200
		if x.Down.WriteHead(x, -1) == nil {
			for x.Down.WriteBody([]byte("event"), true) == nil {
			}
		}
		x.Down.Abort()
	})
	c := r.dial(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	for i := range uint32(500) {
		c.ask(2*i+1, true, get()...)
		c.until(http2.FrameData, 2*i+1)
		c.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		c.WriteWindowUpdate(0, 10)
	}
}

// TestMadeYouReset: CVE-2025-8671: resets that the client makes us do, in every way there is.
func TestMadeYouReset(t *testing.T) {
	f := func(provoke func(c *raw, id uint32)) {
		t.Helper()
		r := newCalmRig(t)
		c := r.dial()
		r.calmed(c, 1000, func(i int) {
			id := uint32(2*i + 1)
			c.ask(id, false, post()...)
			provoke(c, id)
		})
	}
	f(func(c *raw, id uint32) { c.WriteWindowUpdate(id, 0) })
	f(func(c *raw, id uint32) { c.WriteWindowUpdate(id, maxWindow); c.WriteWindowUpdate(id, 1) })
	f(func(c *raw, id uint32) { c.WritePriority(id, http2.PriorityParam{StreamDep: id}) })
	f(func(c *raw, id uint32) { c.ask(id, false, "x", "y") })
	f(func(c *raw, id uint32) { c.WriteData(id, true, nil); c.WriteData(id, true, nil) })
	f(func(c *raw, id uint32) {
		c.WriteRawFrame(http2.FramePriority, 0, id, make([]byte, 5))
		c.ask(id, false, post()...)
	})
}

// TestMalformedFlood: malformed requests, too, are resets that we are made to do.
func TestMalformedFlood(t *testing.T) {
	r := newCalmRig(t)
	c := r.dial()
	r.calmed(c, 1000, func(i int) { c.ask(uint32(2*i+1), true, ":method", "GET") })
}

// TestZombies: streams that were reset count against the cap until their handlers have returned.
func TestZombies(t *testing.T) {
	block := make(chan struct{})
	refused := metric.NewCounter()
	r := startServer(t, Settings{Streams: 10, Refused: refused}, func(x *exchange.Exchange, err error) {
		<-block
		reply(x, 200, "")
	})
	c := r.dial()
	for i := range 10 {
		c.ask(uint32(2*i+1), true, get()...)
		c.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
	}
	c.ask(21, true, get()...)
	if g := c.until(http2.FrameRSTStream, 21); g.code != http2.ErrCodeRefusedStream || refused.Value() != 1 {
		t.Errorf("%v, %d refused", g.code, refused.Value())
	}
	close(block)
	for id := uint32(23); ; id += 2 { // until the handlers have gone
		c.ask(id, true, get()...)
		g := got{}
		for g.StreamID != id || g.Type != http2.FrameRSTStream && g.Type != http2.FrameHeaders {
			var err error
			if g, err = c.next(); err != nil {
				t.Fatal(err)
			}
		}
		if g.Type == http2.FrameHeaders {
			return
		}
	}
}

// TestStreamCap: beyond MAX_CONCURRENT_STREAMS a stream is refused, and the others are not hurt.
func TestStreamCap(t *testing.T) {
	block := make(chan struct{})
	r := startServer(t, Settings{Streams: 2}, func(x *exchange.Exchange, err error) {
		<-block
		reply(x, 200, "x")
	})
	c := r.dial()
	c.ask(1, true, get()...)
	c.ask(3, true, get()...)
	c.ask(5, true, get()...)
	if g := c.until(http2.FrameRSTStream, 5); g.code != http2.ErrCodeRefusedStream {
		t.Error(g.code)
	}
	close(block)
	left := 2
	for g := range c.frames() {
		if g.Flags.Has(http2.FlagDataEndStream) && (g.Type == http2.FrameData || g.Type == http2.FrameHeaders) {
			if left--; left == 0 {
				break
			}
		}
	}
}

// TestControlFloods: frames that carry nothing are bounded, of whatever kind.
func TestControlFloods(t *testing.T) {
	f := func(send func(c *raw, i int)) {
		t.Helper()
		r := newCalmRig(t)
		c := r.dial()
		c.ask(1, false, post()...)
		r.calmed(c, 3000, func(i int) { send(c, i) })
	}
	f(func(c *raw, i int) { c.WritePing(false, [8]byte{}) })
	f(func(c *raw, i int) { c.WritePing(true, [8]byte{}) })
	f(func(c *raw, i int) { c.WriteSettings() })
	f(func(c *raw, i int) { c.WriteSettingsAck() })
	f(func(c *raw, i int) {
		c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: uint32(i)})
	})
	f(func(c *raw, i int) { c.WriteData(1, false, nil) })
	f(func(c *raw, i int) { c.WriteDataPadded(1, false, nil, make([]byte, 10)) })
	f(func(c *raw, i int) { c.WritePriority(uint32(2*i+3), http2.PriorityParam{}) })
	f(func(c *raw, i int) { c.WriteWindowUpdate(0, 1) })
	f(func(c *raw, i int) { c.WriteWindowUpdate(1, 1) })
	f(func(c *raw, i int) { c.WriteRawFrame(0x77, 0, 0, nil) })
	f(func(c *raw, i int) { c.WriteRawFrame(0x77, 0, 1, make([]byte, 100)) })
	f(func(c *raw, i int) { c.WriteGoAway(0, http2.ErrCodeNo, nil) })
	f(func(c *raw, i int) {
		if i == 0 {
			c.WriteRSTStream(1, http2.ErrCodeCancel)
		}
		c.WriteRSTStream(1, http2.ErrCodeCancel)
	})
}

// TestControlUnread: acknowledgements that the client does not read do not pile up.
func TestControlUnread(t *testing.T) {
	r := startServer(t, Settings{Control: 1 << 30}, echo)
	c := r.dial()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for c.WritePing(false, [8]byte{}) == nil {
		}
	}()
	var e *Error
	if err := r.end(); !errors.As(err, &e) || e.Code != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("ended with %v", err)
	}
	<-ended
}

// TestDribble: a window that is opened byte by byte makes a frame of each; that, too, is bounded.
func TestDribble(t *testing.T) {
	s := Settings{Control: 200, Calmed: metric.NewCounter()}
	r := startServer(t, s, func(x *exchange.Exchange, err error) { reply(x, 200, strings.Repeat("x", 1<<20)) })
	c := r.dial(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	c.ask(1, true, get()...)
	c.until(http2.FrameHeaders, 1)
	for range 1000 {
		c.WriteWindowUpdate(1, 1)
		g, err := c.next()
		for err == nil && g.Type != http2.FrameData && g.Type != http2.FrameGoAway {
			g, err = c.next()
		}
		if err != nil {
			t.Fatal(err)
		}
		if g.Type == http2.FrameGoAway {
			if g.code != http2.ErrCodeEnhanceYourCalm || s.Calmed.Value() != 1 {
				t.Errorf("%v", g.code)
			}
			return
		}
	}
	t.Error("not ended")
}

// TestZeroWindow: who grants no window while an answer waits is cut, and nobody else.
func TestZeroWindow(t *testing.T) {
	errs := make(chan error, 1)
	r := start(t, &rig{patient: 50 * time.Millisecond, handle: func(x *exchange.Exchange, _ error) {
		x.Response.Status = 200
		err := x.Down.WriteHead(x, -1)
		if err == nil && string(x.Request.Path) == "/body" {
			err = x.Down.WriteBody([]byte("x"), true)
			errs <- err
		}
		if err != nil || x.Down.Finish(nil) != nil {
			x.Down.Abort()
		}
	}})
	c := r.dial(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	c.ask(1, true, ":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/body")
	c.ask(3, true, get()...)
	c.answer(3) // needs no window
	if err := <-errs; fault.KindOf(err) != fault.ClientGone {
		t.Error(err)
	}
	c.until(http2.FrameRSTStream, 1)
	c.ask(5, true, get()...)
	c.answer(5)
}

// TestSlowClient: a client that takes bytes steadily, but for many streams at once, is no client that grants no window. Each
// stream has its turn late, and gets all.
func TestSlowClient(t *testing.T) {
	const streams, size, step = 8, 64 << 10, 16 << 10
	r := start(t, &rig{patient: 100 * time.Millisecond, handle: func(x *exchange.Exchange, _ error) {
		reply(x, 200, strings.Repeat("x", size))
	}})
	c := r.dial(http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow})
	for i := range uint32(streams) {
		c.ask(2*i+1, true, get()...)
	}
	got, ended := 0, 0
	for ended < streams {
		g, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		switch g.Type {
		case http2.FrameRSTStream:
			t.Fatalf("stream %d reset after %d bytes of all", g.StreamID, got)
		case http2.FrameData:
			got += len(g.data)
			if g.Flags.Has(http2.FlagDataEndStream) {
				ended++
			}
			if len(g.data) > 0 {
				time.Sleep(20 * time.Millisecond * time.Duration(len(g.data)) / step) // the client's pace
				c.WriteWindowUpdate(0, uint32(len(g.data)))
			}
		}
	}
	if got != streams*size {
		t.Errorf("%d bytes", got)
	}
}

// TestTCPStuck: a client that reads nothing at all is cut after the write-idle time.
func TestTCPStuck(t *testing.T) {
	r := startServer(t, Settings{WriteIdle: 100 * time.Millisecond}, func(x *exchange.Exchange, err error) {
		x.Response.Status = 200
		if x.Down.WriteHead(x, -1) == nil {
			for x.Down.WriteBody(make([]byte, 64<<10), true) == nil {
			}
		}
		x.Down.Abort()
	})
	c := r.dial(http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow})
	_ = c.nc.(*net.TCPConn).SetReadBuffer(4 << 10)
	c.WriteWindowUpdate(0, maxWindow-minWindow)
	c.ask(1, true, get()...)
	if err := r.end(); err == nil {
		t.Error("a proper end")
	}
}

// TestContinuationFlood: CVE-2024-27316 and the like.
func TestContinuationFlood(t *testing.T) {
	f := func(block []byte) {
		t.Helper()
		r := newCalmRig(t)
		c := r.dial()
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block(get()...)})
		r.calmed(c, 1000, func(i int) { c.WriteContinuation(1, false, block) })
	}
	f(nil)
	f([]byte{0x82})
	enc := &bytes.Buffer{}
	_ = hpack.NewEncoder(enc).WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 10000), Sensitive: true})
	f(enc.Bytes())
}

// TestHpackBomb: a few bytes that mean many are decoded no further than the limit, and the table stays in step.
func TestHpackBomb(t *testing.T) {
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) {
		if err == nil {
			reply(x, 200, "")
			return
		}
		if n := x.Request.Header.Bytes(); n > 64<<10 {
			t.Errorf("%d bytes of fields", n)
		}
		reply(x, fault.KindOf(err).Status(), "")
	})
	c := r.dial()
	block := c.block(append(get(), "bomb", strings.Repeat("x", 3000))...)
	for range 16 << 10 / 2 { // each byte is the newest field of the table once more
		block = append(block, 0x80|62)
	}
	block = append(block, c.block("after", "1")...)
	c.headers(1, true, block)
	if h, _ := c.answer(1); h[":status"] != "431" {
		t.Errorf("%v", h)
	}
	c.ask(3, true, get("after", "1")...) // refers to what the limit had cut off
	if h, _ := c.answer(3); h[":status"] != "200" {
		t.Errorf("%v", h)
	}
}

// TestFrameErrors: what is wrong with a frame ends the connection with the code that the RFC names.
func TestFrameErrors(t *testing.T) {
	r := startServer(t, Settings{}, echo)
	f := func(want http2.ErrCode, send func(c *raw)) {
		t.Helper()
		c := r.dial()
		send(c)
		if g := c.goAway(); g.code != want {
			t.Errorf("%v, want %v", g.code, want)
		}
		c.nc.Close()
		if err := r.end(); err == nil {
			t.Error("a proper end")
		}
	}
	f(http2.ErrCodeFrameSize, func(c *raw) { c.WriteRawFrame(http2.FrameHeaders, 0, 1, make([]byte, 16<<10+1)) })
	f(http2.ErrCodeFrameSize, func(c *raw) { c.ask(1, false, post()...); c.WriteData(1, false, make([]byte, 16<<10+1)) })
	f(http2.ErrCodeFrameSize, func(c *raw) { c.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 7)) })
	f(http2.ErrCodeFrameSize, func(c *raw) { c.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 5)) })
	f(http2.ErrCodeFrameSize, func(c *raw) { c.WriteRawFrame(http2.FrameSettings, http2.FlagSettingsAck, 0, make([]byte, 6)) })
	f(http2.ErrCodeFrameSize, func(c *raw) {
		c.ask(1, false, post()...)
		c.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, nil)
	})
	f(http2.ErrCodeFrameSize, func(c *raw) { c.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersPadded, 1, nil) })
	f(http2.ErrCodeProtocol, func(c *raw) {
		c.ask(1, false, post()...)
		c.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{9, 0})
	})
	f(http2.ErrCodeProtocol, func(c *raw) {
		c.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersPadded|http2.FlagHeadersEndHeaders, 1, []byte{9, 0x82})
	})
	f(http2.ErrCodeProtocol, func(c *raw) { c.WriteData(0, false, nil) })
	f(http2.ErrCodeProtocol, func(c *raw) { c.WriteData(1, false, nil) })
	f(http2.ErrCodeProtocol, func(c *raw) { c.WriteRSTStream(1, 0) })
	f(http2.ErrCodeProtocol, func(c *raw) { c.WriteWindowUpdate(1, 1) })
	f(http2.ErrCodeProtocol, func(c *raw) { c.WriteWindowUpdate(0, 0) })
	f(http2.ErrCodeFlowControl, func(c *raw) { c.WriteWindowUpdate(0, maxWindow) })
	f(http2.ErrCodeProtocol, func(c *raw) { c.ask(2, true, get()...) })
	f(http2.ErrCodeProtocol, func(c *raw) { c.ask(5, true, get()...); c.ask(3, true, get()...) })
	f(http2.ErrCodeProtocol, func(c *raw) { c.WriteContinuation(1, true, nil) })
	f(http2.ErrCodeProtocol, func(c *raw) { c.WriteRawFrame(http2.FramePushPromise, 0x4, 1, make([]byte, 4)) })
	f(http2.ErrCodeCompression, func(c *raw) { c.headers(1, true, []byte{0x80}) })
	f(http2.ErrCodeCompression, func(c *raw) { c.headers(1, true, []byte{0x40, 0x05, 'a'}) })
	f(http2.ErrCodeProtocol, func(c *raw) { c.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 2}) })
	f(http2.ErrCodeFlowControl, func(c *raw) { c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}) })
	f(http2.ErrCodeProtocol, func(c *raw) { c.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1}) })
	f(http2.ErrCodeStreamClosed, func(c *raw) { c.ask(1, true, get()...); c.answer(1); c.ask(1, true, get()...) })
}

// TestSlowStart: preface and SETTINGS must be there in time, and every header block from its first byte to its last.
func TestSlowStart(t *testing.T) {
	r := startServer(t, Settings{Header: 60 * time.Millisecond, Idle: time.Hour}, echo)
	f := func(begin func(c *raw)) {
		t.Helper()
		c := r.dialBare()
		begin(c)
		c.goAway()
		c.nc.Close()
		if err := r.end(); !errors.Is(err, error(errLate)) {
			t.Errorf("ended with %v", err)
		}
	}
	greet := func(c *raw) { io.WriteString(c.nc, Preface); c.WriteSettings() }
	f(func(c *raw) {})
	f(func(c *raw) { io.WriteString(c.nc, Preface[:10]) })
	f(func(c *raw) { io.WriteString(c.nc, Preface) })
	f(func(c *raw) { io.WriteString(c.nc, Preface+"\x00\x00\x06\x04\x00") })
	f(func(c *raw) {
		greet(c)
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block(get()...)})
	})
	f(func(c *raw) { greet(c); c.nc.Write([]byte{0, 0, 10, 1, 4, 0, 0, 0, 1, 0x82}) })
	f(func(c *raw) {
		greet(c)
		c.ask(1, false, post()...)
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block("x", "y"), EndStream: true})
	})
}

// TestNotHTTP2: what does not begin with the preface is told so.
func TestNotHTTP2(t *testing.T) {
	r := startServer(t, Settings{}, echo)
	c := r.dialBare()
	io.WriteString(c.nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if g := c.goAway(); g.code != http2.ErrCodeProtocol {
		t.Error(g.code)
	}
	c.nc.Close()
	c = r.dialBare()
	io.WriteString(c.nc, Preface)
	c.WritePing(false, [8]byte{})
	if g := c.goAway(); g.code != http2.ErrCodeProtocol {
		t.Error(g.code)
	}
	c.nc.Close()
}

// TestGoAwayIsRead: what the client still sends is taken, or the reset that it would cause could come before the reason.
func TestGoAwayIsRead(t *testing.T) {
	r := startServer(t, Settings{}, echo)
	c := r.dial()
	c.WriteData(0, false, nil)
	for range 30 {
		c.WriteRawFrame(0x77, 0, 0, make([]byte, 16<<10))
	}
	if g := c.goAway(); g.code != http2.ErrCodeProtocol {
		t.Error(g.code)
	}
	for range 500 {
		if err := c.WriteRawFrame(0x77, 0, 0, make([]byte, 16<<10)); err != nil {
			t.Fatal(err)
		}
	}
	c.nc.Close()
}
