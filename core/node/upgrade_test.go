package node_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
)

const handshake = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Up: 1\r\n\r\n"

// echo is a WebSocket that sends back what it gets.
func echo(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	for {
		kind, b, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, b) != nil {
			return
		}
	}
}

func TestWebSocket(t *testing.T) {
	r := coretest.Start(t, logged, http.HandlerFunc(echo), coretest.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, answer, err := websocket.Dial(ctx, r.URL+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if answer.Header.Get("X-Request-Id") == "" {
		t.Error(answer.Header)
	}
	big := strings.Repeat("x", 30<<10)
	for _, text := range []string{"hello", "", big} {
		if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != text {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	coretest.Eventually(t, "a record of all bytes", func() bool {
		return strings.Contains(r.Access.String(), `"status_code":101`) && strings.Contains(r.Access.String(), `"bytes_in":307`)
	})
}

func TestUpgrade(t *testing.T) {
	early := make(chan int, 1)
	r := through(t, logged, func(u *coretest.Client) {
		switch head := u.Head(); {
		case strings.Contains(head, "/refuse"):
			u.Send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
			if next := u.Head(); !strings.HasPrefix(next, "GET /next ") {
				t.Errorf("then %q", next)
			}
			u.Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")
		case strings.Contains(head, "/ws"):
			if !strings.Contains(head, "Connection: Upgrade\r\nUpgrade: websocket\r\n") {
				t.Errorf("%q", head)
			}
			_ = u.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			n, _ := u.Read(make([]byte, 100)) // nothing may come before the 101
			early <- n
			_ = u.SetReadDeadline(time.Now().Add(10 * time.Second))
			u.Send(switching + "server first")
			b := make([]byte, 5)
			_, _ = io.ReadFull(u.In, b)
			u.Send(string(b))
			rest, _ := u.Rest() // the client ends its side, and still hears the last word
			u.Send("last " + rest)
		}
	})
	c := r.Client()
	c.Send(handshake + "early")
	if head := c.Head(); !strings.HasPrefix(head, "HTTP/1.1 101 ") || !strings.Contains(head, "X-Up: 1") {
		t.Fatalf("%q", head)
	}
	if n := <-early; n != 0 {
		t.Errorf("%d bytes were forwarded before the 101", n)
	}
	c.Send("tail")
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	if got, err := c.Rest(); got != "server firstearlylast tail" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	c = r.Client()
	c.Send(strings.Replace(handshake, "/ws", "/refuse", 1) + "GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
	if answer, body := c.Answer("GET"); answer.StatusCode != 403 || body != "no" {
		t.Errorf("%d %q", answer.StatusCode, body)
	}
	if _, body := c.Answer("GET"); body != "next" {
		t.Errorf("%q", body)
	}
	// What is not a whole handshake is no upgrade, and what it is not is not forwarded.
	c = r.Client()
	c.Send(strings.Replace(handshake, "Version: 13", "Version: 12", 1))
	if answer, _ := c.Answer("GET"); answer.StatusCode != 400 {
		t.Error(answer.Status)
	}
}

// Filters see a 101 as any answer, and may put another in its place.
func TestFilterOnUpgrade(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		ff := &fake{response: func(x *exchange.Exchange, _ bool) (filter.Verdict, error) {
			x.Response.Header.Set("x-seen", []byte("1"))
			if refuse {
				x.Response.Status = 403
				x.Response.Body.Replace([]byte("no"))
				return filter.Respond, nil
			}
			return filter.Continue, nil
		}}
		up := coretest.StartRaw(t, func(u *coretest.Client) {
			for u.Head() != "" {
				u.Send(switching)
			}
		})
		r := coretest.Start(t, plain, nil, coretest.Options{Kinds: ff.kinds(false), Env: map[string]string{"UPSTREAM": up.Address()}})
		c := r.Client()
		for range 2 {
			c.Send(handshake)
			answer, _ := c.Answer("HEAD")
			if want := map[bool]int{false: 101, true: 403}[refuse]; answer.StatusCode != want || answer.Header.Get("X-Seen") != "1" {
				t.Fatalf("%d %v", answer.StatusCode, answer.Header)
			}
			if !refuse {
				break
			}
			if b := make([]byte, 2); true {
				_, _ = io.ReadFull(c.In, b)
			}
		}
	}
}

// A tunnel is idle when neither side sends, not when one of them only listens.
func TestTunnelIdle(t *testing.T) {
	yaml := strings.Replace(logged, "routes:", "timeouts: {idle: 200ms}\nroutes:", 1)
	r := through(t, yaml, func(u *coretest.Client) {
		u.Head()
		u.Send(switching)
		for range 8 {
			time.Sleep(80 * time.Millisecond)
			u.Send(".")
		}
		_, _ = u.Rest()
	})
	c := r.Client()
	c.Send(handshake)
	c.Head()
	if got, _ := c.Rest(); got != "........" {
		t.Errorf("%q", got)
	}
}

// A side that does not answer the goodbye is cut at the end of the drain.
func TestTunnelIsCutAtTheEndOfDrain(t *testing.T) {
	yaml := strings.Replace(logged, "routes:", "timeouts: {drain: 300ms}\nroutes:", 1)
	r := through(t, yaml, func(u *coretest.Client) {
		u.Head()
		u.Send(switching)
		_, _ = u.Rest()
	})
	c := r.Client()
	c.Send(handshake)
	c.Head()
	if cut := r.Node.Drain(); cut != 1 {
		t.Errorf("%d cut", cut)
	}
	if got, err := c.Rest(); got != "\x88\x02\x03\xe9" {
		t.Errorf("%q %v", got, err)
	}
	wantRecord(t, r, fault.Draining, `"status_code":101`)
}
