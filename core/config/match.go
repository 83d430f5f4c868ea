package config

import (
	"net/netip"
	"slices"
	"strings"
)

// Match says which requests a route takes. What is empty matches everything.
type Match struct {
	Pos     Pos
	Hosts   []string // lower case, without a port; *.example.com is every name below example.com
	Path    string   // exact, or with {name} for a segment, or with /* at its end, which the part before matches too
	Methods []string
	Headers []HeaderMatch
}

// HeaderMatch is a header that must have a value, exactly.
type HeaderMatch struct {
	Pos   Pos
	Name  string // lower case
	Value string
}

// Segments returns the names of the segments in braces.
func (m *Match) Segments() []string {
	var out []string
	for segment := range strings.SplitSeq(m.Path, "/") {
		if name, ok := segmentName(segment); ok {
			out = append(out, name)
		}
	}
	return out
}

var matchKeys = []key[Match]{
	{"host", now, func(d *decoder, v value, m *Match) { m.Hosts = d.hosts(v) }},
	{"path", now, func(d *decoder, v value, m *Match) { m.Path = d.pattern(v) }},
	{"methods", now, func(d *decoder, v value, m *Match) { m.Methods = d.methods(v) }},
	{"headers", now, func(d *decoder, v value, m *Match) { m.Headers = d.headerMatches(v) }},
}

func (d *decoder) match(v value) Match {
	m := Match{Pos: v.pos}
	readObject(d, v, matchKeys, &m)
	return m
}

func (d *decoder) hosts(v value) []string {
	items := d.oneOrMore(v)
	if len(items) == 0 {
		d.fail(v.pos, "the list is empty: no host would match")
	}
	var out []string
	for _, item := range items {
		s := strings.ToLower(d.text(item))
		if s == "" {
			continue
		}
		if !isHost(strings.TrimPrefix(s, "*.")) {
			d.fail(item.pos, "wants a host such as example.com or *.example.com, without a port, not %q", s)
			continue
		}
		if slices.Contains(out, s) {
			d.fail(item.pos, "%q stands in the list twice", s)
			continue
		}
		out = append(out, s)
	}
	return out
}

// isHost takes names and addresses, IPv6 in brackets as it stands in a Host header.
func isHost(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && a.Is6() && strings.HasSuffix(s, "]")
	}
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func (d *decoder) pattern(v value) string {
	s := d.text(v)
	if s == "" {
		return ""
	}
	if why := badPattern(s); why != "" {
		d.fail(v.pos, "%q %s", s, why)
		return ""
	}
	return s
}

// badPattern says why s is not a pattern of paths, or nothing.
func badPattern(s string) string {
	if s[0] != '/' {
		return "does not begin with /"
	}
	if strings.ContainsAny(s, "?#\\ \t\r\n") {
		return "has a character in it that no path has"
	}
	segments := strings.Split(s[1:], "/")
	var seen []string
	for i, segment := range segments {
		name, named := segmentName(segment)
		switch {
		case segment == "*" && i == len(segments)-1:
		case segment == "." || segment == "..":
			return "has a . or .. in it, which no request is matched with"
		case segment == "" && i < len(segments)-1:
			return "has an empty segment in it"
		case strings.Contains(segment, "*"):
			return "has a * that is not its last segment: /v1/*"
		case named && slices.Contains(seen, name):
			return "has the segment {" + name + "} twice"
		case named:
			seen = append(seen, name)
		case strings.ContainsAny(segment, "{}"):
			return "has a brace that is not around a whole segment: /servers/{id}"
		}
	}
	return ""
}

// segmentName returns the name in a segment {name}.
func segmentName(segment string) (string, bool) {
	if len(segment) < 3 || segment[0] != '{' || segment[len(segment)-1] != '}' {
		return "", false
	}
	name := segment[1 : len(segment)-1]
	return name, plainKey(name)
}

func (d *decoder) methods(v value) []string {
	items := d.items(v)
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "the list is empty: no method would match")
	}
	var out []string
	for _, item := range items {
		m := d.text(item)
		upper := strings.ToUpper(m)
		switch {
		case m == "":
		case !isToken(m):
			d.fail(item.pos, "%q is not a method", m)
		case upper != m:
			d.fail(item.pos, "a method is written in capitals; did you mean %q?", upper)
		case slices.Contains(out, m):
			d.fail(item.pos, "%q stands in the list twice", m)
		default:
			out = append(out, m)
		}
	}
	return out
}

func (d *decoder) headerMatches(v value) []HeaderMatch {
	var out []HeaderMatch
	for _, e := range d.fields(v) {
		m := HeaderMatch{Pos: e.pos, Name: d.headerName(e.pos, e.name), Value: d.text(e.value)}
		if slices.ContainsFunc(out, func(o HeaderMatch) bool { return o.Name == m.Name && m.Name != "" }) {
			d.fail(e.pos, "the header stands here twice")
		}
		out = append(out, m)
	}
	return out
}
