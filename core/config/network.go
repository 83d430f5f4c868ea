package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// prefixes reads a list of networks and addresses.
func (d *decoder) prefixes(v value) []netip.Prefix {
	var out []netip.Prefix
	for _, item := range d.items(v) {
		s := d.text(item)
		if s == "" {
			continue
		}
		p, err := parsePrefix(s)
		if err != nil {
			d.fail(item.pos, "%s", err)
			continue
		}
		out = append(out, p)
	}
	return out
}

// somePrefixes is prefixes for a list that has no meaning when it is empty.
func (d *decoder) somePrefixes(v value) []netip.Prefix {
	before := len(d.problems.List)
	out := d.prefixes(v)
	if len(out) == 0 && len(d.problems.List) == before {
		d.fail(v.pos, "at least one address or network is needed")
	}
	return out
}

// allowed is prefixes for a list that would let everybody in if it were empty, say after an empty variable.
func (d *decoder) allowed(v value) []netip.Prefix {
	if v.kind == list && len(d.items(v)) == 0 {
		d.fail(v.pos, "the list is empty: leave it out to let every address in")
	}
	return d.prefixes(v)
}

func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("wants an address or a network such as 10.0.0.0/8, not %q", s)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("wants an address or a network such as 10.0.0.0/8, not %q", s)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits behind its mask; did you mean %q?", s, p.Masked())
	}
	return p, nil
}
