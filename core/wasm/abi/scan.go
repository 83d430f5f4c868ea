package abi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// Outline is what can be told of a module before it is compiled. It refers to the module's bytes.
type Outline struct {
	Size      int
	Imports   []Func   // functions
	Exports   []Func   // functions
	Functions int      // that the module has itself
	Code      int      // bytes of their bodies
	Data      int      // bytes of data segments
	Memory    *Memory  // nil: none
	Start     bool     // a start section
	Customs   []string // names of custom sections, each once
	Name      string   // by the name section
	Producers []Tool   // by the section producers
	Others    []string // imports that are no functions: module.name

	// Malformed says what could not be read; the rest was. The engine, which checks everything, refuses such a module.
	Malformed string

	form   error
	bodies map[string]bodyKind // of exported functions that are not busy
}

// Func is a function as its importer or exporter sees it. Params and Results hold value types in the binary format's encoding
// (0x7f is i32).
type Func struct {
	Module  string // empty: an export
	Name    string
	Params  []byte
	Results []byte
}

// Memory is a module's first memory.
type Memory struct {
	Min, Max uint64 // pages
	Bounded  bool   // Max is given
	Imported bool
	Exported bool // as "memory"
}

// Tool is one that made a module. Field is language, processed-by or sdk.
type Tool struct{ Field, Name, Version string }

// Export finds a function by the name it is exported under, nil if there is none.
func (o *Outline) Export(name string) *Func {
	for i := range o.Exports {
		if o.Exports[i].Name == name {
			return &o.Exports[i]
		}
	}
	return nil
}

// Empty reports whether an exported function does nothing at all: it has no locals and its first instruction is its end.
func (o *Outline) Empty(name string) bool { return o.bodies[name] == bodyEmpty }

// Idle reports whether an exported function is empty, or does nothing but give a constant: nobody could tell whether it was
// called whose result nobody wants.
func (o *Outline) Idle(name string) bool { return o.bodies[name] != bodyBusy }

// Custom reports whether there is a custom section of that name.
func (o *Outline) Custom(name string) bool { return slices.Contains(o.Customs, name) }

// maxListed caps every list: more than the engine accepts, and little enough that the outline of what somebody made up is
// not much larger than the module.
const maxListed = 1 << 17

// Scan reads a module's outline. It takes any bytes: of what is no module at all Detect gives the reason.
func Scan(code []byte) *Outline {
	o := &Outline{Size: len(code), form: Form(code), bodies: map[string]bodyKind{}}
	if o.form != nil {
		return o
	}
	s := scanner{o: o, customs: map[string]bool{}}
	r := reader{b: code[len(magic):]}
	for len(r.b) > 0 && !r.bad {
		at := len(code) - len(r.b)
		id := r.byte()
		section := reader{b: r.take(r.uint())}
		if r.bad {
			s.malformed("section %d at byte %d is cut off", id, at)
			break
		}
		s.section(id, &section)
		if section.bad {
			s.malformed("section %d at byte %d cannot be read", id, at)
		}
	}
	s.resolve()
	return o
}

// scanner collects what refers to each other by index.
type scanner struct {
	o         *Outline
	types     []Func
	imported  []uint32 // types of imported functions
	functions []uint32 // types of the module's own
	bodies    []bodyKind
	exports   []uint32 // indices of o.Exports
	customs   map[string]bool
}

func (s *scanner) malformed(format string, args ...any) {
	if s.o.Malformed == "" {
		s.o.Malformed = fmt.Sprintf(format, args...)
	}
}

func (s *scanner) section(id byte, r *reader) {
	switch id {
	case 0:
		s.custom(r)
	case 1:
		r.each(s.typ)
	case 2:
		r.each(s.imp)
	case 3:
		r.each(func(r *reader) { s.functions = append(s.functions, r.uint()) })
		s.o.Functions = len(s.functions)
	case 5:
		r.each(func(r *reader) { s.memory(r.limits()) })
	case 7:
		r.each(s.export)
	case 8:
		s.o.Start = true
	case 10:
		s.o.Code = len(r.b)
		r.each(func(r *reader) { s.bodies = append(s.bodies, kindOf(r.take(r.uint()))) })
	case 11:
		s.o.Data = len(r.b)
	}
}

// bodyKind is what a function's body does.
type bodyKind uint8

const (
	bodyBusy     bodyKind = iota // all that is not one of these
	bodyEmpty                    // nothing
	bodyConstant                 // it gives an i32 that is always the same
)

// kindOf looks at a body without locals: an end, or i32.const, a number in LEB128, and an end.
func kindOf(b []byte) bodyKind {
	switch n := len(b); {
	case bytes.Equal(b, []byte{0, 0x0b}):
		return bodyEmpty
	case n < 4 || b[0] != 0 || b[1] != 0x41 || b[n-1] != 0x0b:
	default:
		for i, c := range b[2 : n-1] {
			if last := i == n-4; last != (c < 0x80) {
				return bodyBusy
			}
		}
		return bodyConstant
	}
	return bodyBusy
}

func (s *scanner) typ(r *reader) {
	if form := r.byte(); form != 0x60 {
		r.bad = true
		return
	}
	params := r.take(r.uint())
	s.types = append(s.types, Func{Params: params, Results: r.take(r.uint())})
}

func (s *scanner) imp(r *reader) {
	f := Func{Module: string(r.take(r.uint())), Name: string(r.take(r.uint()))}
	kind := r.byte()
	switch kind {
	case 0:
		if t := r.uint(); !r.bad {
			s.imported = append(s.imported, t)
			s.o.Imports = append(s.o.Imports, f)
		}
		return
	case 1:
		r.byte()
		r.limits()
	case 2:
		m := r.limits()
		m.Imported = true
		s.memory(m)
	case 3:
		r.take(2)
	default:
		r.bad = true
		return
	}
	s.o.Others = append(s.o.Others, f.Module+"."+f.Name)
}

func (s *scanner) memory(m Memory) {
	if s.o.Memory == nil {
		s.o.Memory = &m
	}
}

func (s *scanner) export(r *reader) {
	name := string(r.take(r.uint()))
	kind, i := r.byte(), r.uint()
	switch {
	case r.bad:
	case kind == 0:
		s.o.Exports = append(s.o.Exports, Func{Name: name})
		s.exports = append(s.exports, i)
	case kind == 2 && name == "memory":
		// Sections come in order: the memory has been seen, unless there is none.
		if s.o.Memory != nil {
			s.o.Memory.Exported = true
		}
	}
}

// resolve gives functions their types and looks which of the exported ones are empty.
func (s *scanner) resolve() {
	for i, t := range s.imported {
		s.o.Imports[i].Params, s.o.Imports[i].Results = s.typeOf(t)
	}
	for i, f := range s.exports {
		e := &s.o.Exports[i]
		if int(f) < len(s.imported) {
			e.Params, e.Results = s.typeOf(s.imported[f])
			continue
		}
		own := int(f) - len(s.imported)
		if own < len(s.functions) {
			e.Params, e.Results = s.typeOf(s.functions[own])
		}
		if own < len(s.bodies) && s.bodies[own] != bodyBusy {
			s.o.bodies[e.Name] = s.bodies[own]
		}
	}
}

func (s *scanner) typeOf(i uint32) (params, results []byte) {
	if uint64(i) >= uint64(len(s.types)) {
		s.malformed("there is no type %d", i)
		return nil, nil
	}
	return s.types[i].Params, s.types[i].Results
}

// custom reads the custom sections that tell of where a module comes from. What is malformed in them is left out: they are
// no part of what the engine runs.
func (s *scanner) custom(r *reader) {
	name := string(r.take(r.uint()))
	if !s.customs[name] && len(s.customs) < 1000 {
		s.customs[name] = true
		s.o.Customs = append(s.o.Customs, name)
	}
	switch name {
	case "name":
		for len(r.b) > 0 && !r.bad {
			id := r.byte()
			part := reader{b: r.take(r.uint())}
			if id == 0 {
				s.o.Name = string(part.take(part.uint()))
			}
		}
	case "producers":
		r.each(func(r *reader) {
			field := string(r.take(r.uint()))
			r.each(func(r *reader) {
				t := Tool{field, string(r.take(r.uint())), string(r.take(r.uint()))}
				if !r.bad && len(s.o.Producers) < 100 {
					s.o.Producers = append(s.o.Producers, t)
				}
			})
		})
	}
	r.bad = false
}

// reader reads the binary format; after the first mistake it gives zeros.
type reader struct {
	b   []byte
	bad bool
}

// each calls f for each element of a list.
func (r *reader) each(f func(*reader)) {
	n := r.uint()
	if n > maxListed {
		r.bad = true
	}
	for ; n > 0 && !r.bad; n-- {
		f(r)
	}
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
	v := r.uint64()
	if v > 1<<32-1 {
		r.bad = true
		return 0
	}
	return uint32(v)
}

func (r *reader) uint64() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// limits are of a memory or a table. Those of 64 bit memories are longer numbers.
func (r *reader) limits() (m Memory) {
	flags := r.byte()
	m.Min = r.uint64()
	if flags&1 != 0 {
		m.Max, m.Bounded = r.uint64(), true
	}
	return m
}
