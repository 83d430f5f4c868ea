package h2

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

// TestGoAway: a graceful end, frame by frame: what is on its way before the client can know is served.
func TestGoAway(t *testing.T) {
	block := make(chan struct{})
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) {
		<-block
		reply(x, 200, "whole")
	})
	c := r.dial()
	c.ask(1, true, get()...)
	c.until(http2.FrameSettings, 0)
	r.server(0).GoAway()
	r.server(0).GoAway()
	if g := c.goAway(); g.last != lastStream || g.code != http2.ErrCodeNo {
		t.Errorf("%+v", g)
	}
	var ping http2.Frame
	for ping == nil {
		f, err := c.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := f.(*http2.PingFrame); ok {
			ping = p
			c.ask(3, true, get()...) // the client had not seen it yet
			c.WritePing(true, p.Data)
		}
	}
	if g := c.goAway(); g.last != 3 || g.code != http2.ErrCodeNo {
		t.Errorf("%+v", g)
	}
	c.ask(5, true, get()...) // and now it had
	close(block)
	left := map[uint32]bool{1: true, 3: true}
	for g := range c.frames() {
		if g.StreamID == 5 {
			t.Errorf("%v for a stream that was not taken", g.Type)
		}
		if g.Type == http2.FrameData && g.Flags.Has(http2.FlagDataEndStream) {
			delete(left, g.StreamID)
		}
	}
	if len(left) > 0 {
		t.Errorf("not answered: %v", left)
	}
	c.nc.Close()
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// TestGoAwayLateStream: a stream that the client begins although it should know better is not taken, and costs nobody else
// anything, whatever is sent on it.
func TestGoAwayLateStream(t *testing.T) {
	block := make(chan struct{})
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) {
		<-block
		reply(x, 200, "whole")
	})
	release := sync.OnceFunc(func() { close(block) })
	defer release()
	c := r.dial()
	c.ask(1, true, get()...)
	c.until(http2.FrameSettings, 0)
	r.server(0).GoAway()
	c.goAway()
	c.goAway() // no PING was answered: it takes a second
	c.ask(3, false, post()...)
	c.WriteData(3, false, []byte("late"))
	c.WriteWindowUpdate(3, 100)
	c.WriteData(3, true, nil)
	c.ask(5, false, post()...)
	c.WriteRSTStream(5, http2.ErrCodeCancel)
	var pong [8]byte
	c.WritePing(false, pong)
	for c.until(http2.FramePing, 0).ack == false {
	}
	release()
	if _, body := c.answer(1); body != "whole" {
		t.Errorf("%q", body)
	}
}

// TestGoAwaySlowReader: what the kernel still holds for a slow client when the connection ends reaches it, though it goes
// on granting windows that nobody needs: a closed socket would answer them with a reset.
func TestGoAwaySlowReader(t *testing.T) {
	const size = 1 << 20
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) { reply(x, 200, strings.Repeat("x", size)) })
	c := r.dial(http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow})
	_ = c.nc.(*net.TCPConn).SetReadBuffer(16 << 10)
	c.WriteWindowUpdate(0, maxWindow-minWindow)
	c.ask(1, true, get()...)
	c.until(http2.FrameHeaders, 1)
	r.server(0).GoAway()
	got := 0
	for got < size {
		g, err := c.next()
		if err != nil {
			t.Fatalf("%v after %d bytes of %d", err, got, size)
		}
		if g.Type == http2.FramePing {
			c.WritePing(true, [8]byte(farewell))
		}
		if got += len(g.data); len(g.data) > 0 {
			time.Sleep(lingerTime * 5 / 4 * time.Duration(len(g.data)) / size * 2) // the client's pace
			c.WriteWindowUpdate(0, uint32(len(g.data)))
		}
	}
}

// TestGoAwayIdle: an idle connection ends within a round trip, one whose client is silent soon after.
func TestGoAwayIdle(t *testing.T) {
	r := startServer(t, Settings{}, echo)
	c := r.client()
	answer, err := c.Get(r.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	r.server(0).GoAway()
	if err := r.end(); err != nil {
		t.Error(err)
	}
	silent := r.dial()
	silent.until(http2.FrameSettings, 0)
	r.server(1).GoAway()
	for range silent.frames() {
	}
	silent.nc.Close()
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// TestDrainWithoutLoss: connections that are told to go again and again under load lose nothing.
func TestDrainWithoutLoss(t *testing.T) {
	r := startServer(t, Settings{}, echo)
	c := r.client()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var done atomic.Int64
	for range 16 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				answer, err := c.Post(r.url("/"), "text/plain", strings.NewReader("body"))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if string(got) != "body" || err != nil {
					t.Errorf("%q, %v", got, err)
				}
				done.Add(1)
			}
		})
	}
	for range 20 {
		for at := done.Load(); done.Load() < at+50 && !t.Failed(); {
			runtime.Gosched()
		}
		r.mu.Lock()
		for _, v := range r.servers {
			v.GoAway()
		}
		r.mu.Unlock()
	}
	close(stop)
	wg.Wait()
}

// TestServerAbort: the cause reaches the exchanges.
func TestServerAbort(t *testing.T) {
	began, causes := make(chan struct{}), make(chan *fault.Fault)
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) {
		began <- struct{}{}
		_, _ = drain(x)
		causes <- x.Cause()
		x.Down.Abort()
	})
	c := r.dial()
	c.ask(1, false, post()...)
	<-began
	if n := r.server(0).Streams(); n != 1 {
		t.Errorf("%d streams", n)
	}
	cause := fault.New(fault.Draining, "cut")
	r.server(0).Abort(cause)
	if got := <-causes; got != cause {
		t.Error(got)
	}
	if err := r.end(); err != cause {
		t.Error(err)
	}
}

// TestIdle: a connection without a stream ends in time, properly; one with a stream does not.
func TestIdle(t *testing.T) {
	block := make(chan struct{})
	r := startServer(t, Settings{Idle: 80 * time.Millisecond}, func(x *exchange.Exchange, err error) {
		<-block
		reply(x, 200, "")
	})
	c := r.dial()
	c.ask(1, true, get()...)
	time.AfterFunc(300*time.Millisecond, func() { close(block) })
	c.answer(1)
	if g := c.goAway(); g.code != http2.ErrCodeNo || g.last != 1 {
		t.Errorf("%+v", g)
	}
	c.nc.Close()
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// TestPing: a peer that gives no sign of life is dead; one that answers is not.
func TestPing(t *testing.T) {
	block := make(chan struct{})
	r := startServer(t, Settings{Ping: 50 * time.Millisecond}, func(x *exchange.Exchange, err error) {
		<-block
		reply(x, 200, "")
	})
	defer close(block)
	c := r.dial()
	c.ask(1, true, get()...)
	for range 3 {
		for {
			f, err := c.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if p, ok := f.(*http2.PingFrame); ok {
				c.WritePing(true, p.Data)
				break
			}
		}
	}
	for range c.frames() { // silent from now on
	}
}

// TestTLS: ALPN h2 over netio's TLS, with a real client.
func TestTLS(t *testing.T) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	config := &tls.Config{Certificates: cert.TLS.Certificates, NextProtos: []string{"h2"}}
	secure := make(chan string, 10)
	r := start(t, &rig{tls: config, handle: func(x *exchange.Exchange, err error) {
		secure <- string(x.Request.Host)
		echo(x, err)
	}})
	tr := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	tr.Protocols.SetHTTP2(true)
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	for range 3 {
		answer, err := c.Post("https://"+r.ln.Addr().String()+"/", "", strings.NewReader(strings.Repeat("x", 300<<10)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if len(got) != 300<<10 || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if h := <-secure; h != r.ln.Addr().String() {
			t.Error(h)
		}
	}
	r.server(0).GoAway()
	if err := r.end(); err != nil {
		t.Error(err)
	}
}
