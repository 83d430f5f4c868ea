package server

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/certs"
	"github.com/weirproxy/weir/core/identity"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/plan"
)

// listener is one bound address. It lives through reloads as long as the configuration names the address; what it does
// with a connection is asked of the plan of the moment.
type listener struct {
	server  *Server
	spec    atomic.Pointer[plan.Listener]
	ln      net.Listener
	closing atomic.Bool // its connections end after the answer they are at
	quit    chan struct{}
	done    chan struct{}
}

func (s *Server) newListener(spec *plan.Listener, ln net.Listener) *listener {
	l := &listener{server: s, ln: ln, quit: make(chan struct{}), done: make(chan struct{})}
	l.spec.Store(spec)
	return l
}

// close stops accepting. What has been accepted is served to the end of the answer under way.
func (l *listener) close() {
	l.closing.Store(true)
	close(l.quit)
	_ = l.ln.Close()
	<-l.done
}

// accept takes connections until the listener is closed. No error but that ends it: without file descriptors it waits.
func (l *listener) accept() {
	defer close(l.done)
	wait := 5 * time.Millisecond
	for {
		nc, err := l.ln.Accept()
		if err == nil {
			wait = 5 * time.Millisecond
			l.server.admit(l, nc)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		l.server.log.Warn().Err(err).Str("listener", l.spec.Load().Address).Msg("accept failed; trying again")
		select {
		case <-l.quit:
		case <-time.After(wait):
		}
		wait = min(2*wait, time.Second)
	}
}

// start makes an accepted connection one of ours.
func (l *listener) start(nc net.Conn) *conn {
	c := &conn{server: l.server, from: l, base: nc, nc: netio.New(nc)}
	c.peer = addrPort(nc.RemoteAddr())
	c.text = []byte(c.peer.Addr().String())
	return c
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	}
	// A unix socket's peer is this machine.
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
}

// handshake reads what stands before the first request: the header of the PROXY protocol from those who send one, and TLS
// where the listener asks for it.
func (c *conn) handshake() error {
	if from := c.from.spec.Load().ProxyFrom; from != nil && from.Contains(c.peer.Addr()) {
		client, err := readProxyHeader(c.nc, c.peer)
		if err != nil {
			return err
		}
		c.peer = client
		c.text = []byte(client.Addr().String())
	}
	config := c.from.spec.Load().TLS
	if config == nil {
		return nil
	}
	t := tls.Server(c.nc, config)
	_ = t.SetDeadline(time.Now().Add(handshakeTime))
	if err := t.Handshake(); err != nil {
		return err
	}
	_ = t.SetDeadline(time.Time{})
	state := t.ConnectionState()
	if state.NegotiatedProtocol == certs.Challenge {
		_ = t.Close() // the handshake was all that the authority wanted
		return errChallenge
	}
	c.certificate = identity.FromTLS(&state)
	c.mu.Lock()
	c.nc, c.secure = netio.New(t), true
	c.mu.Unlock()
	return nil
}

var errChallenge = errors.New("a challenge, not a client")

// handshakeTime is how long a TLS handshake may take.
const handshakeTime = 5 * time.Second
