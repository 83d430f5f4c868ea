package h2

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wire"
)

func connect(t testing.TB, ln net.Listener, s Settings) *Client {
	t.Helper()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(netio.New(nc), s)
	t.Cleanup(func() {
		c.Abort(kinds[1].gone)
		<-c.Ended()
	})
	return c
}

// request makes an exchange that asks for a path.
func request(t testing.TB, method, path string, fields ...string) *exchange.Exchange {
	x := exchange.Acquire()
	t.Cleanup(func() { exchange.Release(x) })
	r := &x.Request
	r.Method, r.Target, r.Version, r.Trailers = []byte(method), []byte(path), exchange.HTTP20, true
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.AddString(fields[i], []byte(fields[i+1]))
	}
	return x
}

var host = []byte("up.example")

// roundTrip sends x and reads the answer's head. A call with a body is closed at the end of the test.
func roundTrip(t testing.TB, c *Client, x *exchange.Exchange, body []byte, length int64) *Call {
	t.Helper()
	k, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.WriteHead(&x.Request, host, false, length); err != nil {
		t.Fatal(err)
	}
	if length != 0 {
		sent := make(chan error, 1)
		go func() {
			err := k.WriteBody(body, true)
			if err == nil {
				err = k.Finish(&x.Request.Trailer)
			}
			sent <- err
		}()
		t.Cleanup(func() {
			k.Link().Abort()
			<-sent
			k.Close()
		})
	}
	if err := k.ReadHead(x, &wire.Defaults, 10*time.Second, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	return k
}

func readAll(x *exchange.Exchange) ([]byte, error) {
	var all []byte
	buf := make([]byte, 16<<10)
	for {
		p, err := x.Response.Body.Next(buf)
		all = append(all, p...)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

func TestClientGet(t *testing.T) {
	ln := upstream(t, 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Saw", r.Method+" "+r.Host+" "+r.URL.String()+" "+r.Header.Get("X-A")+" "+r.Header.Get("Te"))
		w.WriteHeader(201)
		io.WriteString(w, "hello")
	}))
	c := connect(t, ln, Settings{})
	for range 3 {
		x := request(t, "GET", "/a?b", "X-A", "1", "Connection", "close", "Transfer-Encoding", "chunked", "Host", "other")
		k := roundTrip(t, c, x, nil, 0)
		body, err := readAll(x)
		if err != nil || string(body) != "hello" || x.Response.Status != 201 || x.Response.Version != exchange.HTTP20 {
			t.Errorf("%d %q %v", x.Response.Status, body, err)
		}
		if saw := string(x.Response.Header.Get("x-saw")); saw != "GET up.example /a?b 1 trailers" {
			t.Errorf("upstream saw %q", saw)
		}
		if !k.Whole() || !k.Answered() {
			t.Error("call not whole")
		}
		k.Close()
	}
	if c.Streams() != 0 || c.IdleSince() == 0 || !c.Usable() {
		t.Error("not idle")
	}
}

func TestClientEcho(t *testing.T) {
	ln := upstream(t, 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Announced")
		n, err := io.Copy(w, r.Body)
		w.Header().Set("X-Announced", r.Header.Get("X-A"))
		w.Header().Set(http.TrailerPrefix+"X-Not-Announced", "2")
		if err != nil || n != 10<<20 {
			t.Errorf("copied %d, %v", n, err)
		}
	}))
	c := connect(t, ln, Settings{})
	sent := make([]byte, 10<<20)
	rand.Read(sent)
	for _, length := range []int64{-1, int64(len(sent))} {
		x := request(t, "POST", "/", "X-A", "1")
		x.Request.Trailer.AddString("X-Sent", []byte("1"))
		k := roundTrip(t, c, x, sent, length)
		body, err := readAll(x)
		if err != nil || !bytes.Equal(body, sent) {
			t.Errorf("%d bytes back, %v", len(body), err)
		}
		if tr := &x.Response.Trailer; string(tr.Get("x-announced")) != "1" || string(tr.Get("x-not-announced")) != "2" {
			t.Errorf("trailers %d %q", tr.Len(), tr.Get("x-not-announced"))
		}
		if !k.Whole() {
			t.Error("call not whole")
		}
	}
}

func TestClientInterim(t *testing.T) {
	ln := upstream(t, 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a>; rel=preload")
		w.WriteHeader(103)
		w.WriteHeader(204)
	}))
	x := request(t, "GET", "/")
	k := roundTrip(t, connect(t, ln, Settings{}), x, nil, 0)
	defer k.Close()
	if x.Response.Status != 103 || string(x.Response.Header.Get("link")) == "" {
		t.Errorf("first head %d", x.Response.Status)
	}
	x.ClearResponse()
	if err := k.ReadHead(x, &wire.Defaults, 0, 0); err != nil || x.Response.Status != 204 {
		t.Errorf("second head %d, %v", x.Response.Status, err)
	}
	if body, err := readAll(x); err != nil || len(body) != 0 {
		t.Errorf("%q %v", body, err)
	}
}

// TestClientCancel: Link.Abort frees who waits, Close resets the stream, and the connection goes on.
func TestClientCancel(t *testing.T) {
	gone := make(chan struct{}, 1)
	ln := upstream(t, 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
			gone <- struct{}{}
		}
	}))
	c := connect(t, ln, Settings{})
	x := request(t, "GET", "/hang")
	k, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	x.Bind(exchange.UpstreamLeg, k.Link())
	if err := k.WriteHead(&x.Request, host, false, 0); err != nil {
		t.Fatal(err)
	}
	handle := x.Handle()
	time.AfterFunc(10*time.Millisecond, func() { handle.Cancel(fault.New(fault.ExchangeTimeout, "")) })
	if err := k.ReadHead(x, &wire.Defaults, 0, 0); err != netio.ErrAborted {
		t.Errorf("got %v", err)
	}
	x.Bind(exchange.UpstreamLeg, nil)
	k.Close()
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("upstream not told")
	}
	y := request(t, "GET", "/")
	k = roundTrip(t, c, y, nil, 0)
	if y.Response.Status != 200 {
		t.Error("connection did not live on")
	}
	k.Close()
}

// TestClientEarlyAnswer: the answer may come while the body is still being sent.
func TestClientEarlyAnswer(t *testing.T) {
	ln := upstream(t, 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(413)
		io.WriteString(w, strings.Repeat("x", 100))
	}))
	c := connect(t, ln, Settings{})
	x := request(t, "POST", "/")
	roundTrip(t, c, x, make([]byte, 4<<20), 4<<20)
	body, err := readAll(x)
	if x.Response.Status != 413 || len(body) != 100 || err != nil {
		t.Errorf("%d, %d bytes, %v", x.Response.Status, len(body), err)
	}
}

func TestClientFull(t *testing.T) {
	hang := make(chan struct{})
	ln := upstream(t, 2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-hang
		}
	}))
	c := connect(t, ln, Settings{})
	roundTrip(t, c, request(t, "GET", "/"), nil, 0).Close() // the settings have come
	var ks []*Call
	for range 2 {
		k, err := c.Open()
		if err != nil {
			t.Fatal(err)
		}
		if err := k.WriteHead(&request(t, "GET", "/hang").Request, host, false, 0); err != nil {
			t.Fatal(err)
		}
		ks = append(ks, k)
	}
	if _, err := c.Open(); err != ErrFull {
		t.Errorf("third stream: %v", err)
	}
	close(hang)
	for _, k := range ks {
		if err := k.ReadHead(request(t, "GET", "/"), &wire.Defaults, 0, 0); err != nil {
			t.Error(err)
		}
		k.Close()
	}
	k, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	k.Close()
	c.Close()
	<-c.Ended()
	if _, err := c.Open(); err != ErrEnded {
		t.Errorf("after the end: %v", err)
	}
}
