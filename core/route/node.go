package route

import (
	"bytes"
	"math"
)

// node is a place in a tree of path segments.
type node struct {
	first  int     // the lowest index at or below this node
	here   []entry // paths that end here
	under  []entry // paths that go on with /*
	nexts  map[string]*node
	anyone *node // a named segment
}

// entry is a match in the index of one of its hosts.
type entry struct {
	index int
	port  uint16
}

func newNode() *node { return &node{first: math.MaxInt} }

// insert adds an entry; indices come in ascending order.
func (n *node) insert(r *rule, e entry) {
	n.first = min(n.first, e.index)
	for _, s := range r.segments {
		n = n.next(s)
		n.first = min(n.first, e.index)
	}
	if r.under {
		n.under = append(n.under, e)
		return
	}
	n.here = append(n.here, e)
}

func (n *node) next(s segment) *node {
	if s.param {
		if n.anyone == nil {
			n.anyone = newNode()
		}
		return n.anyone
	}
	m := n.nexts[s.text]
	if m == nil {
		m = newNode()
		if n.nexts == nil {
			n.nexts = map[string]*node{}
		}
		n.nexts[s.text] = m
	}
	return m
}

// find tries what fits the rest of a path, which is empty or begins with a slash unless the target is "*". It goes no deeper
// than the longest pattern.
func (n *node) find(rest []byte, q *query) {
	if n.first >= q.best {
		return
	}
	q.try(n.under)
	if len(rest) == 0 {
		q.try(n.here)
		return
	}
	if rest[0] != '/' || n.nexts == nil && n.anyone == nil {
		return
	}
	seg, rest := cut(rest)
	m := n.nexts[string(seg)]
	if m == nil && bytes.IndexByte(seg, '%') >= 0 && len(seg) <= maxSegment {
		// Encoded slashes come in either case, and go on so; all other encodings have been brought into one.
		var buf [maxSegment]byte
		m = n.nexts[string(capitals(buf[:0], seg))]
	}
	if m != nil {
		m.find(rest, q)
	}
	if n.anyone != nil && len(seg) > 0 {
		n.anyone.find(rest, q)
	}
}

// maxSegment is the longest segment with encoded slashes that a pattern may have.
const maxSegment = 255

// capitals appends s with the digits of its percent-encodings in capitals.
func capitals(dst, s []byte) []byte {
	for i, c := range s {
		if c >= 'a' && c <= 'f' && (i > 0 && s[i-1] == '%' || i > 1 && s[i-2] == '%') {
			c -= 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
