package coretest

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
)

// Still is an upstream that allocates nothing a request: it reads heads without a body and sends one fixed answer.
type Still struct {
	ln       net.Listener
	Requests atomic.Int64
}

// StartStill serves until the test ends.
func StartStill(t testing.TB, answer string) *Still {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Still{ln: ln}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go s.serve(c, []byte(answer))
		}
	}()
	return s
}

// Address is where it listens.
func (s *Still) Address() string { return s.ln.Addr().String() }

func (s *Still) serve(c net.Conn, answer []byte) {
	defer c.Close()
	buf := make([]byte, 64<<10)
	n := 0
	for {
		m, err := c.Read(buf[n:])
		if err != nil {
			return
		}
		n += m
		for {
			i := bytes.Index(buf[:n], []byte("\r\n\r\n"))
			if i < 0 {
				break
			}
			n = copy(buf, buf[i+4:n])
			s.Requests.Add(1)
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}
}

// Exchanger sends one fixed request again and again over one connection, allocating nothing.
type Exchanger struct {
	t       testing.TB
	c       net.Conn
	request []byte
	buf     []byte
	length  int
}

// NewExchanger connects to weir and learns from a first exchange how long the answer is: later ones are as long.
func (r *Rig) NewExchanger(request string) *Exchanger {
	r.T.Helper()
	e := &Exchanger{t: r.T, c: r.Dial(), request: []byte(request), buf: make([]byte, 64<<10)}
	r.T.Cleanup(func() { e.c.Close() })
	if _, err := e.c.Write(e.request); err != nil {
		r.T.Fatal(err)
	}
	n := 0
	for {
		m, err := e.c.Read(e.buf[n:])
		if err != nil {
			r.T.Fatal(err)
		}
		n += m
		if i := bytes.Index(e.buf[:n], []byte("\r\n\r\n")); i >= 0 {
			length := 0
			if j := bytes.Index(e.buf[:i], []byte("Content-Length: ")); j >= 0 {
				for _, c := range e.buf[j+16 : i] {
					if c-'0' > 9 {
						break
					}
					length = length*10 + int(c-'0')
				}
			}
			e.length = i + 4 + length
			if n >= e.length {
				return e
			}
		}
	}
}

// First is the first answer that came.
func (e *Exchanger) First() string { return string(e.buf[:e.length]) }

// Run makes one exchange.
func (e *Exchanger) Run() {
	if _, err := e.c.Write(e.request); err != nil {
		e.t.Fatal(err)
	}
	if _, err := io.ReadAtLeast(e.c, e.buf, e.length); err != nil {
		e.t.Fatal(err)
	}
}
