package node_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
)

// TestUpstreamCertificates: an upstream whose certificate proves nothing gets no byte of a request.
func TestUpstreamCertificates(t *testing.T) {
	ca, stranger := coretest.NewAuthority(t), coretest.NewAuthority(t)
	between, old := ca.Intermediate(nil), ca.Intermediate(coretest.RSAKey(t, 2048))
	names := []string{"up.example"}
	with := func(f func(*x509.Certificate)) coretest.Issued { return ca.Issue(names, nil, f) }
	chained := between.Issue(names, nil, nil)
	whole := chained
	whole.Cert += between.PEM
	sha1 := old.Issue(names, nil, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA })
	sha1.Cert += old.PEM
	table := []struct {
		name   string
		issued coretest.Issued
		want   string // in the reason; "": good
	}{
		{"good", with(nil), ""},
		{"good chain", whole, ""},
		{"good rsa", ca.Issue(names, coretest.RSAKey(t, 2048), nil), ""},
		{"expired", with(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "expired"},
		{"not yet valid", with(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), "not yet valid"},
		{"wrong name", ca.Issue([]string{"other.example"}, nil, nil), "not up.example"},
		{"self-signed", coretest.SelfSigned(t, names), "unknown authority"},
		{"unknown authority", stranger.Issue(names, nil, nil), "unknown authority"},
		{"wrong usage", with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "incompatible key usage"},
		{"weak key", ca.Issue(names, coretest.RSAKey(t, 1024), nil), "1024 bits"},
		{"sha1", sha1, "SHA1"},
		{"incomplete chain", chained, "unknown authority"},
	}
	var upstreams, routes strings.Builder
	asked := make([]bool, len(table))
	for i, c := range table {
		up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked[i] = true
			_, _ = io.WriteString(w, "ok")
		}))
		up.TLS = &tls.Config{Certificates: []tls.Certificate{c.issued.Pair(t)}}
		up.Config.ErrorLog = log.New(io.Discard, "", 0)
		up.StartTLS()
		defer up.Close()
		fmt.Fprintf(&upstreams, "  u%d: {endpoints: [\"https://%s\"], tls: {ca: ca.pem, server_name: up.example}}\n", i, up.Listener.Addr())
		fmt.Fprintf(&routes, "  - {name: r%d, match: {path: /%d}, auth: none, upstream: u%d}\n", i, i, i)
	}
	r := coretest.Start(t, "version: 1\naccess_log: {output: \"off\"}\nlog: {level: debug}\nlisteners: [{address: \"127.0.0.1:0\"}]\nupstreams:\n"+upstreams.String()+"routes:\n"+routes.String(),
		nil, coretest.Options{Files: map[string]string{"ca.pem": ca.PEM}})
	for i, c := range table {
		before := len(r.Log.String())
		status, _, body := r.Get(fmt.Sprintf("/%d", i))
		if c.want == "" {
			if status != 200 || body != "ok" {
				t.Errorf("%s: %d %q\n%s", c.name, status, body, r.Log.String()[before:])
			}
			continue
		}
		if status != 502 || asked[i] {
			t.Errorf("%s: %d %q, asked %v", c.name, status, body, asked[i])
		}
		if strings.Contains(body, c.want) {
			t.Errorf("%s: the client is told why: %q", c.name, body)
		}
		coretest.Eventually(t, c.name+": "+c.want+" in the log", func() bool { return strings.Contains(r.Log.String()[before:], c.want) })
	}
}
