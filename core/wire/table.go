package wire

// Classes of bytes. A token's bytes (RFC 9110 §5.6.2) have plain set; the underscore is a token byte of its own class,
// because many servers take it for a dash.
const (
	plain      = 1
	underscore = 2
)

// tokenByte marks the bytes of field names and methods.
var tokenByte = func() (t [256]uint8) {
	for c := range 256 {
		if alnum(c) {
			t[c] = plain
		}
	}
	for _, c := range "!#$%&'*+-.^`|~" {
		t[c] = plain
	}
	t['_'] = underscore
	return t
}()

// valueByte marks the bytes of a field value (RFC 9110 §5.5): VCHAR, obs-text, space and tab.
var valueByte = func() (t [256]bool) {
	t['\t'] = true
	for c := 0x20; c < 0x100; c++ {
		t[c] = c != 0x7f
	}
	return t
}()

// targetByte marks the bytes that may stand in a request target: visible ASCII but the fragment mark, which no target
// has (RFC 9112 §3.2). What else may not stand in a path is refused there: browsers send backslashes in queries.
var targetByte = func() (t [256]bool) {
	for c := 0x21; c < 0x7f; c++ {
		t[c] = c != '#'
	}
	return t
}()

// hostByte marks the bytes of a registered name or an IPv4 address (RFC 3986 §3.2.2) without percent-encoding and the
// delimiters that no name in use has.
var hostByte = func() (t [256]bool) {
	for c := range 256 {
		t[c] = alnum(c) || c == '.' || c == '-' || c == '_' || c == '~'
	}
	return t
}()

// unreserved marks the bytes that mean the same encoded or not (RFC 3986 §2.3).
var unreserved = hostByte

// hexDigit gives the value of a hex digit, 0xff for any other byte.
var hexDigit = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range 10 {
		t['0'+i] = byte(i)
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = byte(10+i), byte(10+i)
	}
	return t
}()

func alnum(c int) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
