package server

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
)

// TestReadProxyHeader: every form is read to its last byte and no further, and a malformed one is refused.
func TestReadProxyHeader(t *testing.T) {
	peer, local := netip.MustParseAddrPort("10.0.0.9:1000"), netip.MustParseAddrPort("10.0.0.1:443")
	v2 := func(source string, command proxyproto.ProtocolVersionAndCommand) string {
		from := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(source))
		h := proxyproto.HeaderProxyFromAddrs(2, from, &net.TCPAddr{IP: from.IP, Port: 443})
		h.Command = command
		if err := h.SetTLVs([]proxyproto.TLV{{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("a.example.com")}}); err != nil {
			t.Fatal(err)
		}
		b, err := h.Format()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, c := range []struct{ name, head, want string }{
		{"v1 IPv4", "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", "192.0.2.1:56324"},
		{"v1 IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", "[2001:db8::1]:56324"},
		{"v1 mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 5 443\r\n", "192.0.2.1:5"},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "10.0.0.9:1000"},
		{"v1 unknown with addresses", "PROXY UNKNOWN 1.1.1.1 2.2.2.2 3 4\r\n", "10.0.0.9:1000"},
		{"v2 IPv4", v2("192.0.2.1:77", proxyproto.PROXY), "192.0.2.1:77"},
		{"v2 IPv6", v2("[2001:db8::1]:77", proxyproto.PROXY), "[2001:db8::1]:77"},
		{"v2 local", v2("192.0.2.1:77", proxyproto.LOCAL), "10.0.0.9:1000"},
		{"none", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaa", ""},
		{"no such family", "PROXY TCP5 192.0.2.1 192.0.2.2 56324 443\r\n", ""},
		{"bare LF", "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n", ""},
		{"no address", "PROXY TCP4 192.0.2.x 192.0.2.2 56324 443\r\n", ""},
		{"port too large", "PROXY TCP4 192.0.2.1 192.0.2.2 56324 70000\r\n", ""},
		{"endless", "PROXY TCP4 " + strings.Repeat("1", 200), ""},
		{"v2 too long", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff" + strings.Repeat("x", 70000), ""},
		{"v2 without addresses", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x00", ""},
		{"cut", "PROXY TCP4 192.0.2.1 ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := net.Pipe()
			defer b.Close()
			go func() {
				_, _ = io.WriteString(a, c.head+"GET")
				_ = a.Close()
			}()
			got, at, err := readProxyHeader(b, peer, local)
			if c.want == "" {
				if err == nil {
					t.Fatalf("taken for %s", got)
				}
				return
			}
			if err != nil || got.String() != c.want {
				t.Fatalf("%s, %v", got, err)
			}
			if (at == local) != (got == peer) {
				t.Errorf("connected to %s", at)
			}
			if rest, _ := io.ReadAll(b); string(rest) != "GET" {
				t.Errorf("what follows is %q", rest)
			}
		})
	}
}
