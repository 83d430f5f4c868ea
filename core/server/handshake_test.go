package server

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/plan"
)

// TestPanicInAHandshake ends the connection, and not the process.
func TestPanicInAHandshake(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	l := &listener{server: &Server{log: zerolog.Nop()}}
	l.spec.Store(&plan.Listener{TLS: &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { panic("here") }}})
	go func() {
		_ = tls.Client(far, &tls.Config{InsecureSkipVerify: true}).Handshake()
		_, _ = io.Copy(io.Discard, far)
	}()
	c := &conn{server: l.server, from: l, base: near, nc: netio.New(near)}
	if err := c.handshake(); err != errPanic {
		t.Error(err)
	}
}
