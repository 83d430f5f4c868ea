package route

import "bytes"

// Plain reports whether p, a path in the form that weir routes on, means the same to every server: no encoding is left in
// it, no parameter, nothing that is dropped or merged by some.
func Plain(p []byte) bool {
	for i, c := range p {
		switch c {
		case '%', ';', '\\':
			return false
		case '/':
			if i > 0 && (p[i-1] == '/' || p[i-1] == '.') {
				return false
			}
		}
	}
	return len(p) == 0 || p[len(p)-1] != '.'
}

// AppendLax appends the path that the most lenient of servers makes of p: percent-encodings decoded, those of slashes and
// backslashes too, overlong and full-width characters taken for ASCII, parameters cut off segments, dots and spaces around
// them dropped, empty segments left out, what stands behind an encoded '?', '#' or NUL lost. ok is false if it would find a
// dot segment, which weir has resolved already where it was plain. p and dst do not overlap.
func AppendLax(dst, p []byte) (path []byte, ok bool) {
	start := len(dst)
	for i := 0; i < len(p); {
		c, n := decodeByte(p[i:])
		i += n
		dst = append(dst, c)
	}
	flat := flatten(dst[start:])
	if i := bytes.IndexAny(flat, "?#\x00"); i >= 0 {
		flat = flat[:i]
	}
	w := 0 // what is written is never ahead of what is read: every segment has a slash before it
	for i := 0; i < len(flat); {
		end := i + 1
		for end < len(flat) && flat[end] != '/' {
			end++
		}
		seg := flat[i+1 : end]
		i = end
		if j := bytes.IndexByte(seg, ';'); j >= 0 {
			seg = seg[:j]
		}
		if seg = bytes.Trim(seg, " \t"); len(seg) == 0 {
			continue
		}
		name := bytes.TrimRight(seg, ". ")
		if len(name) == 0 && (len(seg) < 3 || bytes.IndexByte(seg, ' ') >= 0) {
			return dst[:start], false // "..", and what some make of ".. ." nobody knows
		}
		if seg = name; len(seg) == 0 {
			continue // "..." is a name to most, and to those that drop dots none
		}
		flat[w] = '/'
		w += 1 + copy(flat[w+1:], seg)
	}
	if w == 0 {
		return append(dst[:start], '/'), true
	}
	return dst[:start+w], true
}

// decodeByte gives the byte that p begins with, decoded, and how many of p it takes.
func decodeByte(p []byte) (byte, int) {
	if p[0] == '%' && len(p) > 2 {
		if hi, lo := unhex(p[1]), unhex(p[2]); hi|lo < 16 {
			return hi<<4 | lo, 3
		}
	}
	return p[0], 1
}

func unhex(c byte) byte {
	switch {
	case c-'0' < 10:
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 0xff
}

// flatten makes ASCII of what a careless decoder takes for it, in place: overlong UTF-8 (RFC 3629 §10), the full-width
// forms U+FF01 to U+FF5E, and backslashes, which are slashes to some.
func flatten(p []byte) []byte {
	w := 0
	for i := 0; i < len(p); {
		c, n := p[i], 1
		rest := p[i:]
		switch {
		case c&0xfe == 0xc0 && tail(rest, 2):
			c, n = c<<6|rest[1]&0x3f, 2
		case c == 0xe0 && tail(rest, 3) && rest[1]&0x3e == 0:
			c, n = rest[1]<<6|rest[2]&0x3f, 3
		case c == 0xf0 && tail(rest, 4) && rest[1] == 0x80 && rest[2]&0x3e == 0:
			c, n = rest[2]<<6|rest[3]&0x3f, 4
		case c == 0xef && tail(rest, 3) && (rest[1] == 0xbc && rest[2] >= 0x81 || rest[1] == 0xbd && rest[2] <= 0x9e):
			c, n = (rest[1]&1<<6|rest[2]&0x3f)+0x20, 3
		}
		if c == '\\' {
			c = '/'
		}
		p[w] = c
		w++
		i += n
	}
	return p[:w]
}

// tail reports whether p has n bytes of which all but the first continue a character.
func tail(p []byte, n int) bool {
	if len(p) < n {
		return false
	}
	for _, c := range p[1:n] {
		if c&0xc0 != 0x80 {
			return false
		}
	}
	return true
}
