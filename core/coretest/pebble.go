package coretest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Pebble is a certificate authority that speaks ACME, and a name server for it that finds every name on this machine.
type Pebble struct {
	t         testing.TB
	listen    string
	manage    string
	dns       string
	folder    string
	Directory string // URL
	CA        string // PEM of the root of the directory's own certificate
	Log       Buffer
}

// PebbleOptions of a Pebble.
type PebbleOptions struct {
	HTTPPort, TLSPort int           // where it asks for proofs; 0: where nobody answers
	Validity          time.Duration // of what it issues; 0: 90 days
	Nonces            bool          // refuse a part of good nonces, as real authorities do
}

// NewPebble prepares an authority, which does not run yet.
func NewPebble(t testing.TB) *Pebble {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	binary := filepath.Join(filepath.Dir(file), "../../build/tools/pebble")
	if _, err := os.Stat(binary); err != nil {
		t.Fatal("build/tools/pebble is missing: make tools builds it")
	}
	root := NewAuthority(t)
	own := root.Issue(nil, nil, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	p := &Pebble{t: t, listen: FreePort(t), manage: FreePort(t), folder: t.TempDir(), CA: root.PEM, dns: startNames(t)}
	p.Directory = "https://" + p.listen + "/dir"
	p.write("own.crt", own.Cert)
	p.write("own.key", own.Key)
	if err := os.Symlink(binary, filepath.Join(p.folder, "pebble")); err != nil {
		t.Fatal(err)
	}
	return p
}

// FreePort gives an address on loopback that nobody listens on, and hopefully nobody will until it is used.
func FreePort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func (p *Pebble) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.folder, name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// Start runs the authority until the test ends or stop is called. It knows nothing of what an earlier one did.
func (p *Pebble) Start(o PebbleOptions) (stop func()) {
	p.t.Helper()
	dead := func(port int) int {
		if port == 0 {
			_, text, _ := net.SplitHostPort(FreePort(p.t))
			port, _ = strconv.Atoi(text)
		}
		return port
	}
	if o.Validity == 0 {
		o.Validity = 90 * 24 * time.Hour
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": p.listen, "managementListenAddress": p.manage,
		"certificate": "own.crt", "privateKey": "own.key", "keyAlgorithm": "ecdsa",
		"httpPort": dead(o.HTTPPort), "tlsPort": dead(o.TLSPort), "retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{"default": map[string]any{"description": "default", "validityPeriod": int(o.Validity.Seconds())}},
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.write("pebble.json", string(config))
	cmd := exec.Command("./pebble", "-config", "pebble.json", "-dnsserver", p.dns)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.folder, &p.Log, &p.Log
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	if !o.Nonces {
		cmd.Env = append(cmd.Env, "PEBBLE_WFE_NONCEREJECT=0")
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	p.t.Cleanup(stop)
	Eventually(p.t, "pebble listens", func() bool {
		c, err := net.Dial("tcp", p.listen)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return stop
}

// Roots are what certificates that the running authority issues are verified against.
func (p *Pebble) Roots() *x509.CertPool {
	p.t.Helper()
	own := x509.NewCertPool()
	own.AppendCertsFromPEM([]byte(p.CA))
	pool := x509.NewCertPool()
	Eventually(p.t, "pebble tells its root", func() bool {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: own}, DisableKeepAlives: true}}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", "https://"+p.manage+"/roots/0", nil)
		if err != nil {
			return false
		}
		answer, err := client.Do(req)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		pem, err := io.ReadAll(answer.Body)
		return err == nil && pool.AppendCertsFromPEM(pem)
	})
	return pool
}

// startNames is a name server over TCP for which every name is 127.0.0.1.
func startNames(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			answerName(c)
			c.Close()
		}
	}()
	return ln.Addr().String()
}

func answerName(c net.Conn) {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return
	}
	question := make([]byte, int(size[0])<<8|int(size[1]))
	if _, err := io.ReadFull(c, question); err != nil {
		return
	}
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return
	}
	q := m.Questions[0]
	m.Response, m.Additionals = true, nil
	if q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
			Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
		}}
	}
	answer, err := m.AppendPack([]byte{0, 0})
	if err != nil {
		return
	}
	n := len(answer) - 2
	answer[0], answer[1] = byte(n>>8), byte(n)
	_, _ = c.Write(answer)
}
