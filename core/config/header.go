package config

import (
	"slices"
	"strings"
)

// Headers are the changes a route makes to header fields.
type Headers struct {
	Request  HeaderChange
	Response HeaderChange
}

// HeaderChange removes first and sets then.
type HeaderChange struct {
	Set    []HeaderSet
	Remove []string // lower case
	Preset string   // PresetSecurity, of responses only, or empty
}

// PresetSecurity is the set of response headers that a browser is made safe with.
const PresetSecurity = "security"

// HeaderSet is one field that replaces all fields of its name.
type HeaderSet struct {
	Pos   Pos
	Name  string // lower case
	Value Template
}

// Header is a field with a fixed value.
type Header struct {
	Pos   Pos
	Name  string // lower case
	Value string
}

var headersKeys = []key[Headers]{
	{"request", now, func(d *decoder, v value, h *Headers) { readObject(d, v, requestHeaderKeys, &h.Request) }},
	{"response", now, func(d *decoder, v value, h *Headers) { readObject(d, v, responseHeaderKeys, &h.Response) }},
}

var requestHeaderKeys = []key[HeaderChange]{
	{"set", now, func(d *decoder, v value, c *HeaderChange) { c.Set = d.headerSets(v) }},
	{"remove", now, func(d *decoder, v value, c *HeaderChange) { c.Remove = d.headerNames(v) }},
}

var responseHeaderKeys = append(slices.Clone(requestHeaderKeys),
	key[HeaderChange]{"preset", now, func(d *decoder, v value, c *HeaderChange) { c.Preset = d.choice(v, presets) }},
)

var presets = []word{{PresetSecurity, now}}

// framing are the fields that say where a message ends or what its connection is: weir writes them itself.
var framing = []string{
	"connection", "content-length", "expect", "http2-settings", "keep-alive", "proxy-connection", "te", "trailer",
	"transfer-encoding", "upgrade",
}

func (d *decoder) headerSets(v value) []HeaderSet {
	var out []HeaderSet
	for _, e := range d.fields(v) {
		h := HeaderSet{Pos: e.pos, Name: d.settableName(e.pos, e.name), Value: d.template(e.value)}
		for _, p := range h.Value.Parts {
			d.checkHeaderValue(e.value.pos, p.Text)
		}
		if slices.ContainsFunc(out, func(o HeaderSet) bool { return o.Name == h.Name && h.Name != "" }) {
			d.fail(e.pos, "the header stands here twice")
		}
		out = append(out, h)
	}
	return out
}

// fixedHeaders reads headers whose values have no references in them.
func (d *decoder) fixedHeaders(v value) []Header {
	var out []Header
	for _, e := range d.fields(v) {
		h := Header{Pos: e.pos, Name: d.settableName(e.pos, e.name), Value: d.optionalText(e.value)}
		d.checkHeaderValue(e.value.pos, h.Value)
		if slices.ContainsFunc(out, func(o Header) bool { return o.Name == h.Name && h.Name != "" }) {
			d.fail(e.pos, "the header stands here twice")
		}
		out = append(out, h)
	}
	return out
}

func (d *decoder) settableName(pos Pos, name string) string {
	name = d.headerName(pos, name)
	if slices.Contains(framing, name) {
		d.fail(pos, "the header belongs to the connection and cannot be set")
	}
	return name
}

func (d *decoder) headerNames(v value) []string {
	var out []string
	for _, item := range d.items(v) {
		if s := d.text(item); s != "" {
			out = append(out, d.headerName(item.pos, s))
		}
	}
	return out
}

// headerName returns name in lower case, or nothing when it is not the name of a header.
func (d *decoder) headerName(pos Pos, name string) string {
	if !isToken(name) {
		d.fail(pos, "%q is not the name of a header", name)
		return ""
	}
	return strings.ToLower(name)
}

// checkHeaderValue refuses what RFC 9110 §5.5 does: with a line end in it one field would become two.
func (d *decoder) checkHeaderValue(pos Pos, s string) {
	for _, c := range []byte(s) {
		if c < ' ' && c != '\t' || c == 0x7f {
			d.fail(pos, "a control character cannot stand in a header")
			return
		}
	}
}

// isToken is the token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
