package server

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/socket"
)

// listener is one bound address. It lives through reloads as long as the configuration names the address; what it does
// with a connection is asked of the plan of the moment.
type listener struct {
	server *Server
	spec   atomic.Pointer[plan.Listener]
	ln     net.Listener
	quit   chan struct{}
	done   chan struct{}
}

func (s *Server) newListener(spec *plan.Listener, ln net.Listener) *listener {
	l := &listener{server: s, ln: ln, quit: make(chan struct{}), done: make(chan struct{})}
	l.spec.Store(spec)
	boundUnsent(ln)
	return l
}

// close stops accepting, once what the kernel had accepted has been taken: closing a socket resets those in its queue,
// whose clients think that they are connected. What has been accepted is served.
func (l *listener) close() {
	close(l.quit)
	if d, ok := l.ln.(deadliner); ok {
		_ = d.SetDeadline(time.Unix(1, 0)) // accept wakes, and drains the queue
	} else {
		_ = l.ln.Close()
	}
	<-l.done
}

type deadliner interface{ SetDeadline(time.Time) error }

// drain takes what is in the queue, and closes. Nothing stands between the two that could be done later: who connects there
// is lost. A socket that somebody else accepts from too keeps its queue, and is left as it is.
func (l *listener) drain() {
	var all []net.Conn
	if !l.server.shared.Load() && l.spec.Load().Network != socket.Systemd {
		all = queued(l.ln)
	}
	_ = l.ln.Close()
	for _, nc := range all {
		l.server.admit(l, nc)
	}
}

// tellAgain is the time between two lines about accepting that fails. Without descriptors it does whenever one has become free
// and was used: a hundred times a second.
const tellAgain = 10 * time.Second

// accept takes connections until the listener is closed. No error but that ends it: without file descriptors it waits.
func (l *listener) accept() {
	defer close(l.done)
	wait := 5 * time.Millisecond
	failed, told := 0, time.Time{}
	for {
		nc, err := l.ln.Accept()
		if err == nil {
			wait = 5 * time.Millisecond
			l.server.admit(l, nc)
			continue
		}
		select {
		case <-l.quit:
			l.drain()
			return
		default:
		}
		failed++
		if now := time.Now(); now.Sub(told) >= tellAgain {
			l.server.log.Warn().Err(err).Str("listener", l.spec.Load().Address).Int("times", failed).Msg("accept failed; trying again")
			failed, told = 0, now
		}
		select {
		case <-l.quit:
		case <-time.After(wait):
		}
		wait = min(2*wait, time.Second)
	}
}

// start makes an accepted connection one of ours.
func (l *listener) start(nc net.Conn) *conn {
	c := &conn{server: l.server, from: l, base: nc, nc: netio.New(nc), jitter: int8(rand.IntN(256) - 128), number: l.server.numbers.Add(1)}
	c.peer = addrPort(nc.RemoteAddr())
	if _, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		c.local = addrPort(nc.LocalAddr())
	}
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
