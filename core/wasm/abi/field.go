package abi

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

// Token reports whether b is a token (RFC 9110 §5.6.2); nothing at all is none.
func Token(b []byte) bool { return len(b) > 0 && all(b, tokenByte) }

// Visible reports whether b may stand in a target: visible ASCII without the fragment mark and the backslash.
func Visible(b []byte) bool { return all(b, targetByte) }

// all reports whether every byte of b is of a class.
func all(b []byte, of uint8) bool {
	for _, c := range b {
		if class[c]&of == 0 {
			return false
		}
	}
	return true
}

// Trim cuts the space that does not belong to a field's value.
func Trim(v []byte) []byte {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	return v
}

// Framing reports whether a field ends at this hop or says where a message ends: weir writes those itself.
func Framing(id exchange.ID) bool { return id.HopByHop() || id == exchange.Expect }

// MayTrail says which fields may come after a body: none that frames, routes, authenticates or describes the content
// (RFC 9110 §6.5.1).
func MayTrail(name []byte, id exchange.ID) bool {
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

// LowerByte is c in lower case.
func LowerByte(c byte) byte {
	if c-'A' < 26 {
		c |= 0x20
	}
	return c
}

// FoldCompare orders two names in any case.
func FoldCompare(a, b []byte) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if x, y := LowerByte(a[i]), LowerByte(b[i]); x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

// ViewString is b as a string, valid as long as b is neither changed nor freed.
func ViewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
