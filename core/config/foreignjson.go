package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jsonReader reads JSON into nodes, with places: those who read JSON as YAML stumble over tabs and escapes.
type jsonReader struct {
	d     *decoder
	data  []byte
	lines []int // offsets at which lines begin
	in    *json.Decoder
}

// jsonTrees reads one JSON text after the other. It reports false, and no problem, for what is no JSON at all, unless the
// file's name says that it should be.
func (d *decoder) jsonTrees(data []byte) (roots []*node, ok bool) {
	begin := bytes.TrimLeft(data, " \t\r\n")
	named := strings.HasSuffix(strings.ToLower(d.file), ".json")
	if !named && (len(begin) == 0 || begin[0] != '{' && begin[0] != '[') {
		return nil, false
	}
	r := &jsonReader{d: d, data: data, lines: []int{0}, in: json.NewDecoder(bytes.NewReader(data))}
	for i, c := range data {
		if c == '\n' {
			r.lines = append(r.lines, i+1)
		}
	}
	r.in.UseNumber()
	for {
		at := r.next()
		tk, err := r.in.Token()
		if err == io.EOF {
			return roots, true
		}
		n := (*node)(nil)
		if err == nil {
			n, err = r.value(tk, at, 0)
		}
		if err != nil {
			return nil, r.failed(err, named)
		}
		if n == nil {
			return nil, true
		}
		roots = append(roots, n)
	}
}

// failed reports err, unless the file may be read as YAML.
func (r *jsonReader) failed(err error, named bool) (isJSON bool) {
	if !named {
		return false
	}
	at := r.next()
	text := strings.TrimPrefix(err.Error(), "json: ")
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		at, text = len(r.data), "the file ends in the middle of a value"
	}
	r.d.fail(r.pos(at), "no JSON: %s", text)
	return true
}

// next is where the next value or key begins.
func (r *jsonReader) next() int {
	at := int(r.in.InputOffset())
	for at < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[at]) >= 0 {
		at++
	}
	return at
}

func (r *jsonReader) pos(at int) Pos {
	at = min(max(at, 0), len(r.data))
	line := sort.SearchInts(r.lines, at+1)
	return Pos{File: r.d.file, Line: line, Column: 1 + utf8.RuneCount(r.data[r.lines[line-1]:at])}
}

// value reads the value that begins with tk, nil if it was refused.
func (r *jsonReader) value(tk json.Token, at, depth int) (*node, error) {
	pos := r.pos(at)
	n := &node{line: pos.Line, column: pos.Column, size: 1}
	if depth > maxDepth {
		r.d.fail(pos, "nested more than %d deep", maxDepth)
		return nil, nil
	}
	switch t := tk.(type) {
	case json.Delim:
		if t == '{' {
			n.kind = object
			return r.fields(n, depth)
		}
		n.kind = list
		return r.items(n, depth)
	case bool:
		n.kind, n.text = boolean, strconv.FormatBool(t)
	case json.Number:
		n.kind, n.text = integer, t.String()
		if strings.ContainsAny(n.text, ".eE") {
			n.kind = float
		}
	case string:
		n.kind, n.text = text, t
	}
	return n, nil
}

func (r *jsonReader) items(n *node, depth int) (*node, error) {
	for r.in.More() {
		at := r.next()
		tk, err := r.in.Token()
		if err != nil {
			return nil, err
		}
		item, err := r.value(tk, at, depth+1)
		if item == nil {
			return nil, err
		}
		n.items = append(n.items, item)
	}
	_, err := r.in.Token()
	return n, err
}

func (r *jsonReader) fields(n *node, depth int) (*node, error) {
	seen := map[string]int{}
	for r.in.More() {
		pos := r.pos(r.next())
		tk, err := r.in.Token()
		if err != nil {
			return nil, err
		}
		name, _ := tk.(string)
		at := r.next()
		if tk, err = r.in.Token(); err != nil {
			return nil, err
		}
		child, err := r.value(tk, at, depth+1)
		if child == nil {
			return nil, err
		}
		if line, dup := seen[name]; dup {
			r.d.fail(pos, "duplicate key; it stands in line %d already", line)
			continue
		}
		seen[name] = pos.Line
		n.fields = append(n.fields, field{name, pos.Line, pos.Column, child})
	}
	_, err := r.in.Token()
	return n, err
}
