package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/weirproxy/weir/core/coretest"
)

// TestClientsLeave has a thousand clients go away by RST while their requests are with the upstream: nothing of them is
// under way there a second later.
func TestClientsLeave(t *testing.T) {
	const n = 1000
	var waiting atomic.Int64
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		waiting.Add(1)
		defer waiting.Add(-1)
		<-r.Context().Done()
	}))
	defer up.Close()
	p, address, _ := startNode(t, nil, `version: 1
access_log: {output: "off"}
listeners: [{address: "@ADDRESS@"}]
admin: {address: "@ADMIN@"}
upstreams: {api: {endpoints: ["`+up.URL+`"], keepalive: {max_idle: 0}}}
routes: [{match: {path: /*}, auth: none, upstream: api}]
`)
	all := make([]*coretest.Client, n)
	for i := range all {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		all[i] = coretest.NewClient(t, nc)
		all[i].Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	p.wait("all are with the upstream", func() bool { return waiting.Load() == n })
	began := time.Now()
	for _, c := range all {
		c.Reset()
	}
	p.wait("none is", func() bool { return waiting.Load() == 0 })
	took := time.Since(began)
	coretest.Score(t, "C8", "seconds", took.Seconds())
	if took > 3*time.Second {
		t.Errorf("after %s", took)
	}
}

// TestDrainCrowd ends a node by SIGTERM with 500 requests under way and 50 WebSockets open: every answer comes whole, and every
// WebSocket is told before its end.
func TestDrainCrowd(t *testing.T) {
	const requests, sockets = 500, 50
	answer := make(chan struct{})
	var waiting atomic.Int64
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
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
		waiting.Add(1)
		<-answer
		_, _ = w.Write(make([]byte, 100<<10))
	}))
	defer up.Close()
	p, address, _ := startNode(t, nil, `version: 1
access_log: {output: "off"}
listeners: [{address: "@ADDRESS@"}]
admin: {address: "@ADMIN@"}
timeouts: {drain: 20s}
upstreams: {api: {endpoints: ["`+up.URL+`"]}}
routes: [{match: {path: /*}, auth: none, upstream: api}]
`)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var cut atomic.Int64
	var all sync.WaitGroup
	for range sockets {
		c, _, err := websocket.Dial(ctx, "ws://"+address+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for {
				if _, _, err := c.Read(ctx); err != nil {
					if websocket.CloseStatus(err) == -1 {
						cut.Add(1)
					}
					return
				}
			}
		})
	}
	for range requests {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		all.Go(func() {
			_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
			_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			got, err := io.ReadAll(nc)
			if err != nil || len(got) < 100<<10 {
				cut.Add(1)
			}
		})
	}
	p.wait("all are with the upstream", func() bool { return waiting.Load() == requests })
	p.signal(syscall.SIGTERM)
	p.wait("weir drains", func() bool { return !listens(address) })
	close(answer)
	all.Wait()
	if code := p.exit(20 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	coretest.Score(t, "G5", "cut", float64(cut.Load()))
	if cut.Load() != 0 {
		t.Errorf("%d of %d cut", cut.Load(), requests+sockets)
	}
}
