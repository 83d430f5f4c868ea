package observe

import (
	"net/netip"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// line is a line of the access log being built. It is appended by hand and not by zerolog, which the process log uses:
// without allocations either, but twice as slow (BenchmarkLine), since it escapes every key anew and copies every line
// once more; at a quarter of a microsecond that would be a fiftieth of what a whole request costs.
//
// Keys are given as they stand in the line, from the comma to where the value begins.
type line []byte

// text adds a value that may be anything, escaped and cut to most bytes; none if it is empty.
func (l line) text(key string, v []byte, most int) line {
	if len(v) == 0 {
		return l
	}
	return append(appendEscaped(append(l, key...), v[:min(len(v), most)]), '"')
}

func (l line) str(key, v string) line {
	return l.text(key, unsafe.Slice(unsafe.StringData(v), len(v)), maxText)
}

func (l line) int(key string, n int64) line { return strconv.AppendInt(append(l, key...), n, 10) }

// millis adds nanoseconds as milliseconds with three decimals, without the cost of a float.
func (l line) millis(key string, nano int64) line {
	us := max(nano, 0) / 1000
	l = append(strconv.AppendInt(append(l, key...), us/1000, 10), '.', byte('0'+us/100%10))
	return digits2(l, int(us%100))
}

func (l line) addr(key string, a netip.Addr) line {
	if !a.IsValid() {
		return l
	}
	return append(a.Unmap().AppendTo(append(l, key...)), '"')
}

func (l line) addrPort(key string, a netip.AddrPort) line {
	if !a.IsValid() {
		return l
	}
	return append(netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).AppendTo(append(l, key...)), '"')
}

// plain are the bytes that stand for themselves in a JSON string and in a terminal.
var plain = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// appendEscaped appends v as the inside of a JSON string (RFC 8259 §7). Bytes that are not UTF-8 become U+FFFD; the
// separators that JavaScript takes for line ends are escaped too.
func appendEscaped[B ~[]byte](dst B, v []byte) B {
	for i := 0; i < len(v); {
		start := i
		for i < len(v) && plain[v[i]] {
			i++
		}
		dst = append(dst, v[start:i]...)
		if i == len(v) {
			break
		}
		if v[i] >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(v[i:])
			switch r {
			case utf8.RuneError:
				dst = append(dst, `\ufffd`...)
			case '\u2028', '\u2029':
				dst = append(dst, `\u202`...)
				dst = append(dst, hexDigits[r&15])
			default:
				dst = append(dst, v[i:i+n]...)
			}
			i += n
			continue
		}
		switch c := v[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
	}
	return dst
}

const hexDigits = "0123456789abcdef"
