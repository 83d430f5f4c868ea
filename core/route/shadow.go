package route

import "slices"

// Shadow gives the index of an earlier match that takes every request match i is for, -1 if there is none. Several
// earlier matches that only together leave nothing are not seen.
func (t *Table) Shadow(i int) int {
	later := t.rules[i]
	found := -1
	try := func(entries []entry) {
		for _, e := range entries {
			if e.index >= i || found >= 0 && e.index >= found {
				return
			}
			if t.rules[e.index].covers(later) {
				found = e.index
				return
			}
		}
	}
	for _, root := range t.roots(later) {
		root.covering(later.segments, later.under, try)
	}
	return found
}

// roots are the trees that a rule which covers r stands in: those that the first host of r may be found in are enough.
func (t *Table) roots(r *rule) []*node {
	list := []*node{t.any}
	if len(r.hosts) == 0 {
		return list
	}
	h := r.hosts[0]
	if n := t.exact[h.name]; n != nil && !h.wild {
		list = append(list, n)
	}
	for i := range len(h.name) {
		if n := t.suffix[h.name[i:]]; n != nil && h.name[i] == '.' && (i > 0 || h.wild) {
			list = append(list, n)
		}
	}
	return list
}

// covering tries all entries below n whose path may cover a pattern.
func (n *node) covering(rest []segment, under bool, try func([]entry)) {
	try(n.under)
	if len(rest) == 0 {
		if !under {
			try(n.here)
		}
		return
	}
	s := rest[0]
	if m := n.nexts[s.text]; m != nil && !s.param {
		m.covering(rest[1:], under, try)
	}
	if n.anyone != nil && (s.param || s.text != "") {
		n.anyone.covering(rest[1:], under, try)
	}
}

// covers reports whether r takes every request that later is for; that its path does is known from the index.
func (r *rule) covers(later *rule) bool {
	if later.preflights && !r.preflights && len(r.methods)+len(r.headers) > 0 {
		return false
	}
	return coverHosts(r.hosts, later.hosts) && coverMethods(r, later) &&
		!slices.ContainsFunc(r.headers, func(h HeaderMatch) bool { return !slices.Contains(later.headers, h) })
}

func coverHosts(hosts, later []host) bool {
	if len(hosts) == 0 {
		return true
	}
	if len(later) == 0 {
		return false
	}
	for _, l := range later {
		if !slices.ContainsFunc(hosts, func(h host) bool { return h.covers(l) }) {
			return false
		}
	}
	return true
}

func (h host) covers(l host) bool {
	if h.port != 0 && h.port != l.port {
		return false
	}
	if !h.wild {
		return !l.wild && h.name == l.name
	}
	// A name must have a label before the suffix; a suffix may be the same one.
	return len(l.name) > len(h.name) && l.name[len(l.name)-len(h.name):] == h.name || l.wild && l.name == h.name
}

func coverMethods(r, later *rule) bool {
	if len(r.methods) == 0 {
		return true
	}
	if len(later.methods) == 0 {
		return false
	}
	for _, m := range later.methods {
		// GET of the later match also stands for HEAD, and so does GET of the earlier one.
		if !r.hasMethod([]byte(m)) {
			return false
		}
	}
	return true
}
