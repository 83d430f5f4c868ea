package coretest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Raw is an upstream that speaks in bytes: serve has every connection to itself, which is closed when serve returns.
type Raw struct {
	ln net.Listener
	wg sync.WaitGroup
}

// StartRaw serves until the test ends. All connections are closed then.
func StartRaw(t testing.TB, serve func(c *Client)) *Raw {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Raw{ln: ln}
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	r.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[nc] = true
			mu.Unlock()
			r.wg.Go(func() {
				defer func() {
					mu.Lock()
					delete(open, nc)
					mu.Unlock()
					nc.Close()
				}()
				serve(NewClient(t, nc))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for nc := range open {
			nc.Close()
		}
		mu.Unlock()
		r.wg.Wait()
	})
	return r
}

// Address is where it listens.
func (r *Raw) Address() string { return r.ln.Addr().String() }

// Client is one end of a connection, for tests that count bytes. Reads give up after ten seconds.
type Client struct {
	net.Conn
	In *bufio.Reader
	t  testing.TB
}

// NewClient wraps a connection.
func NewClient(t testing.TB, nc net.Conn) *Client {
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	return &Client{Conn: nc, In: bufio.NewReader(nc), t: t}
}

// Client opens a connection to weir that ends with the test.
func (r *Rig) Client() *Client {
	r.T.Helper()
	c := NewClient(r.T, r.Dial())
	r.T.Cleanup(func() { c.Close() })
	return c
}

// Send writes text as it is; what went wrong is seen by the next read.
func (c *Client) Send(text string) { _, _ = io.WriteString(c.Conn, text) }

// Answer reads one answer to a request with the given method, and fails the test if there is none.
func (c *Client) Answer(method string) (*http.Response, string) {
	c.t.Helper()
	answer, body, err := ReadResponse(c.In, method)
	if err != nil {
		c.t.Fatalf("read answer: %v; body so far %q", err, body)
	}
	return answer, body
}

// Head reads up to and with the next empty line; "" at the end of the connection.
func (c *Client) Head() string {
	var b strings.Builder
	for {
		line, err := c.In.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return ""
		}
		if line == "\r\n" {
			return b.String()
		}
	}
}

// Rest reads to the end of the connection, and reports how it ended: nil is a proper end.
func (c *Client) Rest() (string, error) {
	b, err := io.ReadAll(c.In)
	return string(b), err
}

// Reset closes with an RST.
func (c *Client) Reset() {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	c.Close()
}
