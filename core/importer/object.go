package importer

import (
	"strconv"
	"strings"
	"time"

	"github.com/weirproxy/weir/core/config"
)

// object reads the keys of an object of the source, and knows which of them nobody has asked for.
type object struct {
	r    *run
	v    config.Foreign
	used map[string]bool
	near config.Pos // of what it should stand in, for one that is not there
}

// object reads v, which is empty where there is nothing.
func (r *run) object(v config.Foreign) *object {
	o := &object{r: r, v: v, used: map[string]bool{}}
	switch v.Kind() {
	case config.ForeignObject, config.ForeignAbsent, config.ForeignNull:
	default:
		r.wants(v, "keys and values")
		o.v, o.near = config.Foreign{}, v.Pos()
	}
	return o
}

func (r *run) wants(v config.Foreign, what string) {
	r.fail(v.Pos(), "wants %s, not %s", what, v.Describe())
}

// pos is where it stands, or should.
func (o *object) pos() config.Pos {
	if p := o.v.Pos(); p.Line > 0 {
		return p
	}
	return o.near
}

// get gives the value of a key; it may also be written in the camelCase that JSON of protocol buffers has.
func (o *object) get(name string) config.Foreign {
	for _, n := range []string{name, camel(name)} {
		if v := o.v.Get(n); v.Kind() != config.ForeignAbsent {
			o.used[n] = true
			return v
		}
	}
	return config.Foreign{}
}

func camel(name string) string {
	parts := strings.Split(name, "_")
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}

func (o *object) has(name string) bool { return o.get(name).Kind() != config.ForeignAbsent }

func (o *object) object(name string) *object {
	inner := o.r.object(o.get(name))
	inner.near = o.pos()
	return inner
}

// list gives the items of a list.
func (o *object) list(name string) []config.Foreign {
	v := o.get(name)
	switch v.Kind() {
	case config.ForeignList, config.ForeignAbsent, config.ForeignNull:
	default:
		o.r.wants(v, "a list")
	}
	return v.Items()
}

// text gives a scalar as it is written.
func (o *object) text(name string) string { return o.r.text(o.get(name)) }

func (r *run) text(v config.Foreign) string {
	switch v.Kind() {
	case config.ForeignList, config.ForeignObject:
		r.wants(v, "a text")
	}
	return v.Text()
}

// enum gives a word that Envoy reads in any case.
func (o *object) enum(name string) string { return strings.ToUpper(o.text(name)) }

// texts gives a list of scalars.
func (o *object) texts(name string) []string {
	var out []string
	for _, v := range o.list(name) {
		out = append(out, o.r.text(v))
	}
	return out
}

func (o *object) boolean(name string) bool {
	v := o.get(name)
	switch {
	case v.Kind() == config.ForeignAbsent, v.Kind() == config.ForeignNull, v.Text() == "false":
	case v.Text() == "true" && (v.Kind() == config.ForeignBoolean || v.Kind() == config.ForeignText):
		return true
	default:
		o.r.wants(v, "true or false")
	}
	return false
}

// number gives a whole number, def where there is none. 64 bit numbers are texts in JSON of protocol buffers.
func (o *object) number(name string, def int64) int64 {
	v := o.get(name)
	if v.Kind() == config.ForeignAbsent || v.Kind() == config.ForeignNull {
		return def
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(v.Text(), "_", ""), 10, 64)
	if err != nil {
		o.r.wants(v, "a whole number")
		return def
	}
	return n
}

// duration gives a duration, 0 where there is none: seconds with an s behind them, or with more units.
func (o *object) duration(name string) time.Duration {
	v := o.get(name)
	if v.Kind() == config.ForeignAbsent || v.Kind() == config.ForeignNull {
		return 0
	}
	d, err := time.ParseDuration(v.Text())
	if v.Kind() == config.ForeignNumber { // Traefik's: seconds
		d, err = time.ParseDuration(v.Text() + "s")
	}
	if err != nil || d < 0 {
		o.r.wants(v, "a duration such as 1.5s")
		return 0
	}
	return d
}

// ignore asks for keys that mean nothing to weir and of which nothing is lost.
func (o *object) ignore(names ...string) {
	for _, n := range names {
		o.get(n)
	}
}

// lost notes that a key was not translated, if it is there.
func (o *object) lost(name, why string) {
	if v := o.get(name); v.Kind() != config.ForeignAbsent {
		o.r.lost(o.at(name), "%s: %s", name, why)
	}
}

// at is the place of a key.
func (o *object) at(name string) config.Pos {
	for _, f := range o.v.Fields() {
		if f.Name == name || f.Name == camel(name) {
			return f.Pos
		}
	}
	return o.pos()
}

// rest notes the keys that nobody has asked for.
func (o *object) rest() {
	for _, f := range o.v.Fields() {
		if !o.used[f.Name] {
			o.r.lost(f.Pos, "%s: there is no like in weir, or none that is known here", f.Pos.Path)
		}
	}
}
