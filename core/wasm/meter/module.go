package meter

import (
	"bytes"
	"fmt"
	"strconv"
)

const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
)

// order gives each section id its place; the data count stands before the code.
var order = [...]int{secType: 1, secImport: 2, secFunction: 3, secTable: 4, secMemory: 5, secGlobal: 6, secExport: 7,
	secStart: 8, secElement: 9, secDataCount: 10, secCode: 11, secData: 12}

var sectionNames = [...]string{"custom", "type", "import", "function", "table", "memory", "global", "export", "start",
	"element", "code", "data", "data count"}

const (
	// arityMost caps the parameters, and the results, of one function type.
	arityMost = 1000
	// nameMost is the longest name of an import or export in bytes; it may come to be part of an error.
	nameMost = 4096
	// labelMost is the most of a function's name that is kept for stack traces.
	labelMost = 256
)

type funcType struct{ params, results []byte }

type limits struct {
	min, max uint32
	hasMax   bool
}

type table struct {
	elem byte
	limits
}

type export struct {
	name  string
	kind  byte
	index uint32
}

type span struct{ start, end int }

// segment is a data or element segment: its length in bytes or entries, 0 if it is active or declarative, because such
// a segment is dropped when the module is instantiated.
type segment struct {
	length uint32
	elem   byte
}

// decoded is a module taken apart. Spans point into b.
type decoded struct {
	b           []byte
	types       []funcType
	typeBody    span // of the type section, after its count
	imports     []Func
	importTypes []uint32
	funcs       []uint32 // type of each defined function
	tables      []table
	memory      *limits
	globals     int
	globalExprs []span // each global whole, for rewriting
	exports     []export
	start       uint32
	hasStart    bool
	elems       []segment
	elemItems   []span // each element segment whole
	elements    int
	code        []span // each body without its size
	datas       []segment
	dataBody    []byte // the whole section's content
	hasCount    bool
	count       uint32
	declared    map[uint32]struct{} // functions that ref.func may name: those named outside of code and start
	names       []byte              // content of the name section after its name, nil if absent
}

// funcCount is the number of functions of the module, imported ones first.
func (m *decoded) funcCount() int { return len(m.importTypes) + len(m.funcs) }

func (m *decoded) typeOf(f uint32) funcType {
	if int(f) < len(m.importTypes) {
		return m.types[m.importTypes[f]]
	}
	return m.types[m.funcs[int(f)-len(m.importTypes)]]
}

var magic = []byte("\x00asm\x01\x00\x00\x00")

func decode(b []byte, o *Options) (*decoded, error) {
	if len(b) > o.Module {
		return nil, &Error{Msg: fmt.Sprintf("module of %d bytes, at most %d allowed", len(b), o.Module), Offset: o.Module}
	}
	if len(b) >= 8 && bytes.Equal(b[:4], magic[:4]) && b[6] == 1 {
		return nil, &Error{Offset: 4, Feature: "the component model", Msg: "component layer"}
	}
	if len(b) < 8 || !bytes.Equal(b[:8], magic) {
		return nil, &Error{Msg: "no WebAssembly 1 header"}
	}
	m := &decoded{b: b, declared: map[uint32]struct{}{}}
	c := &cursor{b: b, pos: 8, end: len(b)}
	last := 0
	for c.more() {
		at := c.pos
		id := c.byte()
		size := c.u32()
		start := c.pos
		c.bytes(size)
		if c.err != nil {
			break
		}
		if id != secCustom {
			if id == 13 {
				c.refuse(at, "exception handling", "tag section")
				break
			}
			if id > secDataCount {
				c.fail(at, "unknown section %d", id)
				break
			}
			if order[id] == last {
				c.fail(at, "%s section stands twice", sectionNames[id])
				break
			}
			if order[id] < last {
				c.fail(at, "%s section out of order", sectionNames[id])
				break
			}
			last = order[id]
		}
		s := &cursor{b: b, pos: start, end: c.pos}
		m.section(s, id, o)
		if s.err == nil && s.pos != s.end {
			s.fail(s.pos, "%s section has %d bytes left over", sectionNames[id], s.end-s.pos)
		}
		c.err = s.err
	}
	if c.err != nil {
		return nil, c.err
	}
	if len(m.code) != len(m.funcs) {
		return nil, &Error{Offset: len(b), Msg: "function and code section differ in length"}
	}
	if m.hasCount && int(m.count) != len(m.datas) {
		return nil, &Error{Offset: len(b), Msg: "data count and data section differ"}
	}
	return m, nil
}

func (m *decoded) section(c *cursor, id byte, o *Options) {
	switch id {
	case secCustom:
		name := c.name()
		if c.err == nil && name == "name" && m.names == nil {
			m.names = c.b[c.pos:c.end]
		}
		c.pos = c.end
	case secType:
		m.readTypes(c, o)
	case secImport:
		m.readImports(c, o)
	case secFunction:
		n := c.count("functions", o.Functions-len(m.importTypes))
		m.funcs = make([]uint32, 0, n)
		for ; n > 0 && c.err == nil; n-- {
			m.funcs = append(m.funcs, c.index("type", len(m.types)))
		}
	case secTable:
		m.readTables(c, o)
	case secMemory:
		m.readMemory(c, o)
	case secGlobal:
		m.readGlobals(c, o)
	case secExport:
		m.readExports(c, o)
	case secStart:
		at := c.pos
		m.start, m.hasStart = c.index("function", m.funcCount()), true
		if c.err == nil {
			if t := m.typeOf(m.start); len(t.params)+len(t.results) > 0 {
				c.fail(at, "start function %d has parameters or results", m.start)
			}
		}
	case secElement:
		m.readElems(c, o)
	case secDataCount:
		at := c.pos
		m.count, m.hasCount = c.u32(), true
		if uint64(m.count) > uint64(o.Segments) {
			c.fail(at, "%d data segments, at most %d allowed", m.count, o.Segments)
		}
	case secCode:
		m.readCode(c, o)
	case secData:
		m.readDatas(c, o)
	}
}

func (m *decoded) readTypes(c *cursor, o *Options) {
	n := c.count("types", o.Types)
	values := 0
	m.typeBody.start = c.pos
	for ; n > 0 && c.err == nil; n-- {
		at := c.pos
		switch form := c.byte(); form {
		case 0x60:
		case 0x4e, 0x4f, 0x50, 0x5e, 0x5f:
			c.refuse(at, "garbage collection", "type form 0x%02x", form)
		default:
			c.fail(at, "unknown type form 0x%02x", form)
		}
		t := funcType{params: c.valTypes("parameters", arityMost)}
		t.results = c.valTypes("results", arityMost)
		if values += len(t.params) + len(t.results); values > o.Values {
			c.fail(at, "types have more than %d parameters and results together", o.Values)
		}
		m.types = append(m.types, t)
	}
	m.typeBody.end = c.pos
}

func (c *cursor) valTypes(what string, limit int) []byte {
	n := c.count(what, limit)
	start := c.pos
	for ; n > 0 && c.err == nil; n-- {
		c.valType()
	}
	return c.b[start:c.pos]
}

func (m *decoded) readImports(c *cursor, o *Options) {
	n := c.count("imports", o.Imports)
	for ; n > 0 && c.err == nil; n-- {
		at := c.pos
		mod, name := c.shortName(), c.shortName()
		kind := c.byte()
		if c.err != nil {
			return
		}
		if kind != 0 {
			what := "an unknown thing"
			if kind < 5 {
				what = [...]string{1: "a table", 2: "a memory", 3: "a global", 4: "a tag"}[kind]
			}
			c.fail(at, "import %s.%s is %s, only functions may be imported", mod, name, what)
			return
		}
		if mod == ImportModule {
			c.fail(at, "import %s.%s is reserved for the host", mod, name)
			return
		}
		t := c.index("type", len(m.types))
		if c.err != nil {
			return
		}
		m.importTypes = append(m.importTypes, t)
		m.imports = append(m.imports, Func{Module: mod, Name: name, Params: m.types[t].params, Results: m.types[t].results})
	}
	m.renameImports()
}

// renameImports gives every import the name it has in the rewritten module. Each is hashed a few times, whatever the
// others are called: names may be long.
func (m *decoded) renameImports() {
	type typed struct{ module, name, params, results string }
	taken := map[[2]string]bool{}
	for i := range m.imports {
		taken[[2]string{m.imports[i].Module, m.imports[i].Name}] = true
	}
	as, variants := map[typed]string{}, map[[2]string]int{}
	for i := range m.imports {
		im := &m.imports[i]
		key := [2]string{im.Module, im.Name}
		t := typed{im.Module, im.Name, string(im.Params), string(im.Results)}
		name, ok := as[t]
		if !ok {
			name = im.Name
			for n := variants[key]; n > 0 && taken[[2]string{im.Module, name}]; n++ {
				name, variants[key] = im.Name+"#"+strconv.Itoa(n), n
			}
			taken[[2]string{im.Module, name}], as[t] = true, name
			variants[key]++
		}
		im.As = name
	}
}

func (c *cursor) limits() limits {
	at := c.pos
	flag := c.byte()
	var l limits
	switch {
	case flag <= 1:
		l.min = c.u32()
		if l.hasMax = flag == 1; l.hasMax {
			l.max = c.u32()
		}
	case flag <= 3:
		c.refuse(at, "threads", "shared limits")
	case flag <= 7:
		c.refuse(at, "memory64", "64-bit limits")
	default:
		c.fail(at, "unknown limits flag 0x%02x", flag)
	}
	if c.err == nil && l.hasMax && l.max < l.min {
		c.fail(at, "maximum %d is below minimum %d", l.max, l.min)
	}
	return l
}

// cap bounds growth to top; a minimum over first is an error.
func (l *limits) cap(c *cursor, at int, what string, first, top uint32) {
	if l.min > first {
		c.fail(at, "%s allowed", fmt.Sprintf(what, l.min, first))
	}
	if !l.hasMax || l.max > top {
		l.max, l.hasMax = top, true
	}
}

func (m *decoded) readTables(c *cursor, o *Options) {
	for n := c.count("tables", o.Tables); n > 0 && c.err == nil; n-- {
		at := c.pos
		if c.pos < c.end && c.b[c.pos] == 0x40 {
			c.refuse(at, "typed function references", "table with an initialiser")
			return
		}
		t := table{elem: c.refType()}
		t.limits = c.limits()
		t.cap(c, at, "table starts with %d entries, at most %d", o.TableEntries, o.TableEntries)
		m.tables = append(m.tables, t)
	}
}

func (m *decoded) readMemory(c *cursor, o *Options) {
	at := c.pos
	n := c.u32()
	if c.err == nil && n > 1 {
		c.refuse(at, "multiple memories", "%d memories", n)
	}
	if c.err != nil || n == 0 {
		return
	}
	l := c.limits()
	if c.err == nil && (l.min > 65536 || l.hasMax && l.max > 65536) {
		c.fail(at, "memory over 65536 pages")
	}
	l.cap(c, at, "memory starts with %d pages of 64 KiB, at most %d", o.MemoryPages, max(o.MemoryMax, o.MemoryPages))
	m.memory = &l
}

func (m *decoded) readGlobals(c *cursor, o *Options) {
	n := c.count("globals", o.Globals)
	for ; n > 0 && c.err == nil; n-- {
		start := c.pos
		c.valType()
		if at := c.pos; c.byte() > 1 {
			c.fail(at, "unknown mutability")
		}
		// An initialiser may name globals that stand before it; imported ones there are none.
		c.constExpr(m, m.globals, nil, 0)
		m.globals++
		m.globalExprs = append(m.globalExprs, span{start, c.pos})
	}
}

func (m *decoded) readExports(c *cursor, o *Options) {
	seen := map[string]bool{}
	for n := c.count("exports", o.Exports); n > 0 && c.err == nil; n-- {
		at := c.pos
		e := export{name: c.shortName(), kind: c.byte()}
		switch e.kind {
		case 0:
			e.index = c.declare(m)
		case 1:
			e.index = c.index("table", len(m.tables))
		case 2:
			e.index = c.index("memory", m.memories())
		case 3:
			e.index = c.index("global", m.globals)
		case 4:
			c.refuse(at, "exception handling", "exported tag")
		default:
			c.fail(at, "unknown kind %d of export", e.kind)
		}
		if seen[e.name] {
			c.fail(at, "export %q stands twice", e.name)
		}
		seen[e.name] = true
		m.exports = append(m.exports, e)
	}
}

// declare reads the index of a function that code may make references to from now on.
func (c *cursor) declare(m *decoded) uint32 {
	f := c.index("function", m.funcCount())
	if c.err == nil {
		m.declared[f] = struct{}{}
	}
	return f
}

func (m *decoded) memories() int {
	if m.memory == nil {
		return 0
	}
	return 1
}

func (m *decoded) readCode(c *cursor, o *Options) {
	at := c.pos
	n := c.count("function bodies", o.Functions)
	if c.err == nil && n != len(m.funcs) {
		c.fail(at, "%d function bodies for %d functions", n, len(m.funcs))
		return
	}
	m.code = make([]span, 0, n)
	for ; n > 0 && c.err == nil; n-- {
		at := c.pos
		size := c.u32()
		if c.err == nil && uint64(size) > uint64(o.Body) {
			c.fail(at, "function %d has a body of %d bytes, at most %d allowed", len(m.importTypes)+len(m.code), size, o.Body)
		}
		start := c.pos
		c.bytes(size)
		m.code = append(m.code, span{start, c.pos})
	}
}

func (m *decoded) readDatas(c *cursor, o *Options) {
	m.dataBody = c.b[c.pos:c.end]
	for n := c.count("data segments", o.Segments); n > 0 && c.err == nil; n-- {
		at := c.pos
		flag := c.u32()
		switch flag {
		case 0, 1:
		case 2:
			c.index("memory", m.memories())
		default:
			c.fail(at, "unknown flag %d of data segment", flag)
		}
		if flag != 1 {
			if c.err == nil && m.memory == nil {
				c.fail(at, "data segment without a memory")
			}
			c.constExpr(m, m.globals, nil, 0)
		}
		size := c.u32()
		c.bytes(size)
		if flag != 1 {
			size = 0
		}
		m.datas = append(m.datas, segment{length: size})
	}
}
