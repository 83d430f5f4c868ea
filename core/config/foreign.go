package config

import (
	"bytes"
	"fmt"
	"os"

	"github.com/goccy/go-yaml/ast"
)

// Foreign is a value of a file in another program's format, as it stands there: no variable is expanded and no key is known. The
// zero value stands for one that is not there.
type Foreign struct{ v value }

// ForeignField is a key of an object with its value.
type ForeignField struct {
	Name  string
	Pos   Pos // of the key
	Value Foreign
}

// ForeignKind is what a Foreign is.
type ForeignKind uint8

const (
	ForeignAbsent  ForeignKind = iota
	ForeignNull                // nothing, said explicitly
	ForeignBoolean             // its Text is true or false
	ForeignNumber
	ForeignText
	ForeignList
	ForeignObject
)

// LoadForeign reads the file at path and parses it.
func LoadForeign(path string) ([]Foreign, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	return ParseForeign(path, data)
}

// ParseForeign parses data, the content of the file called name: one or several documents of YAML, or of JSON. A file that
// begins with a brace or a bracket and is not JSON may still be YAML. The error is always a [*Problems].
func ParseForeign(name string, data []byte) ([]Foreign, error) {
	d := &decoder{file: name, env: func(string) (string, bool) { return "", false }, foreign: true}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !d.readable(data) {
		return nil, d.problems.Err()
	}
	roots, isJSON := d.jsonTrees(data)
	if !isJSON {
		roots, _ = d.trees(data, func(ast.Node) bool { return true })
	}
	if err := d.problems.Err(); err != nil {
		return nil, err
	}
	out := make([]Foreign, len(roots))
	for i, n := range roots {
		out[i] = Foreign{value{n, d.position(n, "")}}
	}
	return out, nil
}

// Kind is what f is.
func (f Foreign) Kind() ForeignKind {
	if f.v.node == nil {
		return ForeignAbsent
	}
	switch f.v.kind {
	case boolean:
		return ForeignBoolean
	case integer, float:
		return ForeignNumber
	case text:
		return ForeignText
	case list:
		return ForeignList
	case object:
		return ForeignObject
	}
	return ForeignNull
}

// Pos is where f stands.
func (f Foreign) Pos() Pos { return f.v.pos }

// Describe names f in an error.
func (f Foreign) Describe() string {
	if f.v.node == nil {
		return "nothing"
	}
	return f.v.describe()
}

// Text is a scalar as it is written, without its quotes; "" of all others.
func (f Foreign) Text() string {
	if f.v.node == nil {
		return ""
	}
	return f.v.text
}

// Items are the items of a list, nil of all others.
func (f Foreign) Items() []Foreign {
	if f.v.node == nil {
		return nil
	}
	out := make([]Foreign, len(f.v.node.items))
	for i, n := range f.v.node.items {
		out[i] = Foreign{value{n, Pos{f.v.pos.File, n.line, n.column, f.v.pos.index(i)}}}
	}
	return out
}

// Fields are the keys of an object in their order, nil of all others.
func (f Foreign) Fields() []ForeignField {
	if f.v.node == nil {
		return nil
	}
	out := make([]ForeignField, len(f.v.node.fields))
	for i := range f.v.node.fields {
		out[i] = f.field(&f.v.node.fields[i])
	}
	return out
}

func (f Foreign) field(at *field) ForeignField {
	pos := Pos{f.v.pos.File, at.line, at.column, f.v.pos.key(at.name)}
	return ForeignField{at.name, pos, Foreign{value{at.value, Pos{pos.File, at.value.line, at.value.column, pos.Path}}}}
}

// Get is the value under a key; the zero value if there is none.
func (f Foreign) Get(name string) Foreign {
	if f.v.node != nil {
		for i := range f.v.node.fields {
			if f.v.node.fields[i].name == name {
				return f.field(&f.v.node.fields[i]).Value
			}
		}
	}
	return Foreign{}
}
