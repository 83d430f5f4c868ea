package wire

import (
	"bytes"

	"github.com/weirproxy/weir/core/exchange"
)

// Normalise splits r.Target, which begins with a slash, into path and query and brings the path into the one form that
// is routed on and forwarded: unreserved characters decoded, the digits of other encodings in capitals, dot segments
// removed (RFC 3986 §6.2.2). Encoded slashes and backslashes stay as they are, byte for byte, and separate nothing. What a
// second decoding would turn into another path is refused.
func Normalise(r *exchange.Request) error { return Defaults.Normalise(r) }

// Normalise is the function of that name under lim, which may refuse encoded slashes and merge plain ones. They are merged
// before dots are removed, as the servers do that merge: of "/a//../b" nothing is left but "/b".
func (lim *Limits) Normalise(r *exchange.Request) error {
	t := r.Target
	path, query := t, []byte(nil)
	if i := bytes.IndexByte(t, '?'); i >= 0 {
		path, query = t[:i], t[i+1:]
	}
	r.Path, r.Query = path, query
	if bytes.IndexByte(path, '\\') >= 0 { // some readers take it for a slash
		return errTarget
	}
	merge := lim.MergeSlashes && bytes.Contains(path, slashes)
	if bytes.IndexByte(path, '%') < 0 && !bytes.Contains(path, slashDot) && !merge {
		return nil
	}
	// Decoding and removing segments only shorten, so the new target fits into a copy of the old.
	buf := r.Header.Keep(t)
	n, err := decode(buf[:len(path)], lim.RefuseSlashes)
	if err != nil {
		return err
	}
	if merge {
		n = mergeSlashes(buf[:n])
	}
	if n, err = removeDots(buf[:n]); err != nil {
		return err
	}
	r.Path = buf[:n]
	if len(path) < len(t) {
		buf = append(buf[:n], t[len(path):]...)
		r.Query = buf[n+1:]
	} else {
		buf = buf[:n]
	}
	r.Target = buf
	return nil
}

var (
	slashDot = []byte("/.")
	slashes  = []byte("//")
)

func mergeSlashes(p []byte) int {
	w := 0
	for i, c := range p {
		if c != '/' || i == 0 || p[i-1] != '/' {
			p[w] = c
			w++
		}
	}
	return w
}

// decode decodes unreserved characters in place and checks the rest of the percent-encodings.
func decode(p []byte, refuseSlashes bool) (int, error) {
	w := 0
	for i := 0; i < len(p); i++ {
		if p[i] != '%' {
			p[w] = p[i]
			w++
			continue
		}
		if i+2 >= len(p) {
			return 0, errTarget
		}
		hi, lo := hexDigit[p[i+1]], hexDigit[p[i+2]]
		if hi|lo == 0xff {
			return 0, errTarget
		}
		c := hi<<4 | lo
		switch {
		case c < 0x20 || c == 0x7f:
			return 0, errTarget
		case unreserved[c]:
			p[w] = c
			w++
		case c == '/' || c == '\\':
			if refuseSlashes {
				return 0, errTarget
			}
			w += copy(p[w:], p[i:i+3])
		default:
			p[w], p[w+1], p[w+2] = '%', capital[hi], capital[lo]
			w += 3
		}
		i += 2
	}
	return w, nil
}

const capital = "0123456789ABCDEF"

// removeDots removes dot segments in place (RFC 3986 §5.2.4).
func removeDots(p []byte) (int, error) {
	w := 0
	for i := 0; i < len(p); {
		end := len(p)
		if j := bytes.IndexByte(p[i+1:], '/'); j >= 0 {
			end = i + 1 + j
		}
		seg := p[i+1 : end]
		last := end == len(p)
		switch {
		case string(seg) == ".":
			if last {
				p[w] = '/'
				w++
			}
		case string(seg) == "..":
			if w > 0 {
				w = max(bytes.LastIndexByte(p[:w], '/'), 0)
			}
			if last {
				p[w] = '/'
				w++
			}
		default:
			if disguised(seg) {
				return 0, errTarget
			}
			w += copy(p[w:], p[i:end])
		}
		i = end
	}
	if w == 0 {
		p[0], w = '/', 1
	}
	return w, nil
}

// disguised reports whether a reader that cuts parameters, decodes once more or takes an encoded slash for a slash would
// find a dot segment in seg: "..;x", "..%3bx", "%252e%252e", "..%2f", "x;y%2f..".
func disguised(seg []byte) bool {
	dots, other := 0, false // what the part since the last encoded slash begins with
	for i := 0; i < len(seg); {
		rest, slash := seg[i:], 0
		switch {
		case rest[0] == '.':
			dots++
			i++
			continue
		case rest[0] == ';':
			if isDots(dots, other) {
				return true
			}
		case rest[0] != '%':
		case hasFold(rest, "%252e"):
			dots++
			i += 5
			continue
		case hasFold(rest, "%3b"):
			if isDots(dots, other) {
				return true
			}
		case hasFold(rest, "%2f"), hasFold(rest, "%5c"):
			slash = 3
		case hasFold(rest, "%252f"), hasFold(rest, "%255c"):
			slash = 5
		}
		if slash == 0 {
			other = true
			i++
			continue
		}
		if isDots(dots, other) {
			return true
		}
		dots, other = 0, false
		i += slash
	}
	return isDots(dots, other)
}

func isDots(dots int, other bool) bool { return (dots == 1 || dots == 2) && !other }
