package exchange

import "encoding/binary"

// CleanValue reports whether every byte of v may stand in a field value (RFC 9110 §5.5): VCHAR, obs-text, space and tab.
// It looks at eight bytes at a time while none is suspicious.
func CleanValue(v []byte) bool {
	if n := len(v); n >= 8 {
		i := 0
		for ; i <= n-8 && !suspicious(binary.LittleEndian.Uint64(v[i:])); i += 8 {
		}
		if i > n-8 && !suspicious(binary.LittleEndian.Uint64(v[n-8:])) { // the rest, with what is before it
			return true
		}
		v = v[min(i, n-8):]
	}
	for _, c := range v {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// suspicious reports whether one of w's bytes is below a space or DEL.
func suspicious(w uint64) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	del := w ^ 0x7f*ones
	return ((w-0x20*ones)&^w|(del-ones)&^del)&tops != 0
}

// isToken reports whether b is a token (RFC 9110 §5.6.2), as field names and methods are.
func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenByte[c] {
			return false
		}
	}
	return len(b) > 0
}

var tokenByte = func() (t [256]bool) {
	for c := range 256 {
		t[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()
