package config

import (
	"fmt"
	"slices"
	"strings"
)

// Template is a text with references that only a request can answer. Variables of the environment are expanded in
// it already. The zero value is the empty text.
type Template struct {
	Parts []Part
}

// Part is a literal text or, when Ref is not the zero value, a reference.
type Part struct {
	Text string
	Ref  Ref
}

// Ref names a fact of a request. Name is set for RefClaim (the claim) and RefPath (the segment).
type Ref struct {
	Kind RefKind
	Name string
}

// RefKind is what a reference refers to; its text is what stands in ${…}.
type RefKind string

const (
	RefSubject   RefKind = "identity.subject"
	RefClaim     RefKind = "identity.claim"
	RefRequestID RefKind = "request.id"
	RefClientIP  RefKind = "client.ip"
	RefRouteName RefKind = "route.name"
	RefPath      RefKind = "path"
)

// refs is every reference there is; those that are named are written with a point and the name behind them.
var refs = []struct {
	kind  RefKind
	named bool
}{
	{RefSubject, false},
	{RefClaim, true},
	{RefRequestID, false},
	{RefClientIP, false},
	{RefRouteName, false},
	{RefPath, true},
}

// Text returns the whole text and true when t has no reference in it.
func (t Template) Text() (string, bool) {
	var b strings.Builder
	for _, p := range t.Parts {
		if p.Ref != (Ref{}) {
			return "", false
		}
		b.WriteString(p.Text)
	}
	return b.String(), true
}

// Refs returns the references in t, in their order.
func (t Template) Refs() []Ref {
	var out []Ref
	for _, p := range t.Parts {
		if p.Ref != (Ref{}) {
			out = append(out, p.Ref)
		}
	}
	return out
}

// String returns t as it is written in the configuration.
func (t Template) String() string {
	var b strings.Builder
	for _, p := range t.Parts {
		if p.Ref == (Ref{}) {
			b.WriteString(strings.ReplaceAll(p.Text, "$", "$$"))
			continue
		}
		b.WriteString(p.Ref.String())
	}
	return b.String()
}

// MarshalText is String, for JSON.
func (t Template) MarshalText() ([]byte, error) {
	return []byte(t.String()), nil
}

// String returns r as it is written in the configuration.
func (r Ref) String() string {
	if r.Name != "" {
		return "${" + string(r.Kind) + "." + r.Name + "}"
	}
	return "${" + string(r.Kind) + "}"
}

// expansion is a text whose variables are expanded.
type expansion struct {
	Template
	env  bool // a variable was in it
	sole bool // it was one variable and nothing else
}

func (x *expansion) add(s string) {
	if s == "" {
		return
	}
	if n := len(x.Parts); n > 0 && x.Parts[n-1].Ref == (Ref{}) {
		x.Parts[n-1].Text += s
		return
	}
	x.Parts = append(x.Parts, Part{Text: s})
}

// expand reads s once from left to right; what a variable held is not looked at again.
func expand(s string, env func(string) (string, bool)) (expansion, error) {
	var x expansion
	whole := s
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i == len(s)-1 {
			x.add(s)
			return x, nil
		}
		x.add(s[:i])
		switch s[i+1] {
		case '$':
			x.add("$")
			s = s[i+2:]
			continue
		case '{':
		default:
			x.add("$")
			s = s[i+1:]
			continue
		}
		end := strings.IndexByte(s[i:], '}')
		if end < 0 {
			return x, fmt.Errorf("%q is not closed; write $$ for a dollar", shorten(s[i:]))
		}
		inner := s[i+2 : i+end]
		s = s[i+end+1:]
		if err := x.expandOne(inner, env); err != nil {
			return x, err
		}
		x.sole = x.env && len(inner)+len("${}") == len(whole)
	}
}

// expandOne adds what ${inner} stands for.
func (x *expansion) expandOne(inner string, env func(string) (string, bool)) error {
	if strings.Contains(inner, "${") {
		return fmt.Errorf("${%s}: one ${…} cannot stand in another", inner)
	}
	name, fallback, hasFallback := strings.Cut(inner, ":-")
	if !isVariable(name) {
		ref, err := parseRef(inner)
		if err != nil {
			return err
		}
		x.Parts = append(x.Parts, Part{Ref: ref})
		return nil
	}
	x.env = true
	got, set := env(name)
	if hasFallback && got == "" {
		// As in a shell, :- also replaces a variable that is set and empty.
		got, set = fallback, true
	}
	if !set {
		return fmt.Errorf("the variable %s is not set; ${%s:-…} gives it a default", name, name)
	}
	x.add(got)
	return nil
}

func isVariable(s string) bool {
	for i, c := range []byte(s) {
		if c != '_' && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func parseRef(s string) (Ref, error) {
	names := make([]string, 0, len(refs))
	for _, r := range refs {
		if !r.named {
			if s == string(r.kind) {
				return Ref{Kind: r.kind}, nil
			}
			names = append(names, string(r.kind))
			continue
		}
		name, ok := strings.CutPrefix(s, string(r.kind)+".")
		if ok && name != "" {
			return Ref{Kind: r.kind, Name: name}, nil
		}
	}
	hint := suggest(s, names)
	if hint == "" {
		hint = "; a variable has capitals, digits and _ only"
	}
	return Ref{}, fmt.Errorf("there is no ${%s}%s", s, hint)
}

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}
