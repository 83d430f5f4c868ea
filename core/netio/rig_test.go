package netio

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kinds are the transports that a Conn is laid over.
var kinds = []string{"tcp", "unix", "tls", "pipe"}

// dial gives a Conn over a transport and its peer's end of it.
func dial(t testing.TB, kind string) (c *Conn, peer net.Conn) {
	t.Helper()
	var a net.Conn
	switch kind {
	case "pipe":
		a, peer = net.Pipe()
	case "tcp", "unix":
		a, peer = sockets(t, kind)
	case "tls", "tls12":
		var b net.Conn
		a, b = sockets(t, "tcp")
		config := &tls.Config{InsecureSkipVerify: true}
		if kind == "tls12" {
			config.MaxVersion = tls.VersionTLS12
		}
		client := tls.Client(New(a), config)
		server := tls.Server(b, serverConfig())
		var wg sync.WaitGroup
		wg.Go(func() { _ = server.Handshake() })
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		// The session tickets that come behind the handshake are taken off the wire with the first bytes.
		wg.Go(func() { _, _ = server.Write([]byte("!")) })
		if n, err := client.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		wg.Wait() // a Close while a Write is under way would not announce the end
		a, peer = client, server
	}
	c = New(a)
	t.Cleanup(func() { c.Close(); peer.Close() })
	return c, peer
}

func sockets(t testing.TB, network string) (a, b net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial(network, ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

var serverConfig = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})

// each runs f over every transport.
func each(t *testing.T, f func(t *testing.T, c *Conn, peer net.Conn, kind string)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			c, peer := dial(t, kind)
			f(t, c, peer, kind)
		})
	}
}

// send writes from the peer's end without waiting for the reader.
func send(t testing.TB, peer net.Conn, s string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = peer.Write([]byte(s))
	}()
	t.Cleanup(func() { peer.Close(); <-done })
}

// eventually waits until f holds.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 s: %s", what)
		}
	}
}
