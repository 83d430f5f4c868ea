package config

import (
	"slices"
	"strconv"
	"strings"
)

// Selector says where in a request a value stands; it is written kind:name, or as one word for a kind without names.
type Selector struct {
	Kind SelectorKind
	Name string // lower case for a header; empty for a kind without names
}

// SelectorKind is the kind of a [Selector].
type SelectorKind string

const (
	SelectHeader  SelectorKind = "header"
	SelectCookie  SelectorKind = "cookie"
	SelectQuery   SelectorKind = "query"
	SelectClaim   SelectorKind = "claim"
	SelectPath    SelectorKind = "path"
	SelectIP      SelectorKind = "ip"
	SelectSubject SelectorKind = "subject"
	SelectRoute   SelectorKind = "route"
	SelectRole    SelectorKind = "role"
)

// String returns s as it is written in the configuration.
func (s Selector) String() string {
	if s.Name == "" {
		return string(s.Kind)
	}
	return string(s.Kind) + ":" + s.Name
}

// MarshalText is String, for JSON.
func (s Selector) MarshalText() ([]byte, error) {
	return []byte(s.String()), nil
}

// selectorForm is one form of selector that a key takes.
type selectorForm struct {
	kind  SelectorKind
	named bool
	state state
}

func (d *decoder) selector(v value, forms []selectorForm) Selector {
	s := d.text(v)
	if s == "" {
		return Selector{}
	}
	kind, name, named := strings.Cut(s, ":")
	words := make([]string, len(forms))
	for i, f := range forms {
		words[i] = string(f.kind)
		if f.named {
			words[i] += ":"
		}
		if string(f.kind) != kind || f.named != named || f.named && name == "" {
			continue
		}
		if f.state == later {
			d.later(v.pos, s)
			return Selector{}
		}
		if f.kind == SelectHeader {
			name = d.headerName(v.pos, name)
		}
		return Selector{f.kind, name}
	}
	d.fail(v.pos, "wants %s, not %q%s", formList(forms), s, suggestSelector(s, words))
	return Selector{}
}

// suggestSelector is suggest for a selector, whose name is the operator's.
func suggestSelector(s string, kinds []string) string {
	kind, name, named := strings.Cut(s, ":")
	switch {
	case !named && strings.HasSuffix(kinds[0], ":") && !slices.Contains(kinds, s+":"):
		return "; did you mean " + strconv.Quote(kinds[0]+s) + "?"
	case !named:
		return suggest(s, kinds)
	case name == "":
		return ""
	}
	return strings.Replace(suggest(kind+":", kinds), `:"?`, ":"+name+`"?`, 1)
}

func formList(forms []selectorForm) string {
	words := make([]word, len(forms))
	for i, f := range forms {
		words[i] = word{string(f.kind), f.state}
		if f.named {
			words[i].name += ":name"
		}
	}
	return wordList(words)
}
