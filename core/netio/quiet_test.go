package netio

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/pool"
)

func TestQuiet(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		for range 3 {
			if !c.Quiet() {
				t.Fatal("idle, and not quiet")
			}
		}
		// It can be used after being asked, deadlines included.
		send(t, peer, "x")
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		c.ReadBy(clock.Nano(), time.Millisecond)
		if _, err := c.Read(make([]byte, 1)); !IsTimeout(err) {
			t.Error(err)
		}
		c.ReadBy(clock.Nano(), 0)
		if !c.Quiet() {
			t.Error("idle again, and not quiet")
		}
		// A byte that nobody asked for.
		send(t, peer, "x")
		eventually(t, "the byte is seen", func() bool { return !c.Quiet() })
	})
}

func TestQuietWhenClosed(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		if !c.Quiet() {
			t.Error("idle, and not quiet")
		}
		peer.Close()
		eventually(t, "the end is seen", func() bool { return !c.Quiet() })
		c.Close()
		if c.Quiet() {
			t.Error("closed, and quiet")
		}
	})
}

func TestQuietWhenReset(t *testing.T) {
	for _, kind := range []string{"tcp", "tls"} {
		c, peer := dial(t, kind)
		if kind == "tls" {
			peer = peer.(*tls.Conn).NetConn()
		}
		New(peer).Reset()
		eventually(t, kind+": the reset is seen", func() bool { return !c.Quiet() })
	}
}

func TestQuietWhenAborted(t *testing.T) {
	c, _ := dial(t, "pipe")
	c.Abort()
	if c.Quiet() {
		t.Error("aborted, and quiet")
	}
}

// TestQuietSeesWhatTLSHolds: bytes behind an answer lie decrypted in the TLS layer, and the socket has none.
func TestQuietSeesWhatTLSHolds(t *testing.T) {
	c, peer := dial(t, "tls")
	send(t, peer, "answer, and surplus")
	if n, err := c.Read(make([]byte, 6)); n != 6 || err != nil {
		t.Fatal(n, err)
	}
	if c.Quiet() {
		t.Error("surplus was not seen")
	}
	// Without a Conn beneath, TLS is listened to for a moment.
	a, b := sockets(t, "tcp")
	client := tls.Client(a, &tls.Config{InsecureSkipVerify: true})
	server := tls.Server(b, serverConfig())
	defer client.Close()
	defer server.Close()
	shaken := make(chan error)
	go func() { shaken <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	<-shaken
	d := New(client)
	if !d.Quiet() {
		t.Error("idle, and not quiet")
	}
	send(t, server, "x")
	eventually(t, "the byte is seen", func() bool { return !d.Quiet() })
	d.ReadBy(clock.Nano(), time.Millisecond)
	buf, n, err := d.ReadPooled(1)
	pool.Release(buf)
	if n != 0 || !IsTimeout(err) {
		t.Errorf("%d %v", n, err)
	}
}

// TestEndOfTLS: an end that was not announced is no end (RFC 9112 §9.8).
func TestEndOfTLS(t *testing.T) {
	c, peer := dial(t, "tls")
	send(t, peer, "x")
	if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	_ = peer.(*tls.Conn).NetConn().Close()
	for range 2 {
		if _, err := c.Read(make([]byte, 1)); err != io.ErrUnexpectedEOF {
			t.Errorf("%v", err)
		}
	}
	buf, _, err := c.ReadPooled(1)
	pool.Release(buf)
	if err != io.ErrUnexpectedEOF {
		t.Errorf("%v", err)
	}
}

// TestEndBehindTheLastBytes: an announced end that comes with the last bytes does not swallow them. TLS 1.2 gives both at once.
func TestEndBehindTheLastBytes(t *testing.T) {
	for _, kind := range []string{"tls", "tls12"} {
		c, peer := dial(t, kind)
		_, _ = peer.Write([]byte("hello"))
		peer.Close()
		time.Sleep(5 * time.Millisecond)
		p := make([]byte, 9)
		if n, err := c.Read(p); n != 5 || err != nil {
			t.Errorf("%s: %d %v", kind, n, err)
		}
		if n, err := c.Read(p); n != 0 || err != io.EOF {
			t.Errorf("%s: %d %v", kind, n, err)
		}
		if c.Quiet() {
			t.Errorf("%s: ended, and quiet", kind)
		}
	}
}

func TestAddressesAndTLS(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn, kind string) {
		if c.LocalAddr().String() != peer.RemoteAddr().String() || c.RemoteAddr().String() != peer.LocalAddr().String() {
			t.Errorf("%v – %v, the peer says %v – %v", c.LocalAddr(), c.RemoteAddr(), peer.LocalAddr(), peer.RemoteAddr())
		}
		state, ok := c.TLS()
		if ok != (kind == "tls") || ok && !state.HandshakeComplete {
			t.Errorf("TLS %v", ok)
		}
		if c.Net() == nil {
			t.Error("nothing beneath")
		}
		for _, set := range []func(time.Time) error{c.SetDeadline, c.SetReadDeadline, c.SetWriteDeadline} {
			if err := set(time.Time{}); err != nil {
				t.Error(err)
			}
		}
	})
	var h hush
	if !h.Temporary() || !h.Timeout() || h.Error() == "" {
		t.Error("TLS must not keep it")
	}
}
