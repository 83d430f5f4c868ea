package config

import (
	"slices"
	"strings"
	"time"
)

// CORS lets pages of other origins read answers (Fetch standard).
type CORS struct {
	Pos         Pos
	Origins     []string // scheme://host[:port], scheme://*.host[:port], null, or "*" alone; lower-case, without a scheme's own port
	Methods     []string // of a preflight's answer; empty: GET, HEAD, POST
	Headers     []string // lower-case
	Expose      []string
	Credentials bool // never together with "*"
	MaxAge      time.Duration
}

var corsKeys = []key[CORS]{
	{"origins", must, func(d *decoder, v value, c *CORS) { c.Origins = d.origins(v) }},
	{"methods", now, func(d *decoder, v value, c *CORS) { c.Methods = d.corsMethods(v) }},
	{"headers", now, func(d *decoder, v value, c *CORS) { c.Headers = d.corsHeaders(v) }},
	{"expose", now, func(d *decoder, v value, c *CORS) { c.Expose = d.corsHeaders(v) }},
	{"credentials", now, func(d *decoder, v value, c *CORS) { c.Credentials = d.boolean(v) }},
	{"max_age", now, func(d *decoder, v value, c *CORS) { c.MaxAge = d.duration(v) }},
}

// The origins that are no scheme and host.
const (
	OriginAny  = "*"
	OriginNull = "null" // of pages without an origin, such as sandboxed ones and files
)

func (d *decoder) cors(v value) *CORS {
	c := &CORS{Pos: v.pos}
	readObject(d, v, corsKeys, c)
	if !c.Credentials {
		return c
	}
	if slices.Contains(c.Origins, OriginAny) {
		d.fail(d.at(v, "credentials"), `credentials are not possible with the origin "*": browsers refuse such answers, because any page could read what its visitor may; name the origins`)
	}
	if slices.Contains(c.Origins, OriginNull) {
		d.warn(d.at(v, "credentials"), "any page can have the origin null, in a sandboxed frame, and read what its visitor may")
	}
	return c
}

func (d *decoder) origins(v value) []string {
	items := d.items(v)
	if v.kind == list && len(items) == 0 {
		d.fail(v.pos, "the list is empty: no origin would be let in")
	}
	var out []string
	for _, item := range items {
		s := d.origin(item)
		switch {
		case s == "":
		case slices.Contains(out, s):
			d.fail(item.pos, "%q stands in the list twice", s)
		case s == OriginAny && len(items) > 1:
			d.fail(item.pos, `"*" is every origin and stands alone`)
		default:
			out = append(out, s)
		}
	}
	return out
}

// origin reads one in the form that browsers send (RFC 6454 §6.2): nothing else would ever be equal to it.
func (d *decoder) origin(v value) string {
	if v.kind == nothing {
		d.fail(v.pos, `wants an origin; that of pages without one is written in quotes: "null"`)
		return ""
	}
	s := strings.ToLower(d.text(v))
	if s == "" || s == OriginAny || s == OriginNull {
		return s
	}
	scheme, host, ok := strings.Cut(s, "://")
	port := ""
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host, port = host[:i], host[i+1:]
		ok = ok && isPort(port)
	}
	bare := strings.TrimRight(host, "/")
	if !ok || !isScheme(scheme) || !isHost(strings.TrimPrefix(bare, "*.")) || bare != host && port != "" {
		d.fail(v.pos, "wants an origin such as https://app.example.com, https://*.example.com, \"null\" or \"*\", not %q", s)
		return ""
	}
	short := scheme + "://" + bare
	if bare != host || port != "" && port == defaultPorts[scheme] {
		d.fail(v.pos, "no browser sends the origin %q; did you mean %q?", s, short)
		return ""
	}
	return s
}

// isScheme is the scheme of RFC 3986 §3.1, in lower case.
func isScheme(s string) bool {
	for i, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

func (d *decoder) corsMethods(v value) []string {
	if v.kind == list && len(d.items(v)) == 0 {
		d.fail(v.pos, "the list is empty; without it GET, HEAD and POST are allowed")
		return nil
	}
	return d.noWildcard(v, d.methods(v))
}

// corsHeaders reads names of headers, in lower case.
func (d *decoder) corsHeaders(v value) []string {
	var out []string
	for _, item := range d.items(v) {
		s := d.text(item)
		if s == "" {
			continue
		}
		s = d.headerName(item.pos, s)
		if slices.Contains(out, s) && s != "" {
			d.fail(item.pos, "%q stands in the list twice", s)
			continue
		}
		out = append(out, s)
	}
	return d.noWildcard(v, out)
}

// noWildcard refuses a *, which browsers take for a wildcard or for a name by what else the answer says.
func (d *decoder) noWildcard(v value, names []string) []string {
	if slices.Contains(names, "*") {
		d.fail(v.pos, `"*" is no wildcard here; name each`)
	}
	return names
}
