package h2

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/pool"
)

var (
	errProtocol = fault.New(fault.BadRequest, "extended CONNECT for what is no WebSocket of version 13")
	errAccept   = fault.New(fault.BadResponse, "101 without the right Sec-WebSocket-Accept")
)

// upgrade makes of an extended CONNECT (RFC 8441 §5) the handshake that HTTP/1.1 has for the same: a GET with Upgrade. The key
// is ours: over HTTP/2 there is none.
func (s *Stream) upgrade(x *exchange.Exchange, h *section) error {
	r := &x.Request
	r.Method = methodGet
	r.Body.Init(0, nil)
	version := r.Header.Index("sec-websocket-version", 0)
	if string(h.get(pseudoProtocol)) != "websocket" || version < 0 || string(r.Header.At(version).Value) != "13" ||
		r.Header.Index("sec-websocket-version", version+1) >= 0 {
		return errProtocol
	}
	r.Header.Del("sec-websocket-key")
	var nonce [16]byte
	_, _ = rand.Read(nonce[:])
	x.Scratch = base64.StdEncoding.AppendEncode(x.Scratch[:0], nonce[:])
	r.Header.AddString("Sec-WebSocket-Key", x.Scratch)
	r.Upgrade, s.connect = true, true
	return nil
}

const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

var methodGet = []byte("GET")

// accept answers an extended CONNECT whose handshake has been accepted with a 101. The key being ours, so is the check of
// what has been made of it (RFC 6455 §4.1): a server that does not know it speaks no WebSocket.
func (s *Stream) accept(x *exchange.Exchange) error {
	sum := sha1.Sum(append(bytes.Clone(x.Request.Header.Get("sec-websocket-key")), acceptGUID...))
	if string(x.Response.Header.Get("sec-websocket-accept")) != base64.StdEncoding.EncodeToString(sum[:]) {
		return errAccept
	}
	x.Response.Header.Del("sec-websocket-accept")
	s.answer = answer{left: -1, tunnel: true}
	if err := s.head(&x.Response.Header, 200, -1, false); err != nil {
		return err
	}
	return s.write(nil, true, x.WriteIdle)
}

// Tunnel is exchange.Downstream's.
func (s *Stream) Tunnel() (exchange.Pipe, []byte, error) {
	if !s.answer.tunnel {
		return nil, nil, errTunnel
	}
	return &pipe{link: (*link)(&s.stream)}, nil, nil
}

// pipe is a stream as exchange.Pipe.
type pipe struct {
	*link
	readMost, writeMost time.Duration
}

// ReadBy is exchange.Pipe's.
func (p *pipe) ReadBy(_ int64, most time.Duration) { p.readMost = most }

// WriteBy is exchange.Pipe's.
func (p *pipe) WriteBy(_ int64, most time.Duration) { p.writeMost = most }

// ReadPooled is exchange.Pipe's.
func (p *pipe) ReadPooled(size int) (buf []byte, n int, err error) {
	s := (*stream)(p.link)
	if err := s.await(p.readMost); err != nil {
		return nil, 0, err
	}
	buf = pool.Acquire(size)
	n, err = s.read(buf, p.readMost)
	if n > 0 {
		err = nil
	}
	return buf, n, err
}

// Write is exchange.Pipe's.
func (p *pipe) Write(b []byte) (int, error) {
	if err := (*stream)(p.link).write(b, true, p.writeMost); err != nil {
		return 0, err
	}
	return len(b), nil
}

// CloseWrite is exchange.Pipe's.
func (p *pipe) CloseWrite() error { return (*stream)(p.link).finish(nil, p.writeMost) }
