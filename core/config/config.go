// Package config turns one YAML file into a [Spec]: plain, typed data with positions, the same on every machine.
//
// The file is read strictly. Unknown and duplicate keys, wrong types, missing units, unset variables and unknown
// names are problems, and one run reports all of them, each with its file, line, column and path. Nothing is opened
// but the configuration file itself, so that a Spec can be checked far from the node it is meant for.
package config

import (
	"bytes"
	"fmt"
	"path/filepath"
	"unicode/utf8"
)

// maxFile is far above any configuration written by hand or by machine (10,000 routes take about 3 MiB).
const maxFile = 32 << 20

// Load reads and parses the file at path, once it has not been written to for a moment. env looks up a variable, as [os.LookupEnv] does. The error is a
// [*Problems] unless the file could not be read.
func Load(path string, env func(string) (string, bool)) (*Spec, error) {
	data, err := settled(path, patience)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data, env)
}

// Parse parses data, the content of the file called name; relative paths in it resolve against the directory of
// name. The error is always a [*Problems]. A nil env has no variables.
func Parse(name string, data []byte, env func(string) (string, bool)) (*Spec, error) {
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	d := &decoder{file: name, dir: filepath.Dir(name), env: env}
	root := d.parse(data)
	if root == nil {
		return nil, d.problems.Err()
	}
	spec := d.spec(value{root, d.position(root, "")})
	if err := d.problems.Err(); err != nil {
		return nil, err
	}
	return spec, nil
}

// parse returns nil when the text is not one YAML document whose root is a map.
func (d *decoder) parse(data []byte) *node {
	root := d.document(data)
	if root != nil && root.kind != object {
		d.fail(d.position(root, ""), "wants keys and values, not %s", root.describe())
		return nil
	}
	return root
}

// document returns nil when the text is not one YAML document.
func (d *decoder) document(data []byte) *node {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !d.readable(data) {
		return nil
	}
	root := d.tree(data)
	if root == nil {
		if len(d.problems.List) == 0 {
			d.fail(Pos{File: d.file, Line: 1, Column: 1}, "the file is empty")
		}
		return nil
	}
	return root
}

// readable says whether data is of a size and an encoding to be parsed.
func (d *decoder) readable(data []byte) bool {
	if len(data) > maxFile {
		d.fail(Pos{File: d.file, Line: 1, Column: 1}, "the file is larger than %d MiB", maxFile>>20)
		return false
	}
	if line, column, bad := invalidByte(data); bad {
		d.fail(Pos{File: d.file, Line: line, Column: column}, "the file is not UTF-8 text")
		return false
	}
	return true
}

// invalidByte finds the first byte that is not UTF-8, or a NUL, which no parser of YAML agrees about.
func invalidByte(data []byte) (line, column int, found bool) {
	line, column = 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == 0 || r == utf8.RuneError && size == 1 {
			return line, column, true
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		data = data[size:]
	}
	return 0, 0, false
}
