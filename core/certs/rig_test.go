package certs_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/weirproxy/weir/core/certs"
	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/metric"
)

// TestMain looks for goroutines that outlived their registry.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// rig is a registry that looks at its files often, and a folder for them.
type rig struct {
	*certs.Registry
	t       *testing.T
	dir     string
	log     *coretest.Buffer
	metrics *metric.Registry
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, dir: t.TempDir(), log: &coretest.Buffer{}, metrics: metric.NewRegistry()}
	r.Registry = certs.NewRegistry(certs.Options{Log: zerolog.New(r.log), Metrics: r.metrics, Every: 5 * time.Millisecond})
	t.Cleanup(r.Registry.Close)
	return r
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// write replaces a file in one step.
func (r *rig) write(name, text string) {
	r.t.Helper()
	next := r.path(name + ".next")
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(next, r.path(name)); err != nil {
		r.t.Fatal(err)
	}
}

// pair writes a pair and opens it.
func (r *rig) pair(name string, i coretest.Issued) *certs.Pair {
	r.t.Helper()
	r.write(name+".crt", i.Cert)
	r.write(name+".key", i.Key)
	p, err := r.OpenPair(r.path(name+".crt"), r.path(name+".key"))
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// listen opens a listener of o's parts, with tickets of the process unless o has some, and serves handshakes on it until
// the test ends, or close is called.
func (r *rig) listen(o certs.ListenerOptions) (address string, close func()) {
	r.t.Helper()
	if o.Tickets == nil {
		var err error
		if o.Tickets, err = r.OpenTickets(r.t.Name(), "", 0); err != nil {
			r.t.Fatal(err)
		}
	}
	if o.MinVersion == 0 {
		o.MinVersion = tls.VersionTLS12
	}
	l := r.OpenListener(o)
	l.Begin()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
				c := tls.Server(nc, l.Config())
				if c.Handshake() == nil {
					_, _ = c.Write([]byte("ok"))
					_ = c.Close()
				}
			})
		}
	})
	var once sync.Once
	close = func() {
		once.Do(func() {
			ln.Close()
			wg.Wait()
			l.Close()
		})
	}
	r.t.Cleanup(close)
	return ln.Addr().String(), close
}

// dial makes a handshake and reads what the server says: with TLS 1.3 a client hears only then that it was refused, and
// has a ticket.
func dial(address string, c *tls.Config) (tls.ConnectionState, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, c)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 2)
	if _, err := io.ReadFull(conn, buf); err != nil {
		return tls.ConnectionState{}, err
	}
	return conn.ConnectionState(), nil
}

// serial is which certificate a client is served; it accepts any.
func serial(address, name string) (string, error) {
	s, err := dial(address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		return "", err
	}
	return s.PeerCertificates[0].SerialNumber.String(), nil
}

func serialOf(t *testing.T, i coretest.Issued) string {
	return i.Pair(t).Leaf.SerialNumber.String()
}

// hammer makes handshakes without a pause until stop, and fails the test for every one that failed.
func hammer(t *testing.T, address string, c *tls.Config) (stop func()) {
	t.Helper()
	quit := make(chan struct{})
	var wg sync.WaitGroup
	n := 0
	wg.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
			}
			if _, err := dial(address, c); err != nil {
				t.Errorf("a handshake failed: %v", err)
				return
			}
			n++
		}
	})
	return func() {
		close(quit)
		wg.Wait()
		t.Logf("%d handshakes, none failed", n)
		if n == 0 {
			t.Error("no handshake was made")
		}
	}
}

func (r *rig) eventually(what string, f func() bool) {
	r.t.Helper()
	coretest.Eventually(r.t, what, f)
}

func (r *rig) has(metric string) bool {
	return strings.Contains(string(r.metrics.AppendText(nil)), metric+"\n")
}
