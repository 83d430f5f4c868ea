package identity

import (
	"encoding/json"
	"slices"
	"unicode/utf8"
)

const maxDepth = 16

// parseClaims reads a JSON object (RFC 8259) and refuses what decoders forgive and disagree about: a member twice in
// one object (also when spelled with escapes), text before or after the object, invalid UTF-8, lone surrogates,
// nesting deeper than 16. One pass checks and collects, so there is no second parser that could read it otherwise.
// The claims point into text.
func parseClaims(text string) (Claims, bool) {
	s := scanner{src: text}
	// A member takes some thirty bytes of text.
	n := len(text)/32 + 4
	s.claims.entries = make([]claim, 0, n)
	s.claims.values = make([]string, 0, n)
	if !s.document(false) {
		return Claims{}, false
	}
	return s.claims, s.claims.seal()
}

// strictJSON reports whether text is an object that parseClaims would read, without collecting anything.
func strictJSON(text string) bool {
	s := scanner{src: text}
	return s.document(true)
}

type scanner struct {
	src    string
	pos    int
	names  []string // of the objects that are open, innermost last
	claims Claims
}

func (s *scanner) document(hidden bool) bool {
	if s.peek() != '{' || !utf8.ValidString(s.src) || !s.object("", 1, hidden) {
		return false
	}
	s.space()
	return s.pos == len(s.src)
}

// object reads from the brace on. What is hidden (in arrays) is checked and not collected.
func (s *scanner) object(prefix string, depth int, hidden bool) bool {
	if depth > maxDepth {
		return false
	}
	s.pos++
	s.space()
	if s.accept('}') {
		return true
	}
	base := len(s.names)
	for {
		if !s.member(prefix, depth, hidden) {
			return false
		}
		s.space()
		if s.accept('}') {
			break
		}
		if !s.accept(',') {
			return false
		}
		s.space()
	}
	// Sorting keeps a hostile object of thousands of members from costing their square.
	names := s.names[base:]
	slices.Sort(names)
	for i := 1; i < len(names); i++ {
		if names[i-1] == names[i] {
			return false
		}
	}
	s.names = s.names[:base]
	return true
}

func (s *scanner) member(prefix string, depth int, hidden bool) bool {
	name, ok := s.text()
	if !ok {
		return false
	}
	s.names = append(s.names, name)
	s.space()
	if !s.accept(':') {
		return false
	}
	s.space()
	path := name
	if depth > 1 && !hidden {
		path = prefix + "." + name
	}
	switch s.peek() {
	case '{':
		s.add(claim{path: path, kind: kindObject}, hidden)
		return s.object(path, depth+1, hidden)
	case '[':
		return s.array(path, depth+1, hidden)
	}
	lo := len(s.claims.values)
	k, ok := s.scalar(hidden)
	s.add(claim{path: path, lo: int32(lo), hi: int32(len(s.claims.values)), kind: k}, hidden)
	return ok
}

func (s *scanner) array(path string, depth int, hidden bool) bool {
	if depth > maxDepth {
		return false
	}
	s.pos++
	c := claim{path: path, lo: int32(len(s.claims.values)), kind: kindArray, plain: true}
	s.space()
	for !s.accept(']') {
		ok := true
		k := kindObject
		switch s.peek() {
		case '{':
			ok = s.object("", depth+1, true)
		case '[':
			ok = s.array("", depth+1, true)
		default:
			k, ok = s.scalar(hidden)
		}
		if !ok {
			return false
		}
		c.plain = c.plain && k == kindString
		s.space()
		if s.accept(',') {
			s.space()
			if s.peek() == ']' {
				return false
			}
			continue
		}
		if s.peek() != ']' {
			return false
		}
	}
	c.hi = int32(len(s.claims.values))
	s.add(c, hidden)
	return true
}

// scalar reads a value that is neither object nor array and collects its text; null has none.
func (s *scanner) scalar(hidden bool) (kind, bool) {
	var v string
	k, ok := kindNull, false
	switch c := s.peek(); {
	case c == '"':
		k = kindString
		v, ok = s.text()
	case c == 't':
		k, v, ok = kindBool, "true", s.literal("true")
	case c == 'f':
		k, v, ok = kindBool, "false", s.literal("false")
	case c == 'n':
		return kindNull, s.literal("null")
	default:
		k = kindNumber
		v, ok = s.number()
	}
	if ok && !hidden {
		s.claims.values = append(s.claims.values, v)
	}
	return k, ok
}

func (s *scanner) add(c claim, hidden bool) {
	if !hidden {
		s.claims.entries = append(s.claims.entries, c)
	}
}

// text reads a string. Without escapes it is a piece of the source; else encoding/json decodes what was checked here.
func (s *scanner) text() (string, bool) {
	if !s.accept('"') {
		return "", false
	}
	start, escaped := s.pos, false
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case c == '"':
			raw := s.src[start:s.pos]
			s.pos++
			if !escaped {
				return raw, true
			}
			var out string
			err := json.Unmarshal([]byte(s.src[start-1:s.pos]), &out)
			return out, err == nil
		case c == '\\':
			escaped = true
			if !s.escape() {
				return "", false
			}
		case c < ' ':
			return "", false
		default:
			s.pos++
		}
	}
	return "", false
}

// escape steps over one escape. encoding/json turns a lone surrogate into U+FFFD, which would make two names one.
func (s *scanner) escape() bool {
	if s.pos+1 >= len(s.src) {
		return false
	}
	if s.src[s.pos+1] != 'u' {
		s.pos += 2
		return true
	}
	u, ok := s.unit()
	if !ok || u >= 0xDC00 && u <= 0xDFFF {
		return false
	}
	if u < 0xD800 || u > 0xDBFF {
		return true
	}
	low, ok := s.unit()
	return ok && low >= 0xDC00 && low <= 0xDFFF
}

// unit reads \uXXXX.
func (s *scanner) unit() (uint32, bool) {
	if s.pos+6 > len(s.src) || s.src[s.pos] != '\\' || s.src[s.pos+1] != 'u' {
		return 0, false
	}
	var u uint32
	for _, c := range []byte(s.src[s.pos+2 : s.pos+6]) {
		switch {
		case c >= '0' && c <= '9':
			u = u<<4 | uint32(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			u = u<<4 | uint32(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	s.pos += 6
	return u, true
}

// number reads RFC 8259 §6 and returns the text of it.
func (s *scanner) number() (string, bool) {
	start := s.pos
	s.accept('-')
	if !s.accept('0') && !s.digits() {
		return "", false
	}
	if s.accept('.') && !s.digits() {
		return "", false
	}
	if s.accept('e') || s.accept('E') {
		if !s.accept('+') {
			s.accept('-')
		}
		if !s.digits() {
			return "", false
		}
	}
	return s.src[start:s.pos], true
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.src) && s.src[s.pos] >= '0' && s.src[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) literal(word string) bool {
	if len(s.src)-s.pos < len(word) || s.src[s.pos:s.pos+len(word)] != word {
		return false
	}
	s.pos += len(word)
	return true
}

func (s *scanner) space() {
	for s.pos < len(s.src) {
		switch s.src[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) accept(c byte) bool {
	if s.peek() != c || s.pos >= len(s.src) {
		return false
	}
	s.pos++
	return true
}

// peek is the next byte, 0 at the end; a zero byte is nowhere valid outside a string's escapes.
func (s *scanner) peek() byte {
	if s.pos >= len(s.src) {
		return 0
	}
	return s.src[s.pos]
}
