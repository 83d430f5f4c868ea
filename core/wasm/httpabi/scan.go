package httpabi

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// outline is what can be told of a module before it is compiled.
type outline struct {
	functions map[string]uint32 // exported functions
	memory    bool              // a memory is exported as "memory"
	imports   uint32            // imported functions
	bodies    [][]byte          // of the module's own functions
}

// proxyWasm reports whether the module is built for the Proxy-Wasm ABI.
func (o *outline) proxyWasm() bool {
	for name := range o.functions {
		if strings.HasPrefix(name, "proxy_abi_version_") || name == "proxy_on_context_create" {
			return true
		}
	}
	return false
}

// empty reports whether an exported function does nothing at all: it has no locals and its first instruction is its end.
func (o *outline) empty(name string) bool {
	i, ok := o.functions[name]
	if !ok || i < o.imports || int(i-o.imports) >= len(o.bodies) {
		return false
	}
	return bytes.Equal(o.bodies[i-o.imports], []byte{0, 0x0b})
}

var magic = []byte("\x00asm\x01\x00\x00\x00")

// scan reads a module's outline. What is malformed is left out: the engine, which checks everything, will say so.
func scan(b []byte) outline {
	o := outline{functions: map[string]uint32{}}
	r := reader{b: b[len(magic):]}
	for len(r.b) > 0 && !r.bad {
		id := r.byte()
		s := reader{b: r.take(r.uint())}
		switch id {
		case 2:
			s.imports(&o)
		case 7:
			s.exports(&o)
		case 10:
			for n := s.uint(); n > 0 && !s.bad; n-- {
				o.bodies = append(o.bodies, s.take(s.uint()))
			}
		}
	}
	return o
}

// reader reads the binary format; after the first mistake it gives zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint32) []byte {
	if r.bad || uint64(n) > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) byte() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) uint() uint32 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > 1<<32-1 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return uint32(v)
}

func (r *reader) imports(o *outline) {
	for n := r.uint(); n > 0 && !r.bad; n-- {
		r.take(r.uint())
		r.take(r.uint())
		switch r.byte() {
		case 0:
			r.uint()
			o.imports++
		case 1:
			r.byte()
			r.limits()
		case 2:
			r.limits()
		case 3:
			r.take(2)
		default:
			r.bad = true
		}
	}
}

func (r *reader) limits() {
	flags := r.byte()
	r.uint()
	if flags&1 != 0 {
		r.uint()
	}
}

func (r *reader) exports(o *outline) {
	for n := r.uint(); n > 0 && !r.bad; n-- {
		name := string(r.take(r.uint()))
		kind, i := r.byte(), r.uint()
		switch {
		case r.bad:
		case kind == 0:
			o.functions[name] = i
		case kind == 2 && name == exportMemory:
			o.memory = true
		}
	}
}
