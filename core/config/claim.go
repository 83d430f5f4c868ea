package config

import "strconv"

// ClaimRule says what a claim of the caller's token must be.
type ClaimRule struct {
	Pos       Pos
	Claim     string     // its name, or a path of names with points between them
	Values    []Template // any of these; numbers and booleans are given by their JSON text
	IfPresent bool       // a token without the claim passes too
}

var ifPresentKeys = []key[ClaimRule]{
	{"if_present", must, func(d *decoder, v value, c *ClaimRule) { c.IfPresent, c.Values = true, d.claimValues(v) }},
}

// claims reads an object of claims. Without references, only literal values are possible.
func (d *decoder) claims(v value, references bool) []ClaimRule {
	var out []ClaimRule
	for _, e := range d.fields(v) {
		c := ClaimRule{Pos: e.pos, Claim: e.name}
		if e.value.kind == object {
			readObject(d, e.value, ifPresentKeys, &c)
		} else {
			c.Values = d.claimValues(e.value)
		}
		for _, t := range c.Values {
			if r := t.Refs(); len(r) > 0 && !references {
				d.fail(e.value.pos, "%s is not possible here; write $$ for a dollar", r[0])
			}
		}
		out = append(out, c)
	}
	return out
}

func (d *decoder) claimValues(v value) []Template {
	items := d.oneOrMore(v)
	if len(items) == 0 {
		d.fail(v.pos, "the list is empty: no token could pass")
	}
	out := make([]Template, 0, len(items))
	for _, item := range items {
		switch item.kind {
		case text:
			out = append(out, d.template(item))
		case boolean:
			out = append(out, Template{literal(item.node.text)})
		case integer:
			n := d.integer(item, -1<<53, 1<<53)
			out = append(out, Template{literal(strconv.FormatInt(n, 10))})
		default:
			d.wants(item, "a text, a whole number, true or false")
		}
	}
	return out
}
