package httpabi

import (
	"bytes"
	"unsafe"

	"github.com/weirproxy/weir/core/exchange"
)

// Classes of bytes, as the reader of heads has them: what a client may not send, a guest may not set.
const (
	tokenByte  = 1 << iota // RFC 9110 §5.6.2
	targetByte             // visible ASCII, without the fragment mark and the backslash
)

var class = func() (t [256]uint8) {
	for c := range 256 {
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if alnum || c < 0x80 && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), byte(c)) >= 0 {
			t[c] |= tokenByte
		}
		if c > 0x20 && c < 0x7f && c != '#' && c != '\\' {
			t[c] |= targetByte
		}
	}
	return t
}()

// all reports whether every byte of b is of a class.
func all(b []byte, of uint8) bool {
	for _, c := range b {
		if class[c]&of == 0 {
			return false
		}
	}
	return true
}

// trim cuts the space that does not belong to a field's value.
func trim(v []byte) []byte {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	return v
}

// framing reports whether a field ends at this hop or says where a message ends: weir writes those itself.
func framing(id exchange.ID) bool { return id.HopByHop() || id == exchange.Expect }

// mayTrail says which fields may come after a body: none that frames, routes, authenticates or describes the content
// (RFC 9110 §6.5.1).
func mayTrail(name []byte, id exchange.ID) bool {
	switch id {
	case exchange.Authorization, exchange.Cookie, exchange.SetCookie, exchange.ContentEncoding, exchange.ContentType,
		exchange.Date, exchange.Forwarded, exchange.Host, exchange.MaxForwards, exchange.Origin, exchange.RetryAfter,
		exchange.Via, exchange.XForwardedFor, exchange.XForwardedHost, exchange.XForwardedPort, exchange.XForwardedProto,
		exchange.XRealIP, exchange.XRequestID:
		return false
	}
	const content = "content-"
	return len(name) < len(content) || !exchange.EqualFold(name[:len(content)], content)
}

// lowerByte is c in lower case.
func lowerByte(c byte) byte {
	if c-'A' < 26 {
		c |= 0x20
	}
	return c
}

// foldCompare orders two names in any case.
func foldCompare(a, b []byte) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if x, y := lowerByte(a[i]), lowerByte(b[i]); x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

// viewString is b as a string, valid as long as b is neither changed nor freed.
func viewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
