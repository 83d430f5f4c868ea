// Package route finds the first of many ordered matches that a request satisfies, without looking at them one by one.
package route

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wire"
)

// Match says which requests a route is for: all that satisfy every part of it. The zero value is for every request.
type Match struct {
	// Hosts lists names, addresses and suffixes, any of which must fit; none listed, or "*", is any host and also none.
	// "*.example.com" stands for one or more labels before the suffix: a.example.com and a.b.example.com, never
	// example.com itself. Letter case and one trailing dot do not matter; IPv6 addresses stand in brackets and are compared
	// as addresses. An entry without a port fits any port, since the same name is reached on several listeners; with a port
	// it fits that one only, and a request that names none is taken to mean 80 or 443.
	Hosts []string

	// Path is "/a" (exactly that), "/v1/*" (/v1 and what is below it, never /v1x), with "{name}" in place of a whole
	// segment (at least one byte, kept for Params). "/*" and "" are everything, also the target "*". It is brought into the
	// form that requests' paths have (wire.Normalise), and compared byte by byte but for the case of encoded slashes.
	Path string

	// Methods lists methods in upper case, any of which must be the request's; none is any. GET stands for HEAD too.
	Methods []string

	// Headers must all be satisfied.
	Headers []HeaderMatch

	// Preflights says that a CORS preflight satisfies Methods and Headers if the request that it asks for may.
	Preflights bool
}

// HeaderMatch is satisfied by a request that has a field called Name, in any case, with exactly this Value. If it has
// several of that name, one of them is enough.
type HeaderMatch struct{ Name, Value string }

// rule is a Match made ready, without its hosts and the literal part of its path, which the table's index stands for.
type rule struct {
	hosts    []host
	segments []segment
	under    bool // path ends in "/*"
	params   int
	methods  []string
	headers  []HeaderMatch // names in lower case

	preflights bool
}

// segment is one between two slashes of a pattern.
type segment struct {
	text  string
	param bool // text is its name
}

func compile(m *Match) (*rule, error) {
	r := &rule{methods: slices.Clone(m.Methods), preflights: m.Preflights}
	var err error
	if r.hosts, err = parseHosts(m.Hosts); err != nil {
		return nil, err
	}
	if err = r.parsePath(m.Path); err != nil {
		return nil, err
	}
	for _, method := range m.Methods {
		if !isToken(method) || method != strings.ToUpper(method) {
			return nil, fmt.Errorf("method %q: not a method in upper case", method)
		}
	}
	for _, h := range m.Headers {
		if !isToken(h.Name) {
			return nil, fmt.Errorf("header %q: not a field name", h.Name)
		}
		if h.Value != strings.Trim(h.Value, " \t") {
			return nil, fmt.Errorf("header %s: value %q has space around it and never matches", h.Name, h.Value)
		}
		r.headers = append(r.headers, HeaderMatch{strings.ToLower(h.Name), h.Value})
	}
	return r, nil
}

func (r *rule) parsePath(path string) error {
	if path == "" || path == "/*" {
		r.under = true
		return nil
	}
	if path[0] != '/' {
		return fmt.Errorf("path %q: does not begin with /", path)
	}
	body, under := strings.CutSuffix(path, "/*")
	r.under = under
	for _, s := range strings.Split(body[1:], "/") {
		seg, err := parseSegment(s)
		if err != nil {
			return fmt.Errorf("path %q: %w", path, err)
		}
		if seg.param {
			if slices.Contains(r.segments, seg) {
				return fmt.Errorf("path %q: {%s} stands in it twice", path, seg.text)
			}
			r.params++
		}
		r.segments = append(r.segments, seg)
	}
	if r.params > maxParams {
		return fmt.Errorf("path %q: more than %d named segments", path, maxParams)
	}
	return nil
}

// maxParams is how many exchange.Params keeps.
const maxParams = 8

var (
	errStar    = errors.New("* may only stand for the whole end, as /*")
	errBraces  = errors.New("a name in braces must be a whole segment, of letters, digits, _ and -")
	errDots    = errors.New("never matches: dot segments are resolved before")
	errLong    = fmt.Errorf("a segment with encodings is longer than %d bytes", maxSegment)
	errUnclean = errors.New("never matches: contains a byte that no request's path has")
)

func parseSegment(s string) (segment, error) {
	if strings.ContainsAny(s, "{}") {
		name, ok := strings.CutPrefix(s, "{")
		name, ok2 := strings.CutSuffix(name, "}")
		if !ok || !ok2 || name == "" || strings.Trim(name, nameBytes) != "" {
			return segment{}, errBraces
		}
		return segment{name, true}, nil
	}
	switch {
	case strings.Contains(s, "*"):
		return segment{}, errStar
	case s == "." || s == "..":
		return segment{}, errDots
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '?' || c == '#' || c == 0x7f {
			return segment{}, errUnclean
		}
	}
	s, err := normal(s)
	return segment{s, false}, err
}

// Normal gives a path of the configuration the form that it has in requests; encoded slashes get capitals. An error says that
// no request has such a path.
func Normal(path string) (string, error) {
	all := strings.Split(path, "/")
	for i, s := range all {
		var err error
		if all[i], err = normal(s); err != nil {
			return "", err
		}
		if s == "." || s == ".." {
			return "", errDots
		}
	}
	return strings.Join(all, "/"), nil
}

// normal gives a segment the form that it has in a request: what is beyond ASCII comes percent-encoded, what need not be
// encoded comes plain.
func normal(s string) (string, error) {
	q := exchange.Request{Target: []byte{'/'}}
	for _, c := range []byte(s) {
		if c < 0x80 {
			q.Target = append(q.Target, c)
			continue
		}
		q.Target = fmt.Appendf(q.Target, "%%%02X", c)
	}
	switch err := wire.Normalise(&q); {
	case err != nil:
		return "", fmt.Errorf("never matches: %w", err)
	case s != "" && (len(q.Path) == 1 || q.Path[0] != '/'):
		return "", errDots
	}
	if len(q.Path) > maxSegment && bytes.IndexByte(q.Path, '%') >= 0 {
		return "", errLong
	}
	return string(capitals(nil, q.Path[1:])), nil
}

// satisfied checks what the index does not: methods and headers.
func (r *rule) satisfied(q *exchange.Request) bool {
	return (len(r.methods) == 0 || r.hasMethod(q.Method)) && r.hasHeaders(q)
}

func (r *rule) hasHeaders(q *exchange.Request) bool {
	for i := range r.headers {
		if !hasField(&q.Header, &r.headers[i]) {
			return false
		}
	}
	return true
}

func (r *rule) hasMethod(method []byte) bool {
	for _, m := range r.methods {
		if m == string(method) || m == "GET" && string(method) == "HEAD" {
			return true
		}
	}
	return false
}

func hasField(h *exchange.Header, want *HeaderMatch) bool {
	for i := h.Index(want.Name, 0); i >= 0; i = h.Index(want.Name, i+1) {
		if string(h.At(i).Value) == want.Value {
			return true
		}
	}
	return false
}

// fill gives p the segments of path that the pattern names; path fits the pattern.
func (r *rule) fill(path []byte, p *exchange.Params) {
	for _, s := range r.segments {
		var seg []byte
		seg, path = cut(path)
		if s.param {
			p.Set(s.text, seg)
		}
	}
}

// cut gives the segment after the slash that path begins with, and what follows it: nothing, or a slash and more.
func cut(path []byte) (seg, rest []byte) {
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			return path[1:i], path[i:]
		}
	}
	return path[1:], nil
}

func isToken(s string) bool { return s != "" && strings.Trim(s, nameBytes+"!#$%&'*+.^`|~") == "" }

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
