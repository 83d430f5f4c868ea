package h2

import (
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/wire"
)

// rawUpstream serves connections in frames: preface and SETTINGS have been exchanged when serve is called.
func rawUpstream(t testing.TB, serve func(c *raw)) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				c := newRaw(t, nc)
				b := make([]byte, len(Preface))
				if _, err := nc.Read(b); err != nil || string(b) != Preface {
					t.Errorf("preface %q, %v", b, err)
				}
				_ = c.WriteSettings()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
	return ln
}

// hold reads until the connection ends.
func (c *raw) hold() {
	for range c.frames() {
	}
}

// outcome is how a call ended.
type outcome struct {
	status      int
	body        string
	err         error
	unprocessed bool
}

// ask makes one call, without a body, and reads its answer.
func ask(t testing.TB, c *Client, method string) (o outcome) {
	t.Helper()
	x := request(t, method, "/")
	k, err := c.Open()
	if err != nil {
		return outcome{err: err}
	}
	defer k.Close()
	if err = k.WriteHead(&x.Request, host, false, 0); err == nil {
		err = k.ReadHead(x, &wire.Defaults, 5*time.Second, 5*time.Second)
		for err == nil && x.Response.Status < 200 {
			x.ClearResponse()
			err = k.ReadHead(x, &wire.Defaults, 5*time.Second, 5*time.Second)
		}
	}
	o.status = x.Response.Status
	if err == nil {
		var body []byte
		body, err = readAll(x)
		o.body = string(body)
	}
	o.err, o.unprocessed = err, k.Unprocessed()
	return o
}

// TestHostileUpstream: what is no answer is a fault of the upstream, never something that could be taken for one.
func TestHostileUpstream(t *testing.T) {
	f := func(name, method string, kind fault.Kind, serve func(c *raw)) {
		t.Helper()
		ln := rawUpstream(t, func(c *raw) {
			c.until(http2.FrameHeaders, 1)
			serve(c)
			c.hold()
		})
		v := connect(t, ln, Settings{})
		if o := ask(t, v, method); fault.KindOf(o.err) != kind {
			t.Errorf("%s: %+v", name, o)
		}
		v.Abort(kinds[1].gone)
		<-v.Ended()
	}
	ok := func(more ...string) []string { return append([]string{":status", "200"}, more...) }
	f("an answer", "GET", fault.None, func(c *raw) { c.ask(1, true, ok()...) })
	// heads
	bad := func(name string, fields ...string) {
		t.Helper()
		f(name, "GET", fault.BadResponse, func(c *raw) { c.ask(1, true, fields...) })
	}
	bad("no status", "x", "y")
	bad("two", ":status", "200", ":status", "200")
	bad("short", ":status", "20")
	bad("text", ":status", "2xx")
	bad("600", ":status", "600")
	bad("099", ":status", "099")
	bad("101", ":status", "101")
	bad("behind", "x", "y", ":status", "200")
	bad("a request's", ok(":path", "/")...)
	bad("unknown", ok(":x", "y")...)
	bad("upper case", ok("X", "y")...)
	bad("a name", ok("a b", "y")...)
	bad("empty name", ok("", "y")...)
	bad("line feed", ok("x", "a\nb")...)
	bad("return", ok("x", "a\rb: c")...)
	bad("zero", ok("x", "\x00")...)
	bad("space", ok("x", " y")...)
	bad("connection", ok("connection", "close")...)
	bad("coding", ok("transfer-encoding", "chunked")...)
	bad("upgrade", ok("upgrade", "h2c")...)
	bad("length text", ok("content-length", "x")...)
	bad("lengths differ", ok("content-length", "1", "content-length", "2")...)
	bad("length without body", ok("content-length", "1")...)
	bad("interim that ends", ":status", "103")
	bad("too large", ok("x", strings.Repeat("y", 40<<10))...)
	many := ok()
	for range 101 {
		many = append(many, "x", "y")
	}
	bad("too many", many...)
	f("interim without end", "GET", fault.BadResponse, func(c *raw) {
		for range 102 {
			c.ask(1, false, ":status", "103")
		}
	})
	// bodies
	f("body first", "GET", fault.BadResponse, func(c *raw) { c.WriteData(1, true, []byte("x")) })
	f("too long", "GET", fault.BadResponse, func(c *raw) { c.ask(1, false, ok("content-length", "1")...); c.WriteData(1, true, []byte("xx")) })
	f("too short", "GET", fault.BadResponse, func(c *raw) { c.ask(1, false, ok("content-length", "3")...); c.WriteData(1, true, []byte("xx")) })
	f("trailers without end", "GET", fault.BadResponse, func(c *raw) { c.ask(1, false, ok()...); c.ask(1, false, "x", "y") })
	f("status in trailers", "GET", fault.BadResponse, func(c *raw) { c.ask(1, false, ok()...); c.ask(1, true, ok()...) })
	f("length of HEAD", "HEAD", fault.None, func(c *raw) { c.ask(1, true, ok("content-length", "3")...) })
	f("length of 304", "GET", fault.None, func(c *raw) { c.ask(1, true, ":status", "304", "content-length", "3") })
	f("reset before", "GET", fault.UpstreamReset, func(c *raw) { c.WriteRSTStream(1, http2.ErrCodeInternal) })
	f("reset within", "GET", fault.UpstreamReset, func(c *raw) { c.ask(1, false, ok()...); c.WriteRSTStream(1, http2.ErrCodeInternal) })
	f("end before", "GET", fault.ResponseTruncated, func(c *raw) { _ = c.nc.(*net.TCPConn).CloseWrite() })
	f("end within", "GET", fault.ResponseTruncated, func(c *raw) { c.ask(1, false, ok()...); _ = c.nc.(*net.TCPConn).CloseWrite() })
	f("TCP reset", "GET", fault.UpstreamReset, func(c *raw) { _ = c.nc.(*net.TCPConn).SetLinger(0); c.nc.Close() })
	// the connection
	f("push", "GET", fault.BadResponse, func(c *raw) {
		_ = c.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: c.block(get()...), EndHeaders: true})
	})
	f("its own stream", "GET", fault.BadResponse, func(c *raw) { c.ask(2, true, ok()...) })
	f("table", "GET", fault.BadResponse, func(c *raw) { c.headers(1, true, []byte{0x80}) })
	f("large frame", "GET", fault.BadResponse, func(c *raw) { c.WriteData(1, false, make([]byte, 20<<10)) })
	f("pings", "GET", fault.BadResponse, func(c *raw) {
		for range 10000 {
			if c.WritePing(true, [8]byte{}) != nil {
				return
			}
		}
	})
	f("offers to be pushed to", "GET", fault.BadResponse, func(c *raw) { c.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 1}) })
}

// TestNoBodyBehindHead: DATA behind an answer that has none breaks that stream and nothing else.
func TestNoBodyBehindHead(t *testing.T) {
	ln := rawUpstream(t, func(c *raw) {
		c.until(http2.FrameHeaders, 1)
		c.ask(1, false, ":status", "204")
		c.WriteData(1, true, []byte("surplus"))
		c.until(http2.FrameHeaders, 3)
		c.ask(3, true, ":status", "200")
		c.hold()
	})
	v := connect(t, ln, Settings{})
	if o := ask(t, v, "GET"); o.status != 204 || o.body != "" || o.err != nil {
		t.Errorf("%+v", o)
	}
	if o := ask(t, v, "GET"); o.status != 200 || o.err != nil {
		t.Errorf("%+v", o)
	}
}

// TestUnprocessed: what certainly was not acted on is told, and nothing else is.
func TestUnprocessed(t *testing.T) {
	f := func(name string, want bool, serve func(c *raw)) {
		t.Helper()
		ln := rawUpstream(t, func(c *raw) {
			c.until(http2.FrameHeaders, 1)
			serve(c)
			c.hold()
		})
		v := connect(t, ln, Settings{})
		if o := ask(t, v, "POST"); o.err == nil || o.unprocessed != want {
			t.Errorf("%s: %+v", name, o)
		}
	}
	f("refused", true, func(c *raw) { c.WriteRSTStream(1, http2.ErrCodeRefusedStream) })
	f("left out", true, func(c *raw) { c.WriteGoAway(0, http2.ErrCodeNo, nil); c.nc.Close() })
	f("cancelled", false, func(c *raw) { c.WriteRSTStream(1, http2.ErrCodeCancel) })
	f("taken, then gone", false, func(c *raw) { c.WriteGoAway(1, http2.ErrCodeNo, nil); c.nc.Close() })
	f("gone", false, func(c *raw) { c.nc.Close() })
}

// TestUpstreamGoAway: calls that were taken finish, no others begin, and the connection ends with the last.
func TestUpstreamGoAway(t *testing.T) {
	told := make(chan struct{})
	ln := rawUpstream(t, func(c *raw) {
		c.until(http2.FrameHeaders, 1)
		c.WriteGoAway(lastStream, http2.ErrCodeNo, nil)
		c.WriteGoAway(1, http2.ErrCodeNo, nil)
		<-told
		c.ask(1, false, ":status", "200")
		c.WriteData(1, true, []byte("whole"))
		c.hold()
	})
	v := connect(t, ln, Settings{})
	reserved, err := v.Open()
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan outcome)
	go func() { got <- ask(t, v, "GET") }()
	for v.Usable() {
		time.Sleep(time.Millisecond)
	}
	if _, err := v.Open(); err != ErrEnded {
		t.Error(err)
	}
	if err := reserved.WriteHead(&request(t, "GET", "/").Request, host, false, 0); err != ErrEnded || !reserved.Unprocessed() {
		t.Errorf("a stream begun after GOAWAY: %v", err)
	}
	reserved.Close()
	close(told)
	if o := <-got; o.body != "whole" || o.err != nil {
		t.Errorf("%+v", o)
	}
	<-v.Ended()
}

// TestUpstreamSilent: the head of an answer is owed from the end of the request on, the body byte by byte.
func TestUpstreamSilent(t *testing.T) {
	ln := rawUpstream(t, func(c *raw) {
		for g := range c.frames() {
			if g.Type == http2.FrameHeaders && g.StreamID == 3 {
				c.ask(3, false, ":status", "200")
			}
		}
	})
	v := connect(t, ln, Settings{WriteIdle: 50 * time.Millisecond})
	x := request(t, "GET", "/")
	k, _ := v.Open()
	if err := k.WriteHead(&x.Request, host, false, 0); err != nil {
		t.Fatal(err)
	}
	if err := k.ReadHead(x, &wire.Defaults, 30*time.Millisecond, 0); fault.KindOf(err) != fault.UpstreamTimeout {
		t.Error(err)
	}
	k.Close()
	k, _ = v.Open()
	if err := k.WriteHead(&x.Request, host, false, 0); err != nil {
		t.Fatal(err)
	}
	if err := k.ReadHead(x, &wire.Defaults, time.Second, 30*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(x); fault.KindOf(err) != fault.UpstreamTimeout {
		t.Error(err)
	}
	k.Close()
	// and a window that is never opened
	k, _ = v.Open()
	if err := k.WriteHead(&x.Request, host, false, -1); err != nil {
		t.Fatal(err)
	}
	if err := k.WriteBody(make([]byte, 1<<20), true); fault.KindOf(err) != fault.UpstreamTimeout {
		t.Error(err)
	}
	k.Close()
}

// TestNumbersUsedUp: with the last stream number the connection is over for new calls.
func TestNumbersUsedUp(t *testing.T) {
	ln := rawUpstream(t, func(c *raw) {
		c.until(http2.FrameHeaders, lastStream)
		c.ask(lastStream, true, ":status", "200")
		c.hold()
	})
	v := connect(t, ln, Settings{})
	v.mu.Lock()
	v.next = lastStream
	v.mu.Unlock()
	if o := ask(t, v, "GET"); o.err != nil {
		t.Errorf("%+v", o)
	}
	if _, err := v.Open(); err != ErrEnded || v.Usable() {
		t.Error(err)
	}
	<-v.Ended()
}

// TestClientSettings: what the upstream says of windows and streams holds from its SETTINGS on, for streams under way too.
func TestClientSettings(t *testing.T) {
	ln := rawUpstream(t, func(c *raw) {
		c.until(http2.FrameHeaders, 1)
		c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
		c.until(http2.FrameSettings, 0)
		c.ask(1, true, ":status", "200")
		c.until(http2.FrameHeaders, 3)
		if g := c.until(http2.FrameData, 3); len(g.data) != 10 {
			t.Errorf("%d bytes for a window of 10", len(g.data))
		}
		c.WriteWindowUpdate(3, 5)
		if g := c.until(http2.FrameData, 3); len(g.data) != 5 {
			t.Errorf("%d bytes for a window of 5", len(g.data))
		}
		c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 20})
		n := 0
		for n < 85 {
			g := c.until(http2.FrameData, 3)
			n += len(g.data)
			c.WriteWindowUpdate(3, 100)
		}
		c.ask(3, true, ":status", "200")
		c.hold()
	})
	v := connect(t, ln, Settings{})
	if o := ask(t, v, "GET"); o.err != nil {
		t.Errorf("%+v", o)
	}
	x := request(t, "POST", "/")
	roundTrip(t, v, x, make([]byte, 100), 100)
	if _, err := v.Open(); err != ErrFull {
		t.Error(err)
	}
}

// TestUpstreamStuck: an upstream whose TCP takes nothing fails all calls after the write-idle time, those too that have only
// been reserved.
func TestUpstreamStuck(t *testing.T) {
	ended := make(chan struct{})
	ln := rawUpstream(t, func(c *raw) {
		c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow})
		c.WriteWindowUpdate(0, maxWindow-minWindow)
		<-ended
	})
	v := connect(t, ln, Settings{WriteIdle: 200 * time.Millisecond})
	errs := make(chan error, 2)
	first := make(chan struct{})
	go func() {
		k, _ := v.Open()
		err := k.WriteHead(&request(t, "POST", "/").Request, host, false, -1)
		close(first)
		for err == nil {
			err = k.WriteBody(make([]byte, 64<<10), true)
		}
		k.Close()
		errs <- err
	}()
	<-first
	go func() {
		k, _ := v.Open()
		x := request(t, "GET", "/")
		var err error
		for err == nil {
			v.mu.Lock()
			full := len(v.out) >= outRoom
			v.mu.Unlock()
			if full { // now it has to wait, before it has a number
				if err = k.WriteHead(&x.Request, host, false, 0); err == nil {
					err = k.ReadHead(x, &wire.Defaults, 0, 0)
				}
				break
			}
			if !v.Usable() {
				err = ErrEnded
			}
		}
		k.Close()
		errs <- err
	}()
	for range 2 {
		select {
		case err := <-errs:
			if fault.KindOf(err) != fault.UpstreamReset {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a call hangs")
		}
	}
	close(ended)
}

// TestClientAbort: the cause is what those who wait get.
func TestClientAbort(t *testing.T) {
	cause := fault.New(fault.Draining, "cut")
	var v *Client
	begun := make(chan struct{})
	ln := rawUpstream(t, func(c *raw) {
		c.until(http2.FrameHeaders, 1)
		close(begun)
		c.hold()
	})
	v = connect(t, ln, Settings{})
	go func() {
		<-begun
		v.Abort(cause)
	}()
	if o := ask(t, v, "GET"); !errors.Is(o.err, cause) {
		t.Errorf("%+v", o)
	}
	<-v.Ended()
}
