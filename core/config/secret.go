package config

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Secret is a value that is never printed, given in the configuration or as {file: path}. Keys that are public but
// long (a PEM) are given the same way. The zero value is no secret.
type Secret struct {
	Pos   Pos
	File  string // resolved; empty when the value is inline
	value string
}

// NewSecret returns a secret whose value is inline.
func NewSecret(s string) Secret {
	return Secret{value: s}
}

// IsZero says that no secret was given.
func (s Secret) IsZero() bool {
	return s.File == "" && s.value == ""
}

// Read returns the value, from the file when it is in one, without the line end that editors leave there. A file
// without content is an error.
func (s Secret) Read() ([]byte, error) {
	if s.File == "" {
		return []byte(s.value), nil
	}
	data, err := os.ReadFile(s.File)
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	data = bytes.TrimRight(data, "\r\n")
	if len(data) == 0 {
		return nil, fmt.Errorf("read secret %s: the file is empty", s.File)
	}
	return data, nil
}

// String returns the name of the file or, for a value, asterisks.
func (s Secret) String() string {
	switch {
	case s.File != "":
		return "file:" + s.File
	case s.value != "":
		return "***"
	}
	return ""
}

// GoString is String: %#v prints no secret either.
func (s Secret) GoString() string {
	return strconv.Quote(s.String())
}

// MarshalText is String, for JSON.
func (s Secret) MarshalText() ([]byte, error) {
	return []byte(s.String()), nil
}

// secretKeys is the form {file: path}.
var secretKeys = []key[Secret]{
	{"file", must, func(d *decoder, v value, s *Secret) { s.File = d.path(v) }},
}

func (d *decoder) secret(v value) Secret {
	s := Secret{Pos: v.pos}
	switch v.kind {
	case object:
		readObject(d, v, secretKeys, &s)
	case text:
		x, ok := d.expand(v)
		if !ok {
			break
		}
		s.value, ok = x.Text()
		if !ok {
			d.fail(v.pos, "a reference to the request is not possible in a secret; write $$ for a dollar")
		}
	default:
		// The value itself stays out of the message: it may well be the secret.
		d.fail(v.pos, "wants a text in quotes or {file: path}")
	}
	return s
}
