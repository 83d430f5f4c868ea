package proxyabi

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
)

var propertyFunctions = []wasm.HostFunc{
	function("proxy_get_property", "iiii", getProperty),
	function("proxy_set_property", "iiii", setProperty),
}

// segments are what names a property, with a zero byte between them. It is a view of guest memory.
type segments struct {
	b   []byte // what is left
	sep byte
}

// next takes the next segment; nothing at the end.
func (p *segments) next() []byte {
	i := bytes.IndexByte(p.b, p.sep)
	if i < 0 {
		i = len(p.b)
	}
	segment := p.b[:i]
	p.b = p.b[min(i+1, len(p.b)):]
	return segment
}

func (p *segments) end() bool { return len(p.b) == 0 }

// property is what a name stands for, before it is written as the guest expects it.
type property struct {
	kind uint8
	text []byte
	n    int64
}

const (
	propertyNone = iota
	propertyText
	propertyInt
	propertyBool
	propertyTime // n is nanoseconds, also of a duration
)

// unknown is what weir does not know, or not yet.
var unknown property

func textOf(b []byte) property { return property{kind: propertyText, text: b} }

func intOf(n int64) property { return property{kind: propertyInt, n: n} }

func boolOf(v bool) property {
	if v {
		return property{kind: propertyBool, n: 1}
	}
	return property{kind: propertyBool}
}

// nanos is a time or a duration; there is none below 0.
func nanos(n int64) property {
	if n < 0 {
		return unknown
	}
	return property{kind: propertyTime, n: n}
}

// literal gives a copy of s in sh.scratch.
func (sh *shard) literal(s string) property {
	sh.scratch = append(sh.scratch[:0], s...)
	return textOf(sh.scratch)
}

// string is literal for what is not known if it is empty.
func (sh *shard) string(s string) property {
	if s == "" {
		return unknown
	}
	return sh.literal(s)
}

// filled is textOf for what is not known if it is empty.
func filled(b []byte) property {
	if len(b) == 0 {
		return unknown
	}
	return textOf(b)
}

// getProperty gives a property in Envoy's encoding: texts as they are, numbers and times in nanoseconds as 8 bytes, flags as
// one, maps serialised; or, in Kong's, everything as text.
func getProperty(sh *shard, a []uint64) status {
	name, ok := sh.read(a[0], a[1])
	if !ok {
		return statusInvalidMemory
	}
	name = cutEnd(name)
	if sh.granting || len(name) == 0 || len(name) > maxName {
		return statusNotFound
	}
	kong := sh.kong()
	p := sh.property(name, kong)
	if p.kind == propertyNone {
		return statusNotFound
	}
	return sh.give(a[2], a[3], sh.encode(p, kong))
}

func cutEnd(name []byte) []byte {
	if n := len(name); n > 0 && name[n-1] == 0 {
		return name[:n-1]
	}
	return name
}

func (sh *shard) encode(p property, kong bool) []byte {
	b := sh.number[:0]
	switch {
	case p.kind == propertyText:
		return p.text
	case p.kind == propertyBool && kong:
		return strconv.AppendBool(b, p.n != 0)
	case p.kind == propertyBool:
		return append(b, byte(p.n))
	case !kong:
		return binary.LittleEndian.AppendUint64(b, uint64(p.n))
	case p.kind == propertyTime:
		return appendSeconds(b, p.n)
	}
	return strconv.AppendInt(b, p.n, 10)
}

// appendSeconds writes nanoseconds as seconds with three places.
func appendSeconds(dst []byte, n int64) []byte {
	ms := n / 1e6
	dst = strconv.AppendInt(dst, ms/1000, 10)
	return append(dst, '.', '0'+byte(ms/100%10), '0'+byte(ms/10%10), '0'+byte(ms%10))
}

// property finds what a name stands for: what weir knows itself, then what filters have set.
func (sh *shard) property(name []byte, kong bool) property {
	p := segments{b: name}
	if kong {
		if v := sh.kongProperty(name); v.kind != propertyNone {
			return v
		}
		if bytes.IndexByte(name, 0) < 0 {
			p.sep = '.'
		}
	}
	v := sh.group(&p)
	if v.kind != propertyNone && p.end() {
		return v
	}
	return sh.note(name)
}

// group finds the group of a name, and in it the rest.
func (sh *shard) group(p *segments) property {
	first := p.next()
	if r := sh.root(); r != nil {
		switch string(first) {
		case "plugin_name":
			return sh.literal(r.plugin.o.Name)
		case "plugin_root_id":
			return sh.literal(r.plugin.o.RootID)
		case "plugin_vm_id":
			return sh.literal(sh.vm.o.ID)
		case "plugin_vm_memory":
			return intOf(int64(sh.in.Memory().Size()))
		}
	}
	st := sh.stream()
	if st == nil || sh.final != st && !st.at(&st.request) && !st.at(&st.response) {
		return unknown
	}
	switch string(first) {
	case "request":
		return st.requestProperty(p)
	case "response":
		return st.responseProperty(p)
	case "connection":
		return st.connectionProperty(p)
	case "source", "destination":
		return st.endProperty(p, first[0] == 's')
	case "upstream":
		return st.upstreamProperty(p)
	case "identity":
		return st.identityProperty(p)
	case "route":
		if string(p.next()) == "name" {
			return sh.string(st.f.site.Route)
		}
	case "filter_state":
		v, ok := st.x.Notes.Get(p.b)
		if p.b = nil; ok {
			return textOf(v)
		}
	case "connection_id":
		return number(st.x.Client.Connection)
	case "x_request_id":
		return filled(st.x.RequestID)
	case "xds":
		return st.siteProperty(p.next(), p)
	}
	return st.siteProperty(first, p)
}

// number is a number that is known unless it is 0.
func number(n uint64) property {
	if n == 0 {
		return unknown
	}
	return intOf(int64(n))
}

// siteProperty is what Envoy knows from its configuration, with the prefix xds or, as once, without.
func (st *stream) siteProperty(name []byte, p *segments) property {
	sh, site := st.sh, &st.f.site
	switch string(name) {
	case "route_name":
		return sh.string(site.Route)
	case "cluster_name":
		if site.Upstream == "" && st.settled() {
			return sh.string(st.x.Record.Upstream)
		}
		return sh.string(site.Upstream)
	case "route_metadata":
		return st.f.facts.route.property(p, sh.kong())
	case "cluster_metadata":
		return st.f.facts.upstream.property(p, sh.kong())
	case "listener_direction":
		return intOf(0) // neither inbound nor outbound, as where Envoy's configuration does not say
	}
	return unknown
}

// The name under which filters' own properties are kept among an exchange's notes.
const notePrefix = "wasm."

// noted builds it.
func (sh *shard) noted(name []byte) []byte {
	sh.scratch = append(append(sh.scratch[:0], notePrefix...), name...)
	return sh.scratch
}

// note is a property that a filter of the exchange has set.
func (sh *shard) note(name []byte) property {
	if st := sh.stream(); st != nil {
		if v, ok := st.x.Notes.Get(sh.noted(name)); ok {
			return textOf(v)
		}
	}
	return unknown
}

// setProperty keeps a property with the exchange, where this filter and later ones find it. A few names do something: they are
// those that Higress has. The status is OK whatever comes of it, since the Rust SDK panics on all else.
func setProperty(sh *shard, a []uint64) status {
	name, ok := sh.read(a[0], a[1])
	value, good := sh.read(a[2], a[3])
	if !ok || !good {
		return statusInvalidMemory
	}
	name = cutEnd(name)
	st := sh.stream()
	switch string(name) {
	case "wasm_need_rebuild":
		sh.worn = sh.worn || string(value) == "true"
	case "clear_route_cache":
		if st != nil && !sh.granting {
			st.pinned = string(value) == "off"
		}
	}
	if st == nil || sh.granting || len(name) == 0 || len(name)+len(value) > maxName || !st.x.Notes.Set(sh.noted(name), value) {
		sh.refuse(abi.ViewString(name), "a property that cannot be kept")
	}
	return statusOK
}
