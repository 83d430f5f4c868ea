package route

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/weirproxy/weir/core/exchange"
)

// Table finds matches. It never changes: any goroutine may use it.
//
// The index is a tree of path segments for every host, every suffix, and for any host. Each of those that fit the
// request is walked; every node knows the lowest match below it, so a walk ends as soon as it cannot find an earlier one
// than is found already. Order decides, never how specific a match is.
type Table struct {
	rules  []*rule
	any    *node
	exact  map[string]*node
	suffix map[string]*node
	labels int // the most dots in a suffix
}

// Compile makes a table of the matches, whose order is their precedence. The error names every bad one by its index.
func Compile(matches []Match) (*Table, error) {
	t := &Table{any: newNode(), exact: map[string]*node{}, suffix: map[string]*node{}}
	var errs []error
	for i := range matches {
		r, err := compile(&matches[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("match %d: %w", i, err))
			continue
		}
		t.rules = append(t.rules, r)
		t.insert(i, r)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return t, nil
}

func (t *Table) insert(i int, r *rule) {
	if len(r.hosts) == 0 {
		t.any.insert(r, entry{index: i})
	}
	for _, h := range r.hosts {
		index := t.exact
		if h.wild {
			index = t.suffix
			t.labels = max(t.labels, strings.Count(h.name, "."))
		}
		n := index[h.name]
		if n == nil {
			n = newNode()
			index[h.name] = n
		}
		n.insert(r, entry{index: i, port: h.port})
	}
}

// Len is the number of matches.
func (t *Table) Len() int { return len(t.rules) }

// Find gives the index of the first match that r satisfies, -1 if there is none, and fills p with the segments that its
// path names: views of r.Path. p is cleared first and may be nil.
func (t *Table) Find(r *exchange.Request, p *exchange.Params) int {
	if p != nil {
		p.Clear()
	}
	q := query{t: t, r: r, best: math.MaxInt, wants: Preflight(r)}
	t.walk(&q)
	if q.best == math.MaxInt {
		return -1
	}
	if p != nil && t.rules[q.best].params > 0 {
		t.rules[q.best].fill(r.Path, p)
	}
	return q.best
}

// walk looks for q in all trees that may have it.
func (t *Table) walk(q *query) {
	if len(t.exact)+len(t.suffix) > 0 {
		t.findHost(q)
	}
	t.any.find(q.r.Path, q)
}

func (t *Table) findHost(q *query) {
	name, port, ok := splitHost(q.r.Host)
	if !ok || len(name) == 0 || len(name) > maxHost {
		return
	}
	var buf [maxHost]byte
	q.port = portNumber(port)
	// A variable of its own: written back to name, escape analysis would move buf to the heap.
	key := canonical(&buf, name)
	if n := t.exact[string(key)]; n != nil {
		n.find(q.r.Path, q)
	}
	// From the right, so that a name of a hundred labels costs no more lookups than the longest suffix has labels. At 0
	// there would be no label before the dot.
	for i, dots := len(key)-1, 0; i > 0 && dots < t.labels; i-- {
		if key[i] != '.' {
			continue
		}
		dots++
		if n := t.suffix[string(key[i:])]; n != nil {
			n.find(q.r.Path, q)
		}
	}
}

// query is one search under way.
type query struct {
	t    *Table
	r    *exchange.Request
	port uint16
	best int

	wants []byte // the method that a preflight asks for; nil: it is none

	listing bool // the methods of what fits but for the method are wanted, no match
	list    []byte
	start   int // of the list
}

// try looks through entries, which ascend, for one earlier than the best so far.
func (q *query) try(entries []entry) {
	for i := range entries {
		e := &entries[i]
		if e.index >= q.best {
			return
		}
		if !portFits(e.port, q.port) {
			continue
		}
		r := q.t.rules[e.index]
		if q.listing {
			q.refused(r)
			continue
		}
		if r.satisfied(q.r) || q.wants != nil && r.preflight(q) {
			q.best = e.index
			return
		}
	}
}
