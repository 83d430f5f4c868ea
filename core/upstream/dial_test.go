package upstream_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/upstream"
)

// introduced is an upstream that reads PROXY headers, and answers with whom it takes for the client.
func introduced(t *testing.T, network, address string, over *tls.Config) net.Listener {
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) }))
	s.Listener.Close()
	p := net.Listener(&proxyproto.Listener{Listener: ln, ConnPolicy: func(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
		return proxyproto.REQUIRE, nil
	}})
	if over != nil {
		p = tls.NewListener(p, over)
	}
	s.Listener = p
	s.Start()
	t.Cleanup(s.Close)
	return ln
}

func TestProxyProtocol(t *testing.T) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	insecure := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
	tcp := introduced(t, "tcp", "127.0.0.1:0", nil)
	unix := introduced(t, "unix", filepath.Join(t.TempDir(), "s"), nil)
	secure := introduced(t, "tcp", "127.0.0.1:0", &tls.Config{Certificates: cert.TLS.Certificates})
	client := func(ip, peer string) exchange.Client {
		return exchange.Client{IP: netip.MustParseAddr(ip), Peer: netip.MustParseAddrPort(peer)}
	}
	for _, version := range []upstream.ProxyProtocol{upstream.ProxyV1, upstream.ProxyV2} {
		for _, o := range []upstream.EndpointOptions{
			{Address: tcp.Addr().String()}, {Address: "unix:" + unix.Addr().String()}, {Address: secure.Addr().String(), TLS: insecure},
		} {
			u := open(t, upstream.Options{Transport: upstream.Transport{ProxyProtocol: version}, Endpoints: []upstream.EndpointOptions{o}})
			f := func(c exchange.Client, want string) {
				t.Helper()
				if a := ask(u, request{client: c}); a.err != nil || a.body != want {
					t.Errorf("v%d %s: %v, want %q", version, o.Address, a, want)
				}
			}
			// The peer itself, by IPv4, also if its socket says so in IPv6, and by IPv6.
			f(client("203.0.113.7", "203.0.113.7:4711"), "203.0.113.7:4711")
			f(client("203.0.113.7", "[::ffff:203.0.113.7]:4711"), "203.0.113.7:4711")
			f(client("2001:db8::1", "[2001:db8::1]:4711"), "[2001:db8::1]:4711")
			// Who a trusted proxy says it is: the port would be the proxy's.
			f(client("198.51.100.1", "10.0.0.1:4711"), "198.51.100.1:0")
			f(client("2001:db8::2", "10.0.0.1:4711"), "[2001:db8::2]:0")
			if _, _, opened := u.Endpoints()[0].Stats(); opened != 5 {
				t.Errorf("%d connections: each is of one client", opened)
			}
		}
	}
}

// A connection that weir makes without a client, or for one without an address, speaks for itself.
func TestProxyProtocolWithoutAddress(t *testing.T) {
	for version, want := range map[upstream.ProxyProtocol]string{upstream.ProxyV1: "PROXY UNKNOWN\r\n", upstream.ProxyV2: "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		got := make(chan string, 1)
		go func() {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			defer nc.Close()
			in := bufio.NewReader(nc)
			b := make([]byte, len(want))
			_, _ = io.ReadFull(in, b)
			got <- string(b)
			_, _ = http.ReadRequest(in)
			_, _ = io.WriteString(nc, okAnswer)
		}()
		a := ask(open(t, upstream.Options{Transport: upstream.Transport{ProxyProtocol: version}}, ln.Addr().String()), request{})
		if header := <-got; header != want || a.status != 200 {
			t.Errorf("%q, %v", header, a)
		}
	}
}

// A dial, and a handshake, end with their exchange and in time, and are the connection's fault.
func TestDialEnds(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	u := open(t, upstream.Options{Transport: upstream.Transport{Connect: 200 * time.Millisecond}, Endpoints: []upstream.EndpointOptions{
		{Address: ln.Addr().String(), TLS: &tls.Config{InsecureSkipVerify: true}}}})
	began := time.Now()
	a := ask(u, request{})
	if took := time.Since(began); a.kind() != fault.ConnectFailed || took < 195*time.Millisecond || took > 400*time.Millisecond {
		t.Errorf("%v after %s", a, took)
	}
	began = time.Now()
	a = ask(u, request{cancel: func(h exchange.Handle) {
		time.AfterFunc(30*time.Millisecond, func() { h.Cancel(fault.New(fault.ClientGone, "")) })
	}})
	if took := time.Since(began); a.kind() != fault.ClientGone || took > 150*time.Millisecond {
		t.Errorf("%v after %s", a, took)
	}
}

// Health checks speak what requests are sent in: HTTP/2, or behind a PROXY header that names nobody.
func TestChecksSpeakTheProtocol(t *testing.T) {
	h2 := startH2C(t, 0, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" || r.Header.Get("User-Agent") != "weir-health-check" || r.Host != "api.test" {
			w.WriteHeader(500)
		}
	})
	proxied := introduced(t, "tcp", "127.0.0.1:0", nil)
	for _, o := range []upstream.Options{
		{Transport: overH2, Endpoints: []upstream.EndpointOptions{{Address: h2.address(), Host: "api.test"}}},
		{Transport: upstream.Transport{ProxyProtocol: upstream.ProxyV1}, Endpoints: []upstream.EndpointOptions{{Address: proxied.Addr().String()}}},
		{Transport: upstream.Transport{ProxyProtocol: upstream.ProxyV2}, Endpoints: []upstream.EndpointOptions{{Address: proxied.Addr().String()}}},
	} {
		o.Health = &upstream.HealthOptions{Path: "/health", Interval: 20 * time.Millisecond, Timeout: time.Second, Healthy: 1, Unhealthy: 1}
		u := open(t, o)
		coretest.Eventually(t, "healthy", u.Ready)
	}
	o := upstream.Options{Transport: overH2, Endpoints: []upstream.EndpointOptions{{Address: h2.address(), Host: "other.test"}}}
	o.Health = &upstream.HealthOptions{Path: "/health", Interval: 20 * time.Millisecond, Timeout: time.Second, Healthy: 1, Unhealthy: 1}
	u := open(t, o)
	coretest.Eventually(t, "not healthy", func() bool { return !u.Endpoints()[0].Usable() })
}
