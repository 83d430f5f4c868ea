package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
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

// ListenerTLS is the server's side of TLS.
type ListenerTLS struct {
	Pos          Pos
	Certificates []Certificate // at least one, unless there is ACME
	MinVersion   string        // "1.2" or "1.3"
	ClientAuth   *ClientAuth   // nil: clients are not asked for a certificate
	TicketKeys   *TicketKeys   // nil: keys of the process, rotated by the library
	ACME         *ACME         // nil: none
}

// How a listener asks clients for a certificate.
const (
	ClientAuthNone    = "none"
	ClientAuthRequest = "request" // one that is sent must be valid
	ClientAuthRequire = "require"
)

// ClientAuth asks clients for certificates (mutual TLS).
type ClientAuth struct {
	Pos  Pos
	CA   string // PEM of the roots that clients' certificates are verified against
	Mode string // ClientAuthNone, ClientAuthRequest or ClientAuthRequire
}

// TicketKeys are keys of TLS session tickets that several nodes share by a file.
type TicketKeys struct {
	Pos    Pos
	File   string
	Rotate time.Duration // a new key is made so often, by whichever node is first; 0: the file is only read
}

// ACME gets certificates from a certificate authority (RFC 8555).
type ACME struct {
	Pos       Pos
	Email     string
	Domains   []string // at least one
	Directory string   // URL; empty: Let's Encrypt
	CA        string   // PEM of the roots that the directory's own certificate is verified against; empty: the system's
}

// Certificate is a pair of PEM files. Cert holds the chain, leaf first.
type Certificate struct {
	Pos  Pos
	Cert string
	Key  string
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
	{"h2c", now, func(d *decoder, v value, _ *Listener) { d.falseOrLater(v, "h2c") }},
	{"proxy_protocol", later, names[Listener]("trusted")},
	{"tls", now, func(d *decoder, v value, l *Listener) { l.TLS = d.listenerTLS(v) }},
}

var listenerTLSKeys = []key[ListenerTLS]{
	{"certificates", now, func(d *decoder, v value, t *ListenerTLS) { t.Certificates = d.certificates(v) }},
	{"min_version", now, func(d *decoder, v value, t *ListenerTLS) { t.MinVersion = d.tlsVersion(v) }},
	{"client_auth", later, names[ListenerTLS]("ca", "mode")},
	{"ticket_keys", later, names[ListenerTLS]("file", "rotate")},
	{"acme", later, names[ListenerTLS]("email", "domains", "directory", "ca")},
}

var certificateKeys = []key[Certificate]{
	{"cert", must, func(d *decoder, v value, c *Certificate) { c.Cert = d.path(v) }},
	{"key", must, func(d *decoder, v value, c *Certificate) { c.Key = d.path(v) }},
}

var tlsVersions = []word{{"1.2", now}, {"1.3", now}}

func (d *decoder) listenerTLS(v value) *ListenerTLS {
	t := &ListenerTLS{Pos: v.pos, MinVersion: "1.2"}
	readObject(d, v, listenerTLSKeys, t)
	if v.kind == object && !v.has("certificates") && !v.has("acme") {
		d.fail(v.pos, "the key %q is missing", "certificates")
	}
	return t
}

func (d *decoder) certificates(v value) []Certificate {
	items := d.items(v)
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "at least one certificate is needed")
	}
	out := make([]Certificate, len(items))
	for i, item := range items {
		out[i].Pos = item.pos
		readObject(d, item, certificateKeys, &out[i])
	}
	return out
}

// tlsVersion also takes 1.2 without quotes: unlike other numbers it cannot be meant otherwise.
func (d *decoder) tlsVersion(v value) string {
	if v.kind == float {
		quoted := *v.node
		quoted.kind = text
		v.node = &quoted
	}
	return d.choice(v, tlsVersions)
}

func (d *decoder) falseOrLater(v value, name string) {
	if d.boolean(v) {
		d.later(v.pos, name)
	}
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
		d.fail(v.pos, "wants an address such as :8080, 127.0.0.1:9901 or unix:/run/weir.sock, not %q", s)
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
