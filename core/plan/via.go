package plan

import (
	"bytes"

	"github.com/weirproxy/weir/core/exchange"
)

// Via is what weir adds to the Via field of messages that it passes on (RFC 9110 §7.6.3), and knows itself by.
type Via struct {
	name                string
	http10, http11, two []byte
}

func viaOf(name string) *Via {
	if name == "" {
		return nil
	}
	return &Via{name: name, http10: []byte("1.0 " + name), http11: []byte("1.1 " + name), two: []byte("2.0 " + name)}
}

// Value is what is added to a message that came in a version.
func (v *Via) Value(version int) []byte {
	switch version {
	case exchange.HTTP10:
		return v.http10
	case exchange.HTTP20:
		return v.two
	}
	return v.http11
}

// Passes counts how often a message with the fields h has been through a weir of this name.
func (v *Via) Passes(h *exchange.Header) (n int) {
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != exchange.Via {
			continue
		}
		for rest := f.Value; len(rest) > 0; {
			var item []byte
			item, rest, _ = bytes.Cut(rest, comma)
			_, by, _ := bytes.Cut(bytes.TrimSpace(item), space)
			by, _, _ = bytes.Cut(bytes.TrimSpace(by), space)
			if string(by) == v.name {
				n++
			}
		}
	}
	return n
}

var comma, space = []byte(","), []byte(" ")
