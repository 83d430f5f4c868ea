package node_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/weirproxy/weir/core/coretest"
)

const (
	goingAway       = "\x88\x02\x03\xe9"
	goingAwayMasked = "\x88\x82\xa5\x3c\x96\x5a\xa6\xd5"
)

// TestDrainSaysGoodbye: both sides of a WebSocket are told 1001, and the drain ends when both have answered.
func TestDrainSaysGoodbye(t *testing.T) {
	server := make(chan websocket.StatusCode, 10)
	r := coretest.Start(t, logged, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil {
				server <- websocket.CloseStatus(err)
				return
			}
			_ = c.Write(r.Context(), kind, b)
		}
	}), coretest.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	const n = 10
	client := make(chan websocket.StatusCode, n)
	for range n {
		c, _, err := websocket.Dial(ctx, r.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); string(got) != "hello" {
			t.Fatal(err)
		}
		go func() {
			_, _, err := c.Read(ctx)
			client <- websocket.CloseStatus(err)
		}()
	}
	if m := string(r.Node.Metrics()); !strings.Contains(m, `weir_connections{listener="all",state="tunnel"} 10`) {
		t.Error(grep(m, "weir_connections"))
	}
	began := time.Now()
	if cut := r.Node.Drain(); cut != 0 || time.Since(began) > soon {
		t.Errorf("%d cut after %s", cut, time.Since(began))
	}
	for range n {
		if a, b := <-client, <-server; a != websocket.StatusGoingAway || b != websocket.StatusGoingAway {
			t.Errorf("client %d, server %d", a, b)
		}
	}
	if !strings.Contains(r.Log.String(), `"tunnels":10`) {
		t.Error(grep(r.Log.String(), "draining"))
	}
}

// TestGoodbyeStandsBetweenFrames: what has begun goes through as a whole, then comes the close frame, and then nothing. The
// other way, where nothing is under way, it comes at once.
func TestGoodbyeStandsBetweenFrames(t *testing.T) {
	up := make(chan *coretest.Client, 1)
	hold := make(chan struct{})
	r := through(t, logged, func(u *coretest.Client) {
		u.Head()
		u.Send(switching)
		up <- u
		<-hold
	})
	defer close(hold)
	c := r.Client()
	c.Send(handshake)
	c.Head()
	u := <-up
	read := func(c *coretest.Client, want string) {
		t.Helper()
		b := make([]byte, len(want))
		if _, err := io.ReadFull(c.In, b); string(b) != want {
			t.Fatalf("%q, want %q: %v", b, want, err)
		}
	}
	u.Send("\x81\x7e\x01\x00" + strings.Repeat("x", 100)) // 100 bytes of 256
	read(c, "\x81\x7e\x01\x00"+strings.Repeat("x", 100))
	drained := make(chan int)
	go func() { drained <- r.Node.Drain() }()
	read(u, goingAwayMasked)
	u.Send(strings.Repeat("x", 155))
	read(c, strings.Repeat("x", 155))
	u.Send("x\x81\x02no")
	read(c, "x"+goingAway)
	u.Send("\x81\x02no")
	c.Send("\x81\x82abcdno" + "\x88\x82\x00\x00\x00\x00\x03\xe9") // is not passed on, nor is the answer
	if got, err := u.Rest(); got != "" || err != nil {            // the client has said its last word
		t.Errorf("%q %v", got, err)
	}
	u.Send("\x88\x02\x03\xe9")
	if got, err := c.Rest(); got != "" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if cut := <-drained; cut != 0 {
		t.Errorf("%d cut", cut)
	}
}
