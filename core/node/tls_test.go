package node_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
)

// certificate makes a self-signed pair for a name, as PEM.
func certificate(t testing.TB, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b}))
}

func startTLS(t *testing.T, minimum string, handler http.Handler) *coretest.Rig {
	files := map[string]string{}
	files["a.crt"], files["a.key"] = certificate(t, "a.example")
	files["b.crt"], files["b.key"] = certificate(t, "b.example")
	yaml := strings.Replace(plain, `"127.0.0.1:0"`, `"127.0.0.1:0", tls: {certificates: [{cert: a.crt, key: a.key}, {cert: b.crt, key: b.key}]`+minimum+`}`, 1)
	return coretest.Start(t, yaml, handler, coretest.Options{Files: files})
}

func dialTLS(r *coretest.Rig, c *tls.Config) (*tls.Conn, error) {
	c.InsecureSkipVerify = true
	return tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", r.Address, c)
}

func TestTLS(t *testing.T) {
	r := startTLS(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cut" {
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("hello"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-Proto"))
	}))
	for name, want := range map[string]string{"a.example": "a.example", "b.example": "b.example", "": "a.example", "c.example": "a.example"} {
		c, err := dialTLS(r, &tls.Config{ServerName: name, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		k := coretest.NewClient(t, c)
		for range 2 {
			k.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if _, body := k.Answer("GET"); body != "https" {
				t.Errorf("%q", body)
			}
		}
		state := c.ConnectionState()
		if got := state.PeerCertificates[0].Subject.CommonName; got != want || state.NegotiatedProtocol != "http/1.1" {
			t.Errorf("%q: %s %s", name, got, state.NegotiatedProtocol)
		}
		c.Close()
	}
	if _, err := dialTLS(r, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	if c, err := dialTLS(r, &tls.Config{MaxVersion: tls.VersionTLS12}); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	// A cut answer does not end like a whole one.
	c, err := dialTLS(r, &tls.Config{})
	if err != nil {
		t.Fatal(err)
	}
	k := coretest.NewClient(t, c)
	k.Send("GET /cut HTTP/1.0\r\n\r\n")
	if got, err := k.Rest(); err == nil {
		t.Errorf("a proper end after %q", got)
	}
	k.Close()
	// Plain bytes at the TLS port end their own connection only; one that says nothing holds up nobody.
	silent := r.Client()
	k = r.Client()
	k.Send(get)
	if got, err := k.Rest(); !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, "HTTPS") || err != nil {
		t.Errorf("%q %v", got, err)
	}
	for range 3 {
		if c, err := dialTLS(r, &tls.Config{}); err != nil {
			t.Error(err)
		} else {
			c.Close()
		}
	}
	silent.Close()
}

func TestTLSFloor(t *testing.T) {
	r := startTLS(t, `, min_version: "1.3"`, http.NotFoundHandler())
	if _, err := dialTLS(r, &tls.Config{MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 was accepted")
	}
	// Drain closes idle connections over TLS, and handshakes that have not ended.
	c, err := dialTLS(r, &tls.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	silent := r.Client()
	coretest.Eventually(t, "both are open", func() bool {
		return strings.Contains(string(r.Node.Metrics()), `weir_connections{listener="all",state="open"} 2`)
	})
	if cut := r.Node.Drain(); cut != 0 {
		t.Errorf("%d cut", cut)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(c); len(b) != 0 || err != nil {
		t.Errorf("%q %v", b, err)
	}
	_, _ = silent.Rest()
}

func TestUpstreamTLS(t *testing.T) {
	up := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.ServerName+" "+r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	defer up.Close()
	up.TLS.ClientAuth = tls.RequireAnyClientCert
	files := map[string]string{"ca.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: up.Certificate().Raw}))}
	files["c.crt"], files["c.key"] = certificate(t, "client")
	yaml := func(tls string) string {
		return strings.Replace(plain, `["http://${UPSTREAM}"]`, `["https://${UPSTREAM}"], tls: {`+tls+`}`, 1)
	}
	env := map[string]string{"UPSTREAM": up.Listener.Addr().String()}
	r := coretest.Start(t, yaml("ca: ca.pem, server_name: example.com, cert: c.crt, key: c.key"), nil, coretest.Options{Files: files, Env: env})
	for range 2 {
		if status, _, body := r.Get("/"); status != 200 || body != "example.com client" {
			t.Errorf("%d %q", status, body)
		}
	}
	mustReload(t, r, yaml("ca: ca.pem, server_name: other.name"))
	if status, _, _ := r.Get("/"); status != 502 {
		t.Error(status)
	}
	for _, bad := range []string{"ca: none.pem", "ca: c.key", "cert: none, key: none"} {
		r.Write(yaml(bad))
		if err := r.Node.Reload(); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
