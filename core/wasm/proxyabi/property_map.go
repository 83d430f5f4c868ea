package proxyabi

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	stdmaps "maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// pairList builds a serialised map piece by piece.
type pairList struct {
	b  []byte
	at int // of the lengths of the pair under way
	v  int // where its value begins
}

// begin makes room for n pairs, in the memory of b.
func (l *pairList) begin(b []byte, n int) {
	b = append(b[:0], 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(b, uint32(n))
	for range n {
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	l.b, l.at = b, 4
}

// name begins a pair.
func (l *pairList) name(name string) {
	binary.LittleEndian.PutUint32(l.b[l.at:], uint32(len(name)))
	l.b = append(append(l.b, name...), 0)
	l.v = len(l.b)
}

// done ends the pair whose value has been appended to l.b.
func (l *pairList) done() {
	binary.LittleEndian.PutUint32(l.b[l.at+4:], uint32(len(l.b)-l.v))
	l.b = append(l.b, 0)
	l.at += 8
}

// list writes texts: as a map of names without values, or, in Kong's encoding, as one text.
func (sh *shard) list(texts []string) property {
	if sh.kong() {
		b := sh.scratch[:0]
		for i, s := range texts {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, s...)
		}
		sh.scratch = b
		return textOf(b)
	}
	if len(texts) == 0 {
		return textOf(nil)
	}
	var l pairList
	l.begin(sh.scratch, len(texts))
	for _, s := range texts {
		l.name(s)
		l.done()
	}
	sh.scratch = l.b
	return textOf(l.b)
}

// property is a field of a map by its name, or the whole map, with the values of one name joined by commas.
func (f *fields) property(p *segments) property {
	if f.h == nil {
		return unknown
	}
	sh := f.half.st.sh
	if !p.end() {
		name := p.b
		p.b = nil // a name has no segments
		return f.joint(sh.lower(name))
	}
	n := f.h.Len()
	sh.in.Burn(time.Duration(2 * n * n)) // every name is compared with those before it
	sh.scratch = f.joined(sh.scratch)
	return textOf(sh.scratch)
}

// joint gives all values of a lower-case name, joined by commas. The name may lie in the shard's scratch.
func (f *fields) joint(name string) property {
	if f.h == nil {
		return unknown
	}
	v, ok := f.get(name)
	i := f.h.Index(name, 0)
	switch {
	case !ok:
		return unknown
	case i < 0 || !known(f.h.At(i)) || f.h.Index(name, i+1) < 0:
		return textOf(v)
	}
	sh := f.half.st.sh
	b := append(sh.scratch[:0], name...)
	for ; i >= 0; i = f.h.Index(name, i+1) {
		b = append(append(b, f.h.At(i).Value...), ',')
	}
	sh.scratch = b[:len(b)-1]
	return textOf(sh.scratch[len(name):])
}

// joined serialises a map with every name once.
func (f *fields) joined(b []byte) []byte {
	n := 0
	for _, list := range [...][]string{f.before(), behind[:]} {
		for _, name := range list {
			if _, ok := f.extra(name); ok {
				n++
			}
		}
	}
	for i := range f.h.Len() {
		if f.first(i) {
			n++
		}
	}
	if n == 0 {
		return b[:0]
	}
	var l pairList
	l.begin(b, n)
	f.extras(&l, f.before())
	for i := range f.h.Len() {
		if f.first(i) {
			f.join(&l, i)
		}
	}
	f.extras(&l, behind[:])
	return l.b
}

func (f *fields) extras(l *pairList, names []string) {
	for _, name := range names {
		if v, ok := f.extra(name); ok {
			l.name(name)
			l.b = append(l.b, v...)
			l.done()
		}
	}
}

// first reports whether field i is one that guests see, and none before it has its name.
func (f *fields) first(i int) bool {
	fd := f.h.At(i)
	if !known(fd) {
		return false
	}
	for j := range i {
		if alike(f.h.At(j), fd) {
			return false
		}
	}
	return true
}

func alike(a, b *exchange.Field) bool { return a.ID == b.ID && abi.FoldCompare(a.Name, b.Name) == 0 }

// join writes all values of field i's name.
func (f *fields) join(l *pairList, i int) {
	fd := f.h.At(i)
	n := len(l.b)
	l.name(abi.ViewString(fd.Name))
	for j := range len(fd.Name) {
		l.b[n+j] = abi.LowerByte(l.b[n+j])
	}
	l.b = append(l.b, fd.Value...)
	for j := i + 1; j < f.h.Len(); j++ {
		if other := f.h.At(j); alike(other, fd) {
			l.b = append(append(l.b, ','), other.Value...)
		}
	}
	l.done()
}

// facts is what a site's properties are made of, parsed once.
type facts struct{ route, upstream node }

// node is a value of a configuration's metadata, ready to be given to guests: a text as it is, a number as the 8 bytes of a
// double, a flag as one, a map or a list serialised. Nothing changes it.
type node struct {
	envoy, kong []byte
	kids        map[string]*node
}

// factsOf parses the metadata of a site.
func factsOf(s Site) (f facts, err error) {
	for _, m := range []struct {
		what, text string
		to         *node
	}{{"route", s.RouteMetadata, &f.route}, {"upstream", s.UpstreamMetadata, &f.upstream}} {
		if m.text == "" {
			continue
		}
		var tree map[string]any
		if err := json.Unmarshal([]byte(m.text), &tree); err != nil {
			return f, fmt.Errorf("read metadata of the %s: %w", m.what, err)
		}
		*m.to = nodeOf(map[string]any{"filter_metadata": tree})
	}
	return f, nil
}

func nodeOf(v any) node {
	switch v := v.(type) {
	case string:
		return node{envoy: []byte(v), kong: []byte(v)}
	case float64:
		return node{
			envoy: binary.LittleEndian.AppendUint64(nil, math.Float64bits(v)), kong: strconv.AppendFloat(nil, v, 'f', -1, 64),
		}
	case bool:
		flag := []byte{0}
		if v {
			flag[0] = 1
		}
		return node{envoy: flag, kong: strconv.AppendBool(nil, v)}
	case map[string]any:
		return mapNode(v)
	case []any:
		return listNode(v)
	}
	return node{}
}

func mapNode(m map[string]any) node {
	n := node{kids: map[string]*node{}, envoy: []byte{}, kong: []byte{}}
	if len(m) == 0 {
		return n
	}
	var envoy, kong pairList
	envoy.begin(nil, len(m))
	kong.begin(nil, len(m))
	for _, name := range slices.Sorted(stdmaps.Keys(m)) {
		kid := nodeOf(m[name])
		n.kids[name] = &kid
		envoy.name(name)
		envoy.b = append(envoy.b, kid.envoy...)
		envoy.done()
		kong.name(name)
		kong.b = append(kong.b, kid.kong...)
		kong.done()
	}
	n.envoy, n.kong = envoy.b, kong.b
	return n
}

func listNode(list []any) node {
	n := node{envoy: []byte{}}
	var envoy pairList
	var kong [][]byte
	if len(list) > 0 {
		envoy.begin(nil, len(list))
	}
	for _, v := range list {
		kid := nodeOf(v)
		envoy.name(string(kid.envoy))
		envoy.done()
		kong = append(kong, kid.kong)
	}
	n.envoy, n.kong = append(n.envoy, envoy.b...), append([]byte{}, bytes.Join(kong, []byte(","))...)
	return n
}

// property finds what a path leads to. A null, or nothing at all, is not there.
func (n *node) property(p *segments, kong bool) property {
	for !p.end() {
		if n = n.kids[string(p.next())]; n == nil {
			return unknown
		}
	}
	switch {
	case n.envoy == nil:
		return unknown
	case kong:
		return textOf(n.kong)
	}
	return textOf(n.envoy)
}
