package meter

import (
	"strconv"
	"unicode/utf8"
)

// assemble writes all sections of the rewritten module.
func (w *rewriter) assemble() []byte {
	m := w.m
	out := &code{b: make([]byte, 0, len(m.b)*5/4+1024)}
	out.b = append(out.b, magic...)
	w.typeSection(out)
	w.importSection(out)
	s := &code{}
	s.u32(uint32(len(m.funcs) + len(w.helperTypes)))
	for _, t := range append(append([]uint32{}, m.funcs...), w.helperTypes...) {
		s.u32(t)
	}
	out.section(secFunction, s)
	w.storage(out)
	w.globalSection(out)
	w.exportSection(out)
	if len(m.elems) > 0 {
		s := &code{}
		s.u32(uint32(len(m.elems)))
		for _, e := range m.elemItems {
			c := &cursor{b: m.b, pos: e.start, end: e.end}
			c.elem(m, w.o, s, 1)
		}
		out.section(secElement, s)
	}
	if m.hasCount {
		out.section(secDataCount, new(code).u32(m.count))
	}
	s = &code{b: make([]byte, 0, len(m.b)*5/4)}
	s.u32(uint32(len(w.code) + len(w.helperCode)))
	for _, b := range w.code {
		s.vec(b)
	}
	for _, b := range w.helperCode {
		s.vec(b)
	}
	out.section(secCode, s)
	if m.dataBody != nil {
		out.section(secData, &code{b: m.dataBody})
	}
	w.nameSection(out)
	return out.b
}

func (w *rewriter) typeSection(out *code) {
	s := &code{}
	s.u32(uint32(len(w.m.types) + len(w.types)))
	s.b = append(s.b, w.m.b[w.m.typeBody.start:w.m.typeBody.end]...)
	for _, t := range w.types {
		s.op(0x60).vec(t.params).vec(t.results)
	}
	out.section(secType, s)
}

func (w *rewriter) importSection(out *code) {
	s := &code{}
	s.u32(uint32(len(w.m.importTypes) + 1))
	for i, im := range w.m.imports {
		s.name(im.Module).name(im.As).op(0).u32(w.m.importTypes[i])
	}
	s.name(ImportModule).name(ImportName).op(0).u32(w.typeIndex(funcType{}))
	out.section(secImport, s)
}

func (l *limits) encode(s *code) { s.op(1).u32(l.min).u32(l.max) }

func (w *rewriter) storage(out *code) {
	if len(w.m.tables) > 0 {
		s := &code{}
		s.u32(uint32(len(w.m.tables)))
		for _, t := range w.m.tables {
			s.op(t.elem)
			t.encode(s)
		}
		out.section(secTable, s)
	}
	if w.m.memory != nil {
		s := &code{}
		s.u32(1)
		w.m.memory.encode(s)
		out.section(secMemory, s)
	}
}

func (w *rewriter) globalSection(out *code) {
	s := &code{}
	s.u32(uint32(w.m.globals + 2 + len(w.lens)))
	for _, g := range w.m.globalExprs {
		// Type and mutability, then the initialiser.
		s.b = append(s.b, w.m.b[g.start:g.start+2]...)
		c := &cursor{b: w.m.b, pos: g.start + 2, end: g.end}
		c.constExpr(w.m, w.m.globals, s, 1)
	}
	s.op(typeI64).op(1).i64(0).op(opEnd)
	s.op(typeI64).op(1).i64(w.o.Stack).op(opEnd)
	for _, n := range w.lens {
		s.op(typeI32).op(1).i32(int32(n)).op(opEnd)
	}
	out.section(secGlobal, s)
}

// fresh returns a name that no export of the module has.
func (w *rewriter) fresh(name string) string {
	taken := func(s string) bool {
		for _, e := range w.m.exports {
			if e.name == s {
				return true
			}
		}
		return false
	}
	free := name
	for i := 0; taken(free); i++ {
		free = name + strconv.Itoa(i)
	}
	return free
}

func (w *rewriter) exportSection(out *code) {
	s := &code{}
	n := uint32(len(w.m.exports) + 2)
	if w.m.hasStart {
		n++
	}
	s.u32(n)
	for _, e := range w.m.exports {
		i := e.index
		if e.kind == 0 {
			i = w.m.shifted(i, 1)
		}
		s.name(e.name).op(e.kind).u32(i)
	}
	s.name(w.fresh("weir:fuel")).op(3).u32(w.fuel())
	s.name(w.fresh("weir:depth")).op(3).u32(w.depth())
	if w.m.hasStart {
		s.name(w.fresh("weir:start")).op(0).u32(w.m.shifted(w.m.start, 1))
	}
	out.section(secExport, s)
}

// nameSection keeps the names of the module and of its functions, for stack traces. A name section that cannot be read
// is left out: the specification has it ignored.
func (w *rewriter) nameSection(out *code) {
	if w.m.names == nil {
		return
	}
	s := (&code{}).name("name")
	c := &cursor{b: w.m.names, end: len(w.m.names)}
	for c.more() {
		id := c.byte()
		content := c.bytes(c.u32())
		if c.err != nil || id > 1 {
			continue
		}
		sub := &code{}
		n := &cursor{b: content, end: len(content)}
		if id == 0 {
			sub.name(label(n.name()))
		} else {
			w.functionNames(n, sub)
		}
		if n.err != nil || n.pos != n.end {
			return
		}
		s.op(id).vec(sub.b)
	}
	if c.err == nil {
		out.section(secCustom, s)
	}
}

// label is a name short enough for a log.
func label(s string) string {
	if len(s) <= labelMost {
		return s
	}
	n := labelMost
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func (w *rewriter) functionNames(n *cursor, sub *code) {
	count := n.count("names", w.m.funcCount())
	sub.u32(uint32(count))
	last := -1
	for ; count > 0 && n.err == nil; count-- {
		at := n.pos
		f := n.index("function", w.m.funcCount())
		if int(f) <= last {
			n.fail(at, "names out of order")
		}
		last = int(f)
		sub.u32(w.m.shifted(f, 1)).name(label(n.name()))
	}
}

func (w *rewriter) info() Info {
	i := Info{Fuel: w.fresh("weir:fuel"), Depth: w.fresh("weir:depth"), Imports: w.m.imports, MaxFrame: w.maxFrame}
	if w.m.hasStart {
		i.Start = w.fresh("weir:start")
	}
	if w.m.memory != nil {
		i.Memory, i.MinPages, i.MaxPages = true, w.m.memory.min, w.m.memory.max
	}
	for _, e := range w.m.exports {
		if e.kind == 0 {
			t := w.m.typeOf(e.index)
			i.Exports = append(i.Exports, Func{Name: e.name, Params: t.params, Results: t.results})
		}
	}
	return i
}
