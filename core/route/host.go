package route

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unsafe"
)

// maxHost is the longest name that is looked up (RFC 1035 §2.3.4); a longer one fits only routes for any host.
const maxHost = 255

// host is an entry of Match.Hosts made ready.
type host struct {
	name string // lower case, without port and trailing dot; "" is any
	wild bool   // name is a suffix that begins with a dot
	port uint16 // 0 is any
}

func parseHosts(list []string) ([]host, error) {
	var hosts []host
	for _, s := range list {
		if s == "*" {
			return nil, nil
		}
		h, err := parseHost(s)
		if err != nil {
			return nil, fmt.Errorf("host %q: %w", s, err)
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

func parseHost(s string) (h host, err error) {
	name, port, ok := splitHost([]byte(s))
	if !ok {
		return h, fmt.Errorf("not a host and port")
	}
	if len(port) > 0 {
		n, err := strconv.ParseUint(string(port), 10, 16)
		if err != nil || n == 0 {
			return h, fmt.Errorf("bad port")
		}
		h.port = uint16(n)
	}
	rest, wild := strings.CutPrefix(string(name), "*")
	if wild && (len(rest) < 2 || rest[0] != '.') {
		return h, fmt.Errorf("* must be followed by a dot and a name")
	}
	if !wild && strings.HasPrefix(rest, ".") {
		return h, fmt.Errorf("begins with a dot; write *%s for what is below it", rest)
	}
	if len(rest) == 0 || len(rest) > maxHost {
		return h, fmt.Errorf("no name, or one longer than %d bytes", maxHost)
	}
	if rest[0] == '[' {
		a, err := netip.ParseAddr(strings.Trim(rest, "[]"))
		if err != nil || !a.Is6() || a.Zone() != "" {
			return h, fmt.Errorf("not an IPv6 address")
		}
	} else if strings.Trim(rest, nameBytes+".") != "" {
		return h, fmt.Errorf("not a host name (beyond ASCII, write it in punycode)")
	}
	var buf [maxHost]byte
	return host{name: string(canonical(&buf, []byte(rest))), wild: wild, port: h.port}, nil
}

// splitHost takes an authority apart; the name has lost its trailing dot. Without ok it is neither name nor literal.
func splitHost(b []byte) (name, port []byte, ok bool) {
	i := bytes.IndexByte(b, ':')
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return nil, nil, false
		}
		if i = end + 1; i == len(b) {
			return b, nil, true
		}
	}
	if i < 0 {
		return bytes.TrimSuffix(b, dot), nil, true
	}
	if b[i] != ':' || bytes.IndexByte(b[i+1:], ':') >= 0 {
		return nil, nil, false
	}
	return bytes.TrimSuffix(b[:i], dot), b[i+1:], true
}

var dot = []byte(".")

// canonical writes a name of at most maxHost bytes into buf in lower case; an IPv6 literal as RFC 5952 has it.
func canonical(buf *[maxHost]byte, name []byte) []byte {
	// A zone would make ParseAddr allocate; no route can name one.
	if len(name) > 2 && name[0] == '[' && bytes.IndexByte(name, '%') < 0 {
		inner := name[1 : len(name)-1]
		if a, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(inner), len(inner))); err == nil {
			return append(a.AppendTo(append(buf[:0], '[')), ']')
		}
	}
	for i, c := range name {
		if c-'A' < 26 {
			c |= 0x20
		}
		buf[i] = c
	}
	return buf[:len(name)]
}

// portNumber reads a request's port; 0 if there is none or it is none.
func portNumber(b []byte) uint16 {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' || n > 65535 {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	if n > 65535 {
		return 0
	}
	return uint16(n)
}

// portFits reports whether a request that named the port got (0: none) is meant by an entry that names want (0: none).
func portFits(want, got uint16) bool {
	return want == 0 || want == got || got == 0 && (want == 80 || want == 443)
}
