package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/pires/go-proxyproto"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
)

// dialing is a connection being made. Cancel ends it.
type dialing struct{ cancel context.CancelFunc }

func (d dialing) Abort()     { d.cancel() }
func (d dialing) AbortRead() { d.cancel() }

// dial connects for x, until x is cancelled: by name over every address that the name has, IPv6 and IPv4 (RFC 8305), with
// the PROXY header and TLS as the endpoint wants them. Whatever goes wrong is the connection's.
func (e *Endpoint) dial(x *exchange.Exchange) (net.Conn, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if e.transport.Connect > 0 {
		ctx, cancel = context.WithTimeout(ctx, e.transport.Connect)
		defer cancel()
	}
	x.Bind(exchange.UpstreamLeg, dialing{cancel})
	defer x.Bind(exchange.UpstreamLeg, nil)
	nc, err := e.connect(ctx, &x.Client)
	if err != nil {
		kind := fault.ConnectFailed
		if exhausted(err) {
			kind = fault.Exhausted
		}
		return nil, &fault.Fault{Kind: kind, Text: "connect", Err: err}
	}
	return nc, nil
}

// exhausted reports whether err is for want of descriptors or memory of our own. That says nothing about an endpoint: counted
// against it, the breakers of all upstreams would open together.
func exhausted(err error) bool {
	for _, own := range [...]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}

// connect is dial without an exchange: the client is who is named in a PROXY header.
func (e *Endpoint) connect(ctx context.Context, client *exchange.Client) (net.Conn, error) {
	network, address := "tcp", e.options.Address
	if path, ok := cutUnix(address); ok {
		network, address = "unix", path
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if e.transport.ProxyProtocol != ProxyOff {
		if err := e.introduce(nc, client); err != nil {
			_ = nc.Close()
			return nil, err
		}
	}
	if e.options.TLS == nil {
		return nc, nil
	}
	t := tls.Client(netio.New(nc), e.options.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	if got := t.ConnectionState().NegotiatedProtocol; e.transport.Protocol == HTTP2 && got != "h2" {
		_ = t.Close()
		return nil, fmt.Errorf("peer does not speak HTTP/2: it chose %q of the protocols offered (ALPN), not \"h2\"", got)
	}
	return t, nil
}

func cutUnix(address string) (string, bool) {
	const prefix = "unix:"
	if len(address) > len(prefix) && address[:len(prefix)] == prefix {
		return address[len(prefix):], true
	}
	return "", false
}

// ProxyProtocol is the version of the PROXY protocol that an endpoint is spoken to with. Its connections carry one request
// each: what the header says is true of one client.
type ProxyProtocol byte

// The versions.
const (
	ProxyOff ProxyProtocol = 0
	ProxyV1  ProxyProtocol = 1
	ProxyV2  ProxyProtocol = 2
)

// introduce tells the endpoint who the client is, before all else and outside TLS. It fits into an empty socket's buffer.
func (e *Endpoint) introduce(nc net.Conn, client *exchange.Client) error {
	c := netio.New(nc)
	c.WriteBy(clock.Nano(), e.transport.Connect)
	header := proxyHeader(byte(e.transport.ProxyProtocol), client, nc.RemoteAddr())
	_, err := header.WriteTo(c)
	c.WriteBy(clock.Nano(), 0)
	return err
}

// proxyHeader says that the client, as trusted proxies named it, came to the endpoint's address: the header has no room for
// addresses of two families, so the endpoint's gives way to "any". Without a client's address (a unix socket's peer) it says
// that the connection speaks for itself, and so does a connection that weir makes for its own ends.
func proxyHeader(version byte, client *exchange.Client, to net.Addr) *proxyproto.Header {
	ip := client.IP.Unmap()
	if !ip.IsValid() {
		return &proxyproto.Header{Version: version, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}
	}
	source := netip.AddrPortFrom(ip.WithZone(""), 0)
	if client.Peer.Addr().Unmap() == ip {
		source = netip.AddrPortFrom(ip.WithZone(""), client.Peer.Port()) // else the port is another's
	}
	family, any := proxyproto.TCPv6, netip.IPv6Unspecified()
	if ip.Is4() {
		family, any = proxyproto.TCPv4, netip.IPv4Unspecified()
	}
	target := netip.AddrPortFrom(any, 0)
	if tcp, ok := to.(*net.TCPAddr); ok {
		at := tcp.AddrPort()
		if at.Addr().Unmap().Is4() == ip.Is4() {
			any = at.Addr().Unmap().WithZone("")
		}
		target = netip.AddrPortFrom(any, at.Port())
	}
	return &proxyproto.Header{
		Version: version, Command: proxyproto.PROXY, TransportProtocol: family,
		SourceAddr: net.TCPAddrFromAddrPort(source), DestinationAddr: net.TCPAddrFromAddrPort(target),
	}
}
