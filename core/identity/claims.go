package identity

import (
	"cmp"
	"slices"
	"strings"
)

// Claims is a set of claims laid out flat when it is made, so that a lookup allocates nothing. A path is the names of
// the members from the outside in, joined by dots: `realm_access.roles`. A name that itself holds dots
// (`https://example.com/team`) is found as it is written. What stands in objects inside arrays has no path.
//
// The zero value holds nothing. Claims are immutable; all methods may be called concurrently.
type Claims struct {
	entries []claim // sorted by path, no path twice
	values  []string
}

// claim is one path; its values are values[lo:hi] of the set.
type claim struct {
	path   string
	lo, hi int32
	kind   kind
	plain  bool // an array: every element is a string
}

type kind uint8

const (
	kindNull kind = iota
	kindString
	kindNumber
	kindBool
	kindArray
	kindObject
)

// NewClaims makes claims from texts: one value gives a string, none or several give an array. It is for identities that do
// not come from a token. The values are copied.
func NewClaims(values map[string][]string) *Claims {
	c := &Claims{}
	for path, list := range values {
		lo := len(c.values)
		c.values = append(c.values, list...)
		e := claim{path: path, lo: int32(lo), hi: int32(len(c.values)), kind: kindArray, plain: true}
		if len(list) == 1 {
			e.kind = kindString
		}
		c.entries = append(c.entries, e)
	}
	c.seal()
	return c
}

// Value returns a claim of one value as text: strings as they are, numbers as the token writes them, `true` and `false`.
// It is false for arrays, objects, null and what is absent. No allocation.
func (c *Claims) Value(path string) (string, bool) {
	e := c.find(path)
	if e == nil || e.kind < kindString || e.kind > kindBool {
		return "", false
	}
	return c.values[e.lo], true
}

// List returns the strings, numbers and booleans of an array, or the one value of a claim that is none. It is false for
// objects, null and what is absent. The slice is shared: read only. No allocation.
func (c *Claims) List(path string) ([]string, bool) {
	e := c.find(path)
	if e == nil || e.kind < kindString || e.kind > kindArray {
		return nil, false
	}
	return c.values[e.lo:e.hi:e.hi], true
}

// Has reports whether the claim is there with a value: an object or an array counts, null and "" do not.
func (c *Claims) Has(path string) bool {
	e := c.find(path)
	if e == nil || e.kind == kindNull {
		return false
	}
	return e.kind != kindString || c.values[e.lo] != ""
}

// Len is the number of paths.
func (c *Claims) Len() int { return len(c.entries) }

// strings returns a string claim or an array of nothing but strings; ok is false for anything else that is present.
func (c *Claims) strings(path string) (list []string, found, ok bool) {
	e := c.find(path)
	if e == nil {
		return nil, false, true
	}
	if e.kind == kindString || e.kind == kindArray && e.plain {
		return c.values[e.lo:e.hi:e.hi], true, true
	}
	return nil, true, false
}

func (c *Claims) find(path string) *claim {
	lo, hi := 0, len(c.entries)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch e := &c.entries[mid]; cmp.Compare(e.path, path) {
		case 0:
			return e
		case -1:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return nil
}

// seal sorts the paths. It is false when a path stands for two claims, as `{"a.b":1,"a":{"b":2}}` would have it: which
// of the two a rule means would be the sender's choice, not ours.
func (c *Claims) seal() bool {
	slices.SortFunc(c.entries, func(a, b claim) int { return strings.Compare(a.path, b.path) })
	for i := 1; i < len(c.entries); i++ {
		if c.entries[i-1].path == c.entries[i].path {
			return false
		}
	}
	return true
}

// bytes is what the layout costs in memory beside the text itself.
func (c *Claims) bytes() int { return cap(c.entries)*claimBytes + cap(c.values)*stringBytes }

const (
	claimBytes  = 32
	stringBytes = 16
)

// ClaimRule is what one claim must be.
type ClaimRule struct {
	// Path names the claim as in Claims.
	Path string
	// AnyOf are the values allowed, as text; a claim that is an array satisfies the rule with any element.
	AnyOf []string
	// IfPresent allows the claim to be absent. A null is not absent.
	IfPresent bool
}

func (r *ClaimRule) allows(c *Claims) bool {
	e := c.find(r.Path)
	if e == nil {
		return r.IfPresent
	}
	for _, v := range c.values[e.lo:e.hi] {
		if slices.Contains(r.AnyOf, v) {
			return true
		}
	}
	return false
}
