package config

import (
	"slices"
)

// state says what this version does with a key or a word. A later version flips the word in the table and gives the
// key its reader.
type state uint8

const (
	now   state = iota // read
	must               // read, and missing is a problem
	later              // known by name, refused as not supported yet
)

// key is one key of the object that is read into a T.
type key[T any] struct {
	name  string
	state state
	read  func(d *decoder, v value, into *T)
}

// word is one of the values that a key can have.
type word struct {
	name  string
	state state
}

// readObject reads the keys of v that are in the table. Keys are read in the order of the file.
func readObject[T any](d *decoder, v value, keys []key[T], into *T) {
	if v.kind != object {
		d.wants(v, "keys and values")
		return
	}
	for i := range v.fields {
		f := &v.fields[i]
		pos := Pos{File: d.file, Line: f.line, Column: f.column, Path: v.pos.key(f.name)}
		at := slices.IndexFunc(keys, func(k key[T]) bool { return k.name == f.name })
		if at < 0 {
			names := make([]string, len(keys))
			for i, k := range keys {
				names[i] = k.name
			}
			d.fail(pos, "unknown key%s", suggest(f.name, names))
			continue
		}
		k := keys[at]
		if k.state == later {
			d.later(pos, f.name)
		}
		if k.read != nil {
			k.read(d, value{f.value, d.position(f.value, pos.Path)}, into)
		}
	}
	for _, k := range keys {
		if k.state == must && !v.has(k.name) {
			d.fail(v.pos, "the key %q is missing", k.name)
		}
	}
}

// fields returns the entries of an object whose keys are names that the operator chose. The position is that of the
// key, where the entry begins.
func (d *decoder) fields(v value) []entry {
	if v.kind != object {
		d.wants(v, "keys and values")
		return nil
	}
	out := make([]entry, 0, len(v.node.fields))
	for _, f := range v.node.fields {
		path := v.pos.key(f.name)
		pos := Pos{File: d.file, Line: f.line, Column: f.column, Path: path}
		if f.name == "" {
			d.fail(pos, "the name is empty")
			continue
		}
		out = append(out, entry{f.name, pos, value{f.value, d.position(f.value, path)}})
	}
	return out
}

type entry struct {
	name  string
	pos   Pos
	value value
}

// names checks the keys below one that is not supported yet, so that a misspelt one is found today. What they hold
// is not looked at.
func names[T any](known ...string) func(*decoder, value, *T) {
	return func(d *decoder, v value, _ *T) { d.checkNames(v, known) }
}

// eachNames is names for a list of objects, or for objects under names that the operator chose.
func eachNames[T any](known ...string) func(*decoder, value, *T) {
	return func(d *decoder, v value, _ *T) {
		for i, item := range v.node.items {
			d.checkNames(value{item, d.position(item, v.pos.index(i))}, known)
		}
		for _, f := range v.node.fields {
			d.checkNames(value{f.value, d.position(f.value, v.pos.key(f.name))}, known)
		}
	}
}

func (d *decoder) checkNames(v value, known []string) {
	for _, f := range v.node.fields {
		if !slices.Contains(known, f.name) {
			pos := Pos{File: d.file, Line: f.line, Column: f.column, Path: v.pos.key(f.name)}
			d.fail(pos, "unknown key%s", suggest(f.name, known))
		}
	}
}
