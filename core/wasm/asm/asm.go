// Package asm assembles small WebAssembly modules by hand. It serves tests, which so need no toolchain, and the
// engine's calibration; it checks nothing, so that tests can build what is wrong.
package asm

// Value types.
const (
	I32  byte = 0x7f
	I64  byte = 0x7e
	F32  byte = 0x7d
	F64  byte = 0x7c
	V128 byte = 0x7b
	Func byte = 0x70
	Ext  byte = 0x6f
	None byte = 0x40 // a block without a result
)

// T is a list of value types.
func T(t ...byte) []byte { return t }

// Module is a module being built. The zero value is an empty module. All imports must be added before the first
// function, because they share one index space.
type Module struct {
	types, imports, funcs, tables, memories, globals, exports, elems, codes, datas [][]byte

	start     int
	customs   []byte
	dataCount bool
}

func uleb(v uint64) []byte {
	var b []byte
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func sleb(v int64) []byte {
	var b []byte
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func vec(b []byte) []byte { return append(uleb(uint64(len(b))), b...) }

func name(s string) []byte { return vec([]byte(s)) }

// Cat joins instructions.
func Cat(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// Type returns the index of a function type.
func (m *Module) Type(params, results []byte) uint32 {
	t := Cat([]byte{0x60}, vec(params), vec(results))
	for i, u := range m.types {
		if string(u) == string(t) {
			return uint32(i)
		}
	}
	m.types = append(m.types, t)
	return uint32(len(m.types) - 1)
}

// Import adds an imported function and returns its index.
func (m *Module) Import(mod, fn string, params, results []byte) uint32 {
	m.imports = append(m.imports, Cat(name(mod), name(fn), []byte{0}, uleb(uint64(m.Type(params, results)))))
	return uint32(len(m.imports) - 1)
}

// Next is the index the next function will get.
func (m *Module) Next() uint32 { return uint32(len(m.imports) + len(m.funcs)) }

// Func adds a function and returns its index. The closing end is added.
func (m *Module) Func(params, results, locals []byte, code ...[]byte) uint32 {
	f := m.Next()
	m.funcs = append(m.funcs, uleb(uint64(m.Type(params, results))))
	body := uleb(uint64(len(locals)))
	for _, l := range locals {
		body = append(body, 1, l)
	}
	body = append(Cat(body, Cat(code...)), 0x0b)
	m.codes = append(m.codes, vec(body))
	return f
}

// Raw adds a function with a body as it stands, locals included.
func (m *Module) Raw(params, results, body []byte) uint32 {
	f := m.Next()
	m.funcs = append(m.funcs, uleb(uint64(m.Type(params, results))))
	m.codes = append(m.codes, vec(body))
	return f
}

// Export exports index i of a kind: 0 function, 1 table, 2 memory, 3 global.
func (m *Module) Export(n string, kind byte, i uint32) {
	m.exports = append(m.exports, Cat(name(n), []byte{kind}, uleb(uint64(i))))
}

func limits(min uint32, max int64) []byte {
	if max < 0 {
		return append([]byte{0}, uleb(uint64(min))...)
	}
	return Cat([]byte{1}, uleb(uint64(min)), uleb(uint64(max)))
}

// Memory adds a memory; a negative max leaves it open.
func (m *Module) Memory(min uint32, max int64) { m.memories = append(m.memories, limits(min, max)) }

// Table adds a table; a negative max leaves it open.
func (m *Module) Table(elem byte, min uint32, max int64) {
	m.tables = append(m.tables, append([]byte{elem}, limits(min, max)...))
}

// Global adds a global and returns its index.
func (m *Module) Global(t byte, mutable bool, init []byte) uint32 {
	mut := byte(0)
	if mutable {
		mut = 1
	}
	m.globals = append(m.globals, append(Cat([]byte{t, mut}, init), 0x0b))
	return uint32(len(m.globals) - 1)
}

// Elem adds an active segment of functions at offset off of table 0.
func (m *Module) Elem(off int32, fs ...uint32) {
	b := Cat([]byte{0}, Const32(off), []byte{0x0b}, uleb(uint64(len(fs))))
	for _, f := range fs {
		b = append(b, uleb(uint64(f))...)
	}
	m.elems = append(m.elems, b)
}

// RawElem adds an element segment as it stands.
func (m *Module) RawElem(b []byte) { m.elems = append(m.elems, b) }

// PassiveElem adds a passive segment of functions.
func (m *Module) PassiveElem(fs ...uint32) {
	b := Cat([]byte{1, 0}, uleb(uint64(len(fs))))
	for _, f := range fs {
		b = append(b, uleb(uint64(f))...)
	}
	m.elems = append(m.elems, b)
}

// Data adds an active data segment.
func (m *Module) Data(off int32, b []byte) {
	m.datas = append(m.datas, Cat([]byte{0}, Const32(off), []byte{0x0b}, vec(b)))
}

// PassiveData adds a passive data segment, and the data count section that names it need.
func (m *Module) PassiveData(b []byte) {
	m.datas = append(m.datas, Cat([]byte{1}, vec(b)))
	m.dataCount = true
}

// Start makes function f the start function.
func (m *Module) Start(f uint32) { m.start = int(f) + 1 }

// Custom adds a custom section at the end.
func (m *Module) Custom(n string, b []byte) {
	m.customs = Cat(m.customs, []byte{0}, vec(Cat(name(n), b)))
}

// Bytes is the module in the binary format.
func (m *Module) Bytes() []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, items [][]byte) {
		if len(items) > 0 {
			b = Cat(b, []byte{id}, vec(Cat(uleb(uint64(len(items))), Cat(items...))))
		}
	}
	section(1, m.types)
	section(2, m.imports)
	section(3, m.funcs)
	section(4, m.tables)
	section(5, m.memories)
	section(6, m.globals)
	section(7, m.exports)
	if m.start > 0 {
		b = Cat(b, []byte{8}, vec(uleb(uint64(m.start-1))))
	}
	section(9, m.elems)
	if m.dataCount {
		b = Cat(b, []byte{12}, vec(uleb(uint64(len(m.datas)))))
	}
	section(10, m.codes)
	section(11, m.datas)
	return append(b, m.customs...)
}
