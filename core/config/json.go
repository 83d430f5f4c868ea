package config

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
)

// wasmConfig returns what a filter gets: a text as it is, anything else as JSON with the keys in their order.
func (d *decoder) wasmConfig(v value) string {
	if v.kind == text {
		return d.optionalText(v)
	}
	if v.kind == nothing {
		d.wants(v, "a text, keys and values, or a list")
		return ""
	}
	return string(d.appendJSON(nil, v))
}

// metadata returns an object of objects, by the namespaces that filters know, as JSON.
func (d *decoder) metadata(v value) string {
	for _, e := range d.fields(v) {
		if e.value.kind != object {
			d.wants(e.value, "keys and values")
		}
	}
	if v.kind != object {
		return ""
	}
	return string(d.appendJSON(nil, v))
}

func (d *decoder) appendJSON(dst []byte, v value) []byte {
	switch v.kind {
	case object:
		dst = append(dst, '{')
		for i, e := range d.jsonFields(v) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendQuoted(dst, e.name)
			dst = append(dst, ':')
			dst = d.appendJSON(dst, e.value)
		}
		return append(dst, '}')
	case list:
		dst = append(dst, '[')
		for i, item := range d.items(v) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = d.appendJSON(dst, item)
		}
		return append(dst, ']')
	case text:
		return appendQuoted(dst, d.optionalText(v))
	case integer, float:
		return d.appendNumber(dst, v)
	case boolean:
		return append(dst, v.node.text...)
	}
	return append(dst, "null"...)
}

// jsonFields is fields where the empty name is a name like any other.
func (d *decoder) jsonFields(v value) []entry {
	out := make([]entry, len(v.node.fields))
	for i, f := range v.node.fields {
		out[i] = entry{name: f.name, value: value{f.value, d.position(f.value, v.pos.key(f.name))}}
	}
	return out
}

// appendNumber keeps the digits of the file where they are JSON: 1.10 stays 1.10 and no integer loses its end.
func (d *decoder) appendNumber(dst []byte, v value) []byte {
	s := v.node.text
	if json.Valid([]byte(s)) {
		return append(dst, s...)
	}
	f, err := strconv.ParseFloat(s, 64)
	// 010 is eight to some readers of YAML and ten to others.
	if v.kind == integer || err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		d.fail(v.pos, "the number %s cannot be said in JSON; write it in plain decimal digits or in quotes", s)
		return append(dst, '0')
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

func appendQuoted(dst []byte, s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string cannot fail
	return append(dst, bytes.TrimRight(b.Bytes(), "\n")...)
}
