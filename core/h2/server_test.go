package h2

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
)

func TestGet(t *testing.T) {
	r := startServer(t, Settings{}, echo)
	c := r.client()
	for range 3 {
		answer, err := c.Get(r.url("/a?b=c"))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != 200 || answer.Proto != "HTTP/2.0" || answer.Header.Get("X-Length") != "0" {
			t.Errorf("%v", answer)
		}
	}
}

func TestPostLarge(t *testing.T) {
	r := startServer(t, Settings{}, echo)
	sent := make([]byte, 10<<20)
	rand.Read(sent)
	for _, length := range []int64{-1, int64(len(sent))} {
		req, _ := http.NewRequest("POST", r.url("/"), io.NopCloser(bytes.NewReader(sent)))
		req.ContentLength = length
		answer, err := r.client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes back, %v", len(got), err)
		}
	}
}

// TestExchange: what the handler sees is what HTTP/1.1 would have given it.
func TestExchange(t *testing.T) {
	seen := make(chan string, 1)
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) {
		q := &x.Request
		x.Scratch = append(x.Scratch[:0], "anybody's, as soon as the handler runs"...)
		s := fmt.Sprintf("%s %s path=%s query=%s host=%s v=%d te=%v len=%d err=%v", q.Method, q.Target, q.Path, q.Query, q.Host,
			q.Version, q.Trailers, q.Body.Length, err)
		for i := range q.Header.Len() {
			f := q.Header.At(i)
			s += fmt.Sprintf("|%s: %s", f.Name, f.Value)
		}
		seen <- s
		reply(x, 200, "")
	})
	c := r.dial()
	id := uint32(1)
	f := func(fields []string, want string) {
		t.Helper()
		c.ask(id, true, fields...)
		if got := <-seen; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		c.answer(id)
		id += 2
	}
	f(get("b", "2", "a", "1", "b", "3"), "GET / path=/ query= host=a.example v=20 te=true len=0 err=<nil>|b: 2|a: 1|b: 3")
	// connection-level fields end here
	f(get("te", "trailers", "trailer", "x", "proxy-authorization", "x", "http2-settings", "x", "x", "y"),
		"GET / path=/ query= host=a.example v=20 te=true len=0 err=<nil>|x: y")
	// crumbs of a cookie are one field, where the first was
	f(get("cookie", "a=1", "x", "y", "cookie", "b=2", "cookie", "c=3"),
		"GET / path=/ query= host=a.example v=20 te=true len=0 err=<nil>|cookie: a=1; b=2; c=3|x: y")
	// the path is normalised
	f([]string{":method", "GET", ":scheme", "https", ":authority", "A.example:8080", ":path", "/a/../b/%7e?x=%7e"},
		"GET /b/~?x=%7e path=/b/~ query=x=%7e host=A.example:8080 v=20 te=true len=0 err=<nil>")
	// Host instead of :authority, or the same
	f([]string{":method", "GET", ":scheme", "http", ":path", "/", "host", "b.example"},
		"GET / path=/ query= host=b.example v=20 te=true len=0 err=<nil>")
	f(get("host", "A.EXAMPLE:80"), "GET / path=/ query= host=a.example v=20 te=true len=0 err=<nil>")
	f([]string{":method", "OPTIONS", ":scheme", "http", ":authority", "a", ":path", "*"},
		"OPTIONS * path=* query= host=a v=20 te=true len=0 err=<nil>")
	// underscores are dropped
	f(get("x_forwarded_for", "1.2.3.4"), "GET / path=/ query= host=a.example v=20 te=true len=0 err=<nil>")
}

// TestRefusals: what is well-formed and refused all the same is answered.
func TestRefusals(t *testing.T) {
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) {
		if err == nil {
			reply(x, 200, "")
			return
		}
		reply(x, fault.KindOf(err).Status(), "")
	})
	c := r.dial()
	id := uint32(1)
	f := func(want string, fields ...string) {
		t.Helper()
		c.ask(id, true, fields...)
		if got, _ := c.answer(id); got[":status"] != want {
			t.Errorf("%q: %s, want %s", fields, got[":status"], want)
		}
		id += 2
	}
	line := func(method, authority, path string) []string {
		return []string{":method", method, ":scheme", "http", ":authority", authority, ":path", path}
	}
	f("200", get()...)
	f("414", line("GET", "a", "/"+strings.Repeat("x", 9000))...)
	f("400", line("GET", "a", "x")...)
	f("400", line("GET", "a", "*")...)
	f("400", line("GET", "a", "/%00")...)
	f("400", line("GET", "a", "/a#b")...)
	f("400", line("GET", "a", "/a b")...)
	f("400", line("GET", "a", "/a\\b")...)
	f("400", line("GET", "a", "/%252e%252e/b")...)
	f("400", line("GET", "u@a", "/")...)
	f("400", line("GET", "a,b", "/")...)
	f("400", line("GET", "a b", "/")...)
	f("400", line("G(T", "a", "/")...)
	f("405", line("TRACE", "a", "/")...)
	f("405", ":method", "CONNECT", ":authority", "a:443")
	f("400", get("host", "b.example")...)
	f("400", get("host", "a.example", "host", "a.example")...)
	f("400", ":method", "GET", ":scheme", "http", ":path", "/")
	f("400", ":method", "GET", ":scheme", "ftp", ":path", "/", ":authority", "a")
	f("417", get("expect", "magic")...)
	f("431", get("x", strings.Repeat("y", 33<<10))...)
	many := get()
	for range 101 {
		many = append(many, "x", "y")
	}
	f("431", many...)
	f("200", get()...)
}

// TestMalformed: RFC 9113 §8.1.1: a malformed request is reset, never handled, and the connection goes on.
func TestMalformed(t *testing.T) {
	r := startServer(t, Settings{Resets: 1000}, func(x *exchange.Exchange, err error) {
		if len(x.Request.Host) == 0 || string(x.Request.Host) == "bad" {
			t.Errorf("handled: %s", x.Request.Target)
		}
		_, _ = drain(x)
		reply(x, 200, "")
	})
	c := r.dial()
	id := uint32(1)
	f := func(end bool, fields ...string) {
		t.Helper()
		c.ask(id, end, fields...)
		if g := c.until(http2.FrameRSTStream, id); g.code != http2.ErrCodeProtocol {
			t.Errorf("%q: %v", fields, g.code)
		}
		id += 2
	}
	bad := func(more ...string) []string {
		return append([]string{":method", "GET", ":scheme", "http", ":authority", "bad", ":path", "/"}, more...)
	}
	// pseudo-fields
	f(true, ":method", "GET", ":scheme", "http", ":authority", "bad")
	f(true, ":method", "GET", ":path", "/", ":authority", "bad")
	f(true, ":scheme", "http", ":path", "/", ":authority", "bad")
	f(true, ":method", "GET", ":scheme", "http", ":authority", "bad", ":path", "")
	f(true, bad(":method", "GET")...)
	f(true, bad(":authority", "bad")...)
	f(true, bad(":status", "200")...)
	f(true, bad(":other", "x")...)
	f(true, bad(":protocol", "websocket")...)
	f(true, bad("x", "y", ":path", "/")...)
	f(true, ":method", "CONNECT", ":authority", "bad", ":path", "/")
	f(true, ":method", "CONNECT", ":scheme", "http", ":authority", "bad", ":path", "/", ":protocol", "websocket")
	// names and values
	for _, name := range []string{"X-Upper", "", "a b", "a:b", "a\x00", "ü", "a\r\n"} {
		f(true, bad(name, "x")...)
	}
	for _, value := range []string{"a\nb", "a\rb", "a\x00", " a", "a ", "\ta", "a\x7f"} {
		f(true, bad("x", value)...)
	}
	f(true, ":method", "GET", ":scheme", "http", ":authority", "bad", ":path", "/\r\nx: y")
	// of the connection
	for _, name := range []string{"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"} {
		f(true, bad(name, "x")...)
	}
	f(true, bad("te", "gzip")...)
	f(true, bad("te", "trailers, gzip")...)
	// Content-Length
	for _, value := range []string{"+1", "-1", "0x1", "1,1", "", "1 1", "99999999999999999999"} {
		f(false, bad("content-length", value)...)
	}
	f(false, bad("content-length", "1", "content-length", "2")...)
	f(true, bad("content-length", "1")...)
	// and the connection still works
	c.ask(id, true, get()...)
	c.answer(id)
}

// TestLengthOfBody: DATA must be as long as Content-Length says (RFC 9113 §8.1.1).
func TestLengthOfBody(t *testing.T) {
	errs := make(chan error, 1)
	r := startServer(t, Settings{}, func(x *exchange.Exchange, _ error) {
		_, err := drain(x)
		errs <- err
		x.Down.Abort()
	})
	c := r.dial()
	id := uint32(1)
	f := func(send func(id uint32)) {
		t.Helper()
		c.ask(id, false, post("content-length", "5")...)
		send(id)
		if err := <-errs; fault.KindOf(err) != fault.BadRequest && !errors.Is(err, netio.ErrAborted) {
			t.Errorf("handler got %v", err)
		}
		if g := c.until(http2.FrameRSTStream, id); g.code != http2.ErrCodeProtocol {
			t.Errorf("%v", g.code)
		}
		id += 2
	}
	f(func(id uint32) { c.WriteData(id, false, []byte("123456")) })
	f(func(id uint32) { c.WriteData(id, true, []byte("1234")) })
	f(func(id uint32) { c.WriteData(id, false, []byte("1234")); c.WriteData(id, false, []byte("56")) })
	f(func(id uint32) { c.ask(id, true, "x", "y") }) // trailers too soon
}

func TestTrailers(t *testing.T) {
	type result struct {
		body, trailers string
		err            error
	}
	results := make(chan result, 1)
	r := startServer(t, Settings{}, func(x *exchange.Exchange, _ error) {
		body, err := drain(x)
		s := ""
		for i := range x.Request.Trailer.Len() {
			f := x.Request.Trailer.At(i)
			s += string(f.Name) + ":" + string(f.Value) + " "
		}
		results <- result{string(body), s, err}
		if err != nil {
			x.Down.Abort()
			return
		}
		x.Response.Status = 200
		x.Response.Trailer.AddString("Grpc-Status", []byte("0"))
		_ = x.Down.WriteHead(x, -1)
		_ = x.Down.WriteBody([]byte("a"), true)
		_ = x.Down.Finish(&x.Response.Trailer)
	})
	c := r.dial()
	c.ask(1, false, post()...)
	c.WriteDataPadded(1, false, []byte("body"), make([]byte, 200))
	c.ask(1, true, "x-sum", "1", "authorization", "evil", "content-length", "9", "x-forwarded-for", "evil")
	if got := <-results; got != (result{"body", "x-sum:1 ", nil}) {
		t.Errorf("%+v", got)
	}
	if h := c.until(http2.FrameHeaders, 1); h.fields[":status"] != "200" || h.fields["content-length"] != "" {
		t.Errorf("%v", h.fields)
	}
	if h := c.until(http2.FrameHeaders, 1); h.fields["grpc-status"] != "0" || !h.Flags.Has(http2.FlagHeadersEndStream) {
		t.Errorf("%v", h)
	}
	bad := func(id uint32, end bool, fields ...string) {
		t.Helper()
		c.ask(id, false, post()...)
		c.ask(id, end, fields...)
		if g := c.until(http2.FrameRSTStream, id); g.code != http2.ErrCodeProtocol {
			t.Errorf("%v", g.code)
		}
		<-results
	}
	bad(3, false, "x", "y")    // no END_STREAM
	bad(5, true, ":path", "/") // a pseudo-field
	bad(7, true, "Upper", "x") // malformed
	bad(9, true, "x", strings.Repeat("y", 5000))
}

// TestInterim: 103, and 100 when the body is asked for.
func TestInterim(t *testing.T) {
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) {
		x.Response.Status = 103
		x.Response.Header.AddString("Link", []byte("</a>"))
		if err := x.Down.Inform(x); err != nil {
			t.Error(err)
		}
		x.ClearResponse()
		echo(x, err)
	})
	c := r.dial()
	c.ask(1, false, post("expect", "100-continue")...)
	if h := c.until(http2.FrameHeaders, 1); h.fields[":status"] != "103" || h.fields["link"] != "</a>" {
		t.Errorf("%v", h.fields)
	}
	if h := c.until(http2.FrameHeaders, 1); h.fields[":status"] != "100" || h.Flags.Has(http2.FlagHeadersEndStream) {
		t.Errorf("%v", h.fields)
	}
	c.WriteData(1, true, []byte("body"))
	if h, body := c.answer(1); h[":status"] != "200" || body != "body" {
		t.Errorf("%v %q", h, body)
	}
}

// TestEarlyAnswer: an answer that does not wait for the body is whole, and the body is stopped without an error.
func TestEarlyAnswer(t *testing.T) {
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) { reply(x, 403, "no") })
	c := r.dial()
	c.ask(1, false, post()...)
	c.WriteData(1, false, make([]byte, 1000))
	if h, body := c.answer(1); h[":status"] != "403" || body != "no" {
		t.Errorf("%v %q", h, body)
	}
	if g := c.until(http2.FrameRSTStream, 1); g.code != http2.ErrCodeNo {
		t.Errorf("%v", g.code)
	}
	c.WriteData(1, true, make([]byte, 1000)) // was on its way
	c.ask(3, true, get()...)
	c.answer(3)
	// and as a client sees it
	req, _ := http.NewRequest("POST", r.url("/"), io.LimitReader(zeros{}, 8<<20))
	answer, err := r.client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 403 {
		t.Error(answer.Status)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestPeerReset: a reset cancels the exchange at once, whatever it waits for; the connection lives on.
func TestPeerReset(t *testing.T) {
	began, causes := make(chan struct{}), make(chan *fault.Fault, 1)
	r := startServer(t, Settings{}, func(x *exchange.Exchange, _ error) {
		if string(x.Request.Method) == "GET" {
			reply(x, 200, "")
			return
		}
		began <- struct{}{}
		_, err := drain(x)
		if err == nil {
			t.Error("body complete")
		}
		causes <- x.Cause()
		x.Down.Abort()
	})
	c := r.dial()
	c.ask(1, false, post()...)
	<-began
	c.WriteRSTStream(1, http2.ErrCodeCancel)
	if cause := <-causes; fault.KindOf(cause) != fault.ClientGone {
		t.Errorf("cause %v", cause)
	}
	c.ask(3, true, get()...)
	c.answer(3)
	// The end of the connection is the end of all its exchanges.
	c.ask(5, false, post()...)
	<-began
	c.nc.Close()
	if cause := <-causes; fault.KindOf(cause) != fault.ClientGone {
		t.Errorf("cause %v", cause)
	}
	if err := r.end(); err == nil {
		t.Error("an end in the middle of a request is no proper one")
	}
}

// TestAbortOne: the end of one exchange is no other's.
func TestAbortOne(t *testing.T) {
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) {
		if string(x.Request.Path) == "/abort" {
			x.Response.Status = 200
			_ = x.Down.WriteHead(x, 100)
			_ = x.Down.WriteBody([]byte("part"), true)
			x.Down.Abort()
			return
		}
		reply(x, 200, "whole")
	})
	c := r.dial()
	c.ask(1, true, ":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/abort")
	if g := c.until(http2.FrameRSTStream, 1); g.code != http2.ErrCodeInternal {
		t.Error(g.code)
	}
	c.ask(3, true, get()...)
	if _, body := c.answer(3); body != "whole" {
		t.Error(body)
	}
}

// TestCancelAnswer: a cancelled exchange whose client grants no window ends at once.
func TestCancelAnswer(t *testing.T) {
	handles, errs := make(chan exchange.Handle, 1), make(chan error, 1)
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) {
		x.Response.Status = 200
		_ = x.Down.WriteHead(x, -1)
		handles <- x.Handle()
		errs <- x.Down.WriteBody(make([]byte, 1<<20), true)
		x.Down.Abort()
	})
	c := r.dial()
	c.ask(1, true, get()...)
	h := <-handles
	for n := 0; n < minWindow; {
		n += len(c.until(http2.FrameData, 1).data)
	}
	h.Cancel(fault.New(fault.Draining, ""))
	if err := <-errs; err != netio.ErrAborted {
		t.Error(err)
	}
	c.until(http2.FrameRSTStream, 1)
}

// TestTimeoutAnswered: the route's timeout is the one cause of which the client is told.
func TestTimeoutAnswered(t *testing.T) {
	r := startServer(t, Settings{}, func(x *exchange.Exchange, err error) {
		x.Cancel(fault.New(fault.ExchangeTimeout, ""))
		reply(x, 504, "late")
	})
	c := r.dial()
	c.ask(1, true, get()...)
	if h, body := c.answer(1); h[":status"] != "504" || body != "late" {
		t.Errorf("%v %q", h, body)
	}
}

// TestBodyIdle: who sends nothing of a body is told so.
func TestBodyIdle(t *testing.T) {
	r := start(t, &rig{idle: 30 * time.Millisecond, handle: func(x *exchange.Exchange, _ error) {
		_, err := drain(x)
		reply(x, fault.KindOf(err).Status(), "")
	}})
	c := r.dial()
	c.ask(1, false, post()...)
	if h, _ := c.answer(1); h[":status"] != "408" {
		t.Errorf("%v", h)
	}
}

// TestBackPressure: of a body that nobody reads no more may come than the window; reading opens it again.
func TestBackPressure(t *testing.T) {
	proceed := make(chan struct{})
	r := startServer(t, Settings{}, func(x *exchange.Exchange, _ error) {
		<-proceed
		body, err := drain(x)
		if len(body) != 128<<10 || err != nil {
			t.Errorf("%d bytes, %v", len(body), err)
		}
		reply(x, 200, "")
	})
	c := r.dial()
	c.ask(1, false, post()...)
	for range 4 {
		c.WriteDataPadded(1, false, make([]byte, 16<<10-100), make([]byte, 99))
	}
	c.WritePing(false, [8]byte{1})
	opened := uint32(0)
	for g := range c.frames() {
		if g.Type == http2.FrameWindowUpdate && g.StreamID == 1 {
			opened += g.n
		}
		if g.Type == http2.FramePing && g.ack {
			break
		}
	}
	if opened > 4*100 {
		t.Errorf("%d bytes of window for a body that was not read", opened)
	}
	close(proceed)
	for left := 128<<10 - 4*(16<<10-100); left > 0; {
		if g := c.until(http2.FrameWindowUpdate, 0); g.StreamID == 1 {
			for opened += g.n; opened > 0 && left > 0; {
				n := min(left, 16<<10, int(opened))
				c.WriteData(1, left == n, make([]byte, n))
				opened -= uint32(n)
				left -= n
			}
		}
	}
	c.answer(1)
}

// TestFlowOverrun: more than a window allows is an error of the stream, or of the connection.
func TestFlowOverrun(t *testing.T) {
	block := make(chan struct{})
	r := startServer(t, Settings{ConnWindow: 128 << 10}, func(x *exchange.Exchange, err error) {
		<-block
		x.Down.Abort()
	})
	defer close(block)
	c := r.dial()
	c.ask(1, false, post()...)
	for range 5 {
		c.WriteData(1, false, make([]byte, 16<<10))
	}
	if g := c.until(http2.FrameRSTStream, 1); g.code != http2.ErrCodeFlowControl {
		t.Error(g.code)
	}
	c.ask(3, false, post()...)
	c.ask(5, false, post()...)
	c.ask(7, false, post()...)
	for _, id := range []uint32{3, 5, 7} {
		for range 4 {
			c.WriteData(id, false, make([]byte, 16<<10))
		}
	}
	if g := c.goAway(); g.code != http2.ErrCodeFlowControl {
		t.Error(g.code)
	}
}

// TestManyStreams: 1,000 requests at once over few connections, each answered with what it asked for.
func TestManyStreams(t *testing.T) {
	r := startServer(t, Settings{}, func(x *exchange.Exchange, _ error) {
		body, err := drain(x)
		if err != nil {
			x.Down.Abort()
			return
		}
		reply(x, 200, string(x.Request.Path)+string(body))
	})
	var wg sync.WaitGroup
	clients := []*http.Client{r.client(), r.client(), r.client(), r.client()}
	for i := range 1000 {
		wg.Go(func() {
			path := fmt.Sprintf("/%d", i)
			text := strings.Repeat("x", i*50)
			answer, err := clients[i%len(clients)].Post(r.url(path), "text/plain", strings.NewReader(text))
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			if got, err := io.ReadAll(answer.Body); err != nil || string(got) != path+text {
				t.Errorf("%s: %d bytes, %v", path, len(got), err)
			}
		})
	}
	wg.Wait()
}
