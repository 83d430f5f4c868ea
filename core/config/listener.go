package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Listener is one address that clients connect to.
type Listener struct {
	Pos     Pos
	Address Address
	Health  string       // path of the health answer; empty: none
	H2C     bool         // HTTP/2 by prior knowledge, without TLS (RFC 9113 §3.3)
	TLS     *ListenerTLS // nil: plain

	ProxyProtocol *ProxyProtocol // nil: none is expected, and none is read
}

// ProxyProtocol says whose connections begin with a PROXY header, v1 or v2, that names the client.
type ProxyProtocol struct {
	Pos     Pos
	Trusted []netip.Prefix // peers that must send one; others are served as they are, and one that they send is refused
}

// Admin is the address of the operator. It is without a token only on a loopback address or a unix socket.
type Admin struct {
	Pos     Pos
	Address Address
	Token   Secret
}

// Address is where to listen.
type Address struct {
	Network Network
	Text    string // host:port, the resolved path of the socket, or the name of systemd's socket
}

// Network is the kind of an [Address].
type Network string

const (
	TCP     Network = "tcp"
	Unix    Network = "unix"
	Systemd Network = "systemd"
)

// String returns a as it is written in the configuration.
func (a Address) String() string {
	if a.Network == TCP {
		return a.Text
	}
	return string(a.Network) + ":" + a.Text
}

// Private says that only this machine can connect: a loopback address or a unix socket.
func (a Address) Private() bool {
	if a.Network != TCP {
		return a.Network == Unix
	}
	host, _, _ := net.SplitHostPort(a.Text)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

func (d *decoder) listeners(v value) []Listener {
	items := d.items(v)
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "at least one listener is needed")
	}
	out := make([]Listener, len(items))
	first := map[Address]int{}
	for i, item := range items {
		out[i].Pos = item.pos
		readObject(d, item, listenerKeys, &out[i])
		if out[i].H2C && item.has("tls") {
			d.fail(d.at(item, "h2c"), "h2c is HTTP/2 without TLS; with tls, clients and weir agree on HTTP/2 by ALPN: leave it out")
		}
		a := out[i].Address
		_, port, _ := net.SplitHostPort(a.Text)
		if at, dup := first[a]; dup && a.Text != "" && !(a.Network == TCP && port == "0") {
			d.fail(item.pos, "listeners[%d] has the address %s already", at, a)
			continue
		}
		first[a] = i
	}
	return out
}

var listenerKeys = []key[Listener]{
	{"address", must, func(d *decoder, v value, l *Listener) { l.Address = d.address(v) }},
	{"health", now, func(d *decoder, v value, l *Listener) { l.Health = d.absolutePath(v) }},
	{"h2c", now, func(d *decoder, v value, l *Listener) { l.H2C = d.boolean(v) }},
	{"proxy_protocol", now, func(d *decoder, v value, l *Listener) { l.ProxyProtocol = d.proxyProtocol(v) }},
	{"tls", now, func(d *decoder, v value, l *Listener) { l.TLS = d.listenerTLS(v) }},
}

var proxyProtocolKeys = []key[ProxyProtocol]{
	{"trusted", must, func(d *decoder, v value, p *ProxyProtocol) { p.Trusted = d.somePrefixes(v) }},
}

func (d *decoder) proxyProtocol(v value) *ProxyProtocol {
	p := &ProxyProtocol{Pos: v.pos}
	readObject(d, v, proxyProtocolKeys, p)
	return p
}

func (d *decoder) admin(v value) Admin {
	a := Admin{Pos: v.pos}
	readObject(d, v, adminKeys, &a)
	if a.Address.Network != "" && !a.Address.Private() && a.Token.IsZero() {
		d.fail(v.pos, "the key %q is needed: %s is neither a loopback address nor a unix socket", "token", a.Address)
	}
	return a
}

var adminKeys = []key[Admin]{
	{"address", must, func(d *decoder, v value, a *Admin) { a.Address = d.address(v) }},
	{"token", now, func(d *decoder, v value, a *Admin) { a.Token = d.secret(v) }},
}

func (d *decoder) address(v value) Address {
	s := d.text(v)
	if s == "" {
		return Address{}
	}
	if path, ok := strings.CutPrefix(s, "unix:"); ok && path != "" {
		return Address{Unix, d.resolve(path)}
	}
	if name, ok := strings.CutPrefix(s, "systemd:"); ok && name != "" {
		return Address{Systemd, name}
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || !isPort(port) || strings.ContainsAny(host, " /") {
		d.fail(v.pos, "wants an address such as :8080, 127.0.0.1:9901, unix:/run/weir.sock or systemd:web, not %q", s)
		return Address{}
	}
	return Address{TCP, s}
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == s
}

// absolutePath reads the path of a URL, without a query.
func (d *decoder) absolutePath(v value) string {
	s := d.text(v)
	if s != "" && (s[0] != '/' || strings.ContainsAny(s, "?# \t\r\n")) {
		d.fail(v.pos, "wants a path such as /health, not %q", s)
	}
	return s
}
