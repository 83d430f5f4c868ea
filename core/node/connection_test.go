package node_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
)

// TestConnectionFacts: filters are told of the connection that a request came over: both its ends, a number of its own, and
// what its handshake has agreed on.
func TestConnectionFacts(t *testing.T) {
	ca := coretest.NewAuthority(t)
	server := ca.Issue([]string{"s"}, nil, nil)
	own := ca.Issue([]string{"client.example"}, nil, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "client"}
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "client.example", Path: "/one"}}
	})
	socket := filepath.Join(t.TempDir(), "s")
	seen := make(chan exchange.Client, 1)
	ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		c := x.Client
		c.Text = nil // a view
		seen <- c
		x.Response.Status = 200
		return filter.Respond, nil
	}}
	start := func(listener string) *coretest.Rig {
		return coretest.Start(t, `version: 1
access_log: {output: "off"}
listeners: [{address: `+listener+`}]
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, upstream: api}]
`, nil, coretest.Options{Kinds: ff.kinds(false), Env: map[string]string{"UPSTREAM": "127.0.0.1:9"},
			Files: map[string]string{"s.crt": server.Cert, "s.key": server.Key, "clients.pem": ca.PEM}})
	}
	const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	ask := func(c net.Conn, head string) exchange.Client {
		t.Helper()
		k := coretest.NewClient(t, c)
		k.Send(head + request)
		k.Answer("GET")
		return <-seen
	}

	plain := start(`"127.0.0.1:0"`)
	c := plain.Dial()
	first, second, other := ask(c, ""), ask(c, ""), ask(plain.Dial(), "")
	if first.Local.String() != plain.Address || first.Peer.String() != c.LocalAddr().String() || first.TLS != nil {
		t.Errorf("plain: %+v", first)
	}
	if first.Connection == 0 || first.Connection != second.Connection || first.Connection == other.Connection {
		t.Error("numbers", first.Connection, second.Connection, other.Connection)
	}

	secure := start(`"127.0.0.1:0", tls: {certificates: [{cert: s.crt, key: s.key}], client_auth: {ca: clients.pem, mode: request}}`)
	pair := own.Pair(t)
	for _, v := range []struct {
		certificate bool
		h2          bool
	}{{false, false}, {true, false}, {true, true}} {
		config := &tls.Config{ServerName: "s", RootCAs: ca.Pool()}
		if v.certificate {
			config.Certificates = []tls.Certificate{pair}
		}
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: v.h2}
		answer, err := (&http.Client{Transport: transport}).Get("https://" + secure.Address + "/")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		transport.CloseIdleConnections()
		have := <-seen
		protocol := ""
		if v.h2 {
			protocol = "h2"
		}
		switch s := have.TLS; {
		case s == nil:
			t.Fatalf("%+v: not TLS", v)
		case s.Version != tls.VersionTLS13 || s.ServerName != "s" || s.Protocol != protocol || s.Verified != v.certificate:
			t.Errorf("%+v: %+v", v, s)
		case v.certificate && (s.Subject != "CN=client" || s.URI != "spiffe://client.example/one"):
			t.Errorf("%+v: subject %q, %q", v, s.Subject, s.URI)
		case (s.Peer != nil) != v.certificate || s.Peer != nil && !s.Peer.Equal(leaf(t, pair)):
			t.Errorf("%+v: %+v", v, s.Peer)
		}
		if have.Local.String() != secure.Address {
			t.Errorf("%+v: %s", v, have.Local)
		}
	}

	announced := start(`"127.0.0.1:0", proxy_protocol: {trusted: ["127.0.0.1/32"]}`)
	have := ask(announced.Dial(), "PROXY TCP4 203.0.113.7 192.0.2.2 4711 443\r\n")
	if have.Local != netip.MustParseAddrPort("192.0.2.2:443") || have.Peer != netip.MustParseAddrPort("203.0.113.7:4711") {
		t.Errorf("announced: %+v", have)
	}

	start(`"unix:` + socket + `"`)
	u, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if have := ask(u, ""); have.Local.IsValid() || have.Connection == 0 {
		t.Errorf("unix socket: %+v", have)
	}
}

func leaf(t *testing.T, pair tls.Certificate) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return c
}
