package wire

import "bytes"

// ValidHost reports whether h is a host with an optional port, and nothing else (RFC 9110 §7.2).
func ValidHost(h []byte) bool {
	host, port := splitHost(h)
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		if !validIPv6(host[1 : len(host)-1]) {
			return false
		}
	} else {
		if len(host) == 0 || len(host) > 255 {
			return false
		}
		for _, c := range host {
			if !hostByte[c] {
				return false
			}
		}
	}
	return len(host) == len(h) || validPort(port)
}

// splitHost cuts the port off: what stands behind the first colon, or behind the one after a bracket.
func splitHost(h []byte) (host, port []byte) {
	from := max(bytes.IndexByte(h, ']'), 0)
	if i := bytes.IndexByte(h[from:], ':'); i >= 0 {
		return h[:from+i], h[from+i+1:]
	}
	return h, nil
}

func validPort(p []byte) bool {
	if len(p) == 0 || len(p) > 5 {
		return false
	}
	n := 0
	for _, c := range p {
		if c-'0' > 9 {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}

// validIPv6 reports whether a is an IPv6 address (RFC 4291 §2.2); a zone has no place in a URI.
func validIPv6(a []byte) bool {
	groups, gap := 0, false
	if len(a) >= 2 && a[0] == ':' && a[1] == ':' {
		a, gap = a[2:], true
	}
	for len(a) > 0 {
		n := 0
		for n < len(a) && hexDigit[a[n]] != 0xff {
			n++
		}
		if n < len(a) && a[n] == '.' {
			if !validIPv4(a) {
				return false
			}
			groups += 2
			break
		}
		if n == 0 || n > 4 {
			return false
		}
		groups++
		if a = a[n:]; len(a) == 0 {
			break
		}
		if a[0] != ':' || len(a) == 1 {
			return false
		}
		if a = a[1:]; a[0] == ':' {
			if gap {
				return false
			}
			a, gap = a[1:], true
		}
	}
	return gap && groups < 8 || !gap && groups == 8
}

func validIPv4(a []byte) bool {
	parts := 0
	for {
		n, i := 0, 0
		for i < len(a) && i < 3 && a[i]-'0' <= 9 {
			n = n*10 + int(a[i]-'0')
			i++
		}
		if i == 0 || n > 255 || i > 1 && a[0] == '0' {
			return false
		}
		parts++
		if i == len(a) {
			return parts == 4
		}
		if a[i] != '.' || parts == 4 {
			return false
		}
		a = a[i+1:]
	}
}

// sameHost compares two valid hosts in any case, a trailing dot and the scheme's own port aside.
func sameHost(a, b []byte, secure bool) bool {
	a, ap := splitHost(a)
	b, bp := splitHost(b)
	return bytes.EqualFold(bytes.TrimSuffix(a, dot), bytes.TrimSuffix(b, dot)) && portOr(ap, secure) == portOr(bp, secure)
}

var dot = []byte(".")

// portOr reads a valid port; none is the scheme's.
func portOr(p []byte, secure bool) (n int) {
	switch {
	case len(p) > 0:
		for _, c := range p {
			n = n*10 + int(c-'0')
		}
		return n
	case secure:
		return 443
	}
	return 80
}
