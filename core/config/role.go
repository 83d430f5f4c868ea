package config

import (
	"slices"
	"strings"
)

// Role is what a role of a token allows.
type Role struct {
	Pos         Pos
	Name        string
	Permissions []string // those of the included roles among them, each once; "*" is every permission
}

// roleItem is a permission or, when include is set, the names of other roles.
type roleItem struct {
	permission string
	include    []string
}

var includeKeys = []key[roleItem]{
	{"include", must, func(d *decoder, v value, r *roleItem) {
		for _, item := range d.items(v) {
			r.include = append(r.include, d.mention(item, roleNames))
		}
	}},
}

func (d *decoder) roles(v value) []Role {
	entries := d.fields(v)
	items := make(map[string][]roleItem, len(entries))
	for _, e := range entries {
		d.declare(roleNames, e.name)
		items[e.name] = d.roleItems(e.value)
	}
	out := make([]Role, len(entries))
	reported := map[string]bool{} // a cycle is reported once, not once for each role on it
	for i, e := range entries {
		r := roleExpansion{items: items, done: map[string]bool{}}
		r.add(e.name)
		if r.cycle != nil && !reported[e.name] {
			for _, name := range r.cycle {
				reported[name] = true
			}
			d.fail(e.pos, "the role includes itself: %s", strings.Join(r.cycle, " → "))
		}
		out[i] = Role{Pos: e.pos, Name: e.name, Permissions: r.permissions}
	}
	return out
}

func (d *decoder) roleItems(v value) []roleItem {
	var out []roleItem
	for _, item := range d.items(v) {
		var r roleItem
		if item.kind == object {
			readObject(d, item, includeKeys, &r)
		} else {
			r.permission = d.text(item)
		}
		out = append(out, r)
	}
	return out
}

// roleExpansion collects the permissions of one role. A role is entered once, so that its cost is the number of
// inclusions whatever their shape.
type roleExpansion struct {
	items       map[string][]roleItem
	done        map[string]bool
	above       []string // the way from the role that is expanded to where the walk is
	permissions []string
	cycle       []string // of the role that is expanded; those of others are reported with them
}

func (r *roleExpansion) add(name string) {
	if len(r.above) > 0 && r.above[0] == name && r.cycle == nil {
		r.cycle = append(slices.Clone(r.above), name)
	}
	if r.done[name] {
		return
	}
	r.done[name] = true
	r.above = append(r.above, name)
	for _, item := range r.items[name] {
		for _, included := range item.include {
			r.add(included)
		}
		if item.permission != "" && !slices.Contains(r.permissions, item.permission) {
			r.permissions = append(r.permissions, item.permission)
		}
	}
	r.above = r.above[:len(r.above)-1]
}
