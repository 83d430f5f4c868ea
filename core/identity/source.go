package identity

import (
	"errors"
	"fmt"
	"strings"
)

// SourceKind is the part of a request in which a token stands.
type SourceKind uint8

const (
	// Bearer is the Authorization header with the scheme Bearer (RFC 6750 §2.1).
	Bearer SourceKind = iota
	// Header is another header whose whole value is the token.
	Header
	// Cookie is a cookie whose whole value is the token.
	Cookie
	// Query is a query parameter whose whole value is the token (RFC 6750 §2.3).
	Query
)

// Source says where a token is looked for. Reading it out of a request is the caller's work, and so is refusing a
// request that brings more than one (Ambiguous). The zero value is the Authorization header.
type Source struct {
	Kind SourceKind
	// Name of the header (lower case), cookie or parameter; empty for Bearer.
	Name string
}

// ParseSource reads `header:authorization`, `header:x-name`, `cookie:name` or `query:name`.
func ParseSource(text string) (Source, error) {
	kind, name, ok := strings.Cut(text, ":")
	if !ok || name == "" {
		return Source{}, fmt.Errorf("parse source %q: want header:name, cookie:name or query:name", text)
	}
	for _, c := range []byte(name) {
		if !isTokenByte(c) {
			return Source{}, fmt.Errorf("parse source %q: %q is no byte of a name", text, c)
		}
	}
	switch kind {
	case "header":
		name = strings.ToLower(name)
		if name == "authorization" {
			return Source{}, nil
		}
		return Source{Kind: Header, Name: name}, nil
	case "cookie":
		return Source{Kind: Cookie, Name: name}, nil
	case "query":
		if strings.ContainsAny(name, "&%+#") {
			return Source{}, fmt.Errorf("parse source %q: a parameter is named without escapes", text)
		}
		return Source{Kind: Query, Name: name}, nil
	}
	return Source{}, fmt.Errorf("parse source %q: unknown place %q, want header, cookie or query", text, kind)
}

// String is what ParseSource reads.
func (s Source) String() string {
	switch s.Kind {
	case Header:
		return "header:" + s.Name
	case Cookie:
		return "cookie:" + s.Name
	case Query:
		return "query:" + s.Name
	default:
		return "header:authorization"
	}
}

// Token takes the token out of the value found at the source; it is a view of value. For Bearer it strips the scheme,
// in any case, and exactly one space; another scheme is Missing, for it is another method's credential.
func (s Source) Token(value []byte) ([]byte, Reason) {
	if s.Kind == Bearer {
		const scheme = "bearer "
		if len(value) < len(scheme) {
			return nil, Missing
		}
		for i := range len(scheme) {
			c := value[i]
			if c >= 'A' && c <= 'Z' {
				c |= 0x20
			}
			if c != scheme[i] {
				return nil, Missing
			}
		}
		value = value[len(scheme):]
	}
	if len(value) == 0 {
		return nil, Missing
	}
	return value, OK
}

func (s Source) validate() error {
	if s.Kind > Query {
		return errors.New("source of unknown kind")
	}
	if (s.Kind == Bearer) != (s.Name == "") {
		return errors.New("source needs a name, and the Authorization header none")
	}
	return nil
}

// isTokenByte: RFC 9110 §5.6.2.
func isTokenByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
