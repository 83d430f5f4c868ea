package main

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// client is one raw connection to a proxy.
type client struct {
	*net.TCPConn
	buf   []byte
	ended error // io.EOF or a reset, once it came
}

// ending says why an answer ended, or is none.
type ending int

const (
	complete ending = iota
	closed          // the proxy ended the connection before the answer was whole
	reset
	silent // nothing came for as long as the client is patient
	garbled
)

func dial(address string) (*client, error) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &client{TCPConn: nc.(*net.TCPConn)}, nil
}

// send writes what it can: a proxy that has refused already may not take it all.
func (c *client) send(s string) { _, _ = io.WriteString(c, s) }

// kill closes with a reset.
func (c *client) kill() {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// answer reads the next final answer to a request with the method. Interim ones are passed over.
func (c *client) answer(method string, patience time.Duration) (message, ending) {
	for {
		m, n, s := readAnswer(c.buf, method, c.ended == io.EOF)
		switch {
		case s == broken:
			return m, garbled
		case s == whole && m.status < 200 && m.status != 101:
			c.buf = c.buf[n:]
			continue
		case s == whole:
			c.buf = c.buf[n:]
			return m, complete
		case c.ended == io.EOF:
			return m, closed
		case c.ended != nil:
			return m, reset
		}
		if !c.more(patience) {
			return m, silent
		}
	}
}

// more reads on, and reports false if nothing came in time.
func (c *client) more(patience time.Duration) bool {
	piece := make([]byte, 64<<10)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	n, err := c.Read(piece)
	c.buf = append(c.buf, piece[:n]...)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.ended = err
	return true
}

// ends reports whether the proxy ends the connection in time without another byte.
func (c *client) ends(patience time.Duration) bool {
	for c.ended == nil && len(c.buf) == 0 {
		if !c.more(patience) {
			return false
		}
	}
	return len(c.buf) == 0
}
