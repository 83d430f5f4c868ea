package wasm

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/wasm/asm"
	"github.com/weirproxy/weir/core/wasm/meter"
)

func times(n int, code ...[]byte) []byte { return bytes.Repeat(asm.Cat(code...), n) }

// module builds a module with a memory and a table.
func module(build func(m *asm.Module)) []byte {
	var m asm.Module
	m.Memory(1, 1)
	m.Table(asm.Func, 10, 10)
	build(&m)
	return m.Bytes()
}

// limits: what a module may ask for is bounded before anything is compiled, and the error has the figure and the
// place.
func limits(t *testing.T) {
	section := func(id byte, content ...[]byte) []byte {
		c := asm.Cat(content...)
		return asm.Cat([]byte("\x00asm\x01\x00\x00\x00"), asm.Op(id), asm.U(uint32(len(c))), c)
	}
	none := func(*asm.Module) {}
	for _, c := range []struct {
		name string
		b    []byte
		o    ModuleOptions
		want string
	}{
		{"memory", func() []byte { var m asm.Module; m.Memory(1025, -1); return m.Bytes() }(), ModuleOptions{},
			"memory starts with 1025 pages of 64 KiB, at most 1024 allowed at byte 10"},
		{"table", func() []byte { var m asm.Module; m.Table(asm.Func, 65_537, -1); return m.Bytes() }(), ModuleOptions{},
			"table starts with 65537 entries, at most 65536 allowed at byte 11"},
		{"tables", module(func(m *asm.Module) {
			for range 4 {
				m.Table(asm.Ext, 0, -1)
			}
		}), ModuleOptions{}, "5 tables, at most 4 allowed at byte 10"},
		{"globals", module(func(m *asm.Module) {
			for range 4097 {
				m.Global(asm.I64, true, asm.Const64(0))
			}
		}), ModuleOptions{}, "4097 globals, at most 4096 allowed at byte 25"},
		{"data segments", module(func(m *asm.Module) {
			for range 65_537 {
				m.Data(0, nil)
			}
		}), ModuleOptions{}, "65537 data segments, at most 65536 allowed at byte 25"},
		{"data count", section(12, asm.U(65_537)), ModuleOptions{}, "65537 data segments, at most 65536 allowed at byte 10"},
		{"element segments", module(func(m *asm.Module) {
			for range 65_537 {
				m.Elem(0)
			}
		}), ModuleOptions{}, "65537 element segments, at most 65536 allowed at byte 25"},
		{"elements", module(func(m *asm.Module) {
			f := m.Func(nil, nil, nil)
			for range 5 {
				m.PassiveElem(bytes32(f, 60_000)...)
			}
		}), ModuleOptions{}, "element segments have more than 262144 entries together at byte 240056"},
		{"elements of one segment", module(func(m *asm.Module) {
			m.PassiveElem(bytes32(m.Func(nil, nil, nil), 65_537)...)
		}), ModuleOptions{}, "65537 elements, at most 65536 allowed at byte 38"},
		{"functions", module(func(m *asm.Module) {
			for range 65_537 {
				m.Func(nil, nil, nil)
			}
		}), ModuleOptions{}, "65537 functions, at most 65536 allowed at byte 18"},
		{"functions with imports", module(func(m *asm.Module) {
			m.Import("env", "f", nil, nil)
			for range 65_536 {
				m.Func(nil, nil, nil)
			}
		}), ModuleOptions{}, "65536 functions, at most 65535 allowed at byte 29"},
		{"body", module(func(m *asm.Module) { m.Func(nil, nil, nil, make([]byte, 1<<20)) }), ModuleOptions{},
			"function 0 has a body of 1048578 bytes, at most 1048576 allowed at byte 36"},
		{"locals", module(func(m *asm.Module) { m.Raw(nil, nil, asm.Cat(asm.U(1), asm.U(10_001), asm.Op(asm.I64, 0x0b))) }),
			ModuleOptions{}, "function 0 has more than 10000 locals at byte 36"},
		{"types", module(func(m *asm.Module) {
			for i := range 16_385 {
				m.Type(bytes.Repeat(asm.T(asm.I32), i%128), bytes.Repeat(asm.T(asm.I64), i/128))
			}
		}), ModuleOptions{}, "16385 types, at most 16384 allowed at byte 13"},
		{"parameters", module(func(m *asm.Module) { m.Type(bytes.Repeat(asm.T(asm.I32), 1001), nil) }), ModuleOptions{},
			"1001 parameters, at most 1000 allowed at byte 13"},
		{"results", module(func(m *asm.Module) { m.Type(nil, bytes.Repeat(asm.T(asm.I32), 1001)) }), ModuleOptions{},
			"1001 results, at most 1000 allowed at byte 14"},
		{"values of types", module(func(m *asm.Module) {
			for i := range 132 {
				m.Type(append(bytes.Repeat(asm.T(asm.I32), 999-i), bytes.Repeat(asm.T(asm.F32), i)...), nil)
			}
		}), ModuleOptions{}, "types have more than 131072 parameters and results together at byte 131407"},
		{"imports", module(func(m *asm.Module) {
			for range 1025 {
				m.Import("env", "f", nil, nil)
			}
		}), ModuleOptions{}, "1025 imports, at most 1024 allowed at byte 17"},
		{"name of an import", module(func(m *asm.Module) { m.Import("env", strings.Repeat("n", 4097), nil, nil) }), ModuleOptions{},
			"name of 4097 bytes, at most 4096 allowed at byte 22"},
		{"exports", module(func(m *asm.Module) {
			for i := range 65_537 {
				m.Export(strconv.Itoa(i), 2, 0)
			}
		}), ModuleOptions{}, "65537 exports, at most 65536 allowed at byte 25"},
		{"name of an export", module(func(m *asm.Module) { m.Export(strings.Repeat("n", 4097), 2, 0) }), ModuleOptions{},
			"name of 4097 bytes, at most 4096 allowed at byte 25"},
		{"module", append(module(none), make([]byte, 33<<20)...), ModuleOptions{}, "module of 34603029 bytes, at most 33554432 allowed at byte 33554432"},
		{"nested blocks", module(func(m *asm.Module) {
			m.Func(nil, nil, nil, times(32_768, asm.Op(0x02, 0x40)), times(32_768, asm.Op(0x0b)))
		}), ModuleOptions{}, "blocks nested deeper than 32768 at byte 65574"},
		{"labels of br_table", module(func(m *asm.Module) {
			m.Func(nil, nil, nil, asm.Const32(0), asm.BrTable(make([]uint32, 65_538)...))
		}), ModuleOptions{}, "65537 labels, at most 65536 allowed at byte 43"},
		{"basic blocks", module(func(m *asm.Module) {
			m.Func(nil, nil, nil, times(17_000, asm.Const32(0), asm.BrIf(0)))
		}), ModuleOptions{}, "function 0 has 17003 basic blocks, at most 16384 allowed at byte 39"},
		{"effort of one function", module(func(m *asm.Module) {
			m.Func(nil, nil, nil, times(300_000, asm.Const32(0), asm.Drop), times(28_000, asm.Const32(0), asm.CallIndirect(0)))
		}), ModuleOptions{}, "function 0 is too complex: an effort of 2980001 to compile, at most 2097152 allowed at byte 39"},
		{"effort of all functions", module(func(m *asm.Module) {
			body := asm.Cat(asm.U(0), times(20_000, asm.Const32(0), asm.CallIndirect(0)), asm.Op(0x0b))
			for range 100 {
				m.Raw(nil, nil, body)
			}
		}), ModuleOptions{}, "functions up to 78 are too complex together: an effort of 134741452 to compile, at most 134217728 allowed at byte 7800529"},
		{"custom section of gigabytes", asm.Cat(module(none), asm.Op(0), asm.U(3<<30), []byte{4, 'n', 'a', 'm', 'e'}), ModuleOptions{},
			"unexpected end: 3221225472 bytes wanted, 5 left at byte 27"},
		{"section twice", append(section(1, asm.U(0)), section(1, asm.U(0))[8:]...), ModuleOptions{}, "type section stands twice at byte 11"},
		{"sections out of order", append(section(2, asm.U(0)), section(1, asm.U(0))[8:]...), ModuleOptions{}, "type section out of order at byte 11"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := testEngine(t).Load(nocontext, c.b, c.o)
			if err == nil || !strings.HasSuffix(err.Error(), ": "+c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func bytes32(v uint32, n int) []uint32 {
	s := make([]uint32, n)
	for i := range s {
		s[i] = v
	}
	return s
}

// tableStops: a table without a maximum, and one with a larger one than allowed, grow to the cap and no
// further.
func tableStops(t *testing.T) {
	for _, declared := range []int64{-1, 1 << 30} {
		var m asm.Module
		m.Table(asm.Func, 0, declared)
		m.Export("grow", 0, m.Func(asm.T(asm.I32), asm.T(asm.I32), nil, asm.Op(0xd0, asm.Func), asm.Get(0), asm.Misc(0x0f, 0)))
		in := start(t, load(t, m.Bytes(), ModuleOptions{Limits: meter.Options{TableEntries: 1000}}))
		grow := lookup(t, in, "grow")
		for _, c := range [][2]uint64{{1001, 1<<32 - 1}, {1<<32 - 1, 1<<32 - 1}, {1000, 0}, {1, 1<<32 - 1}, {0, 1000}} {
			stack := []uint64{c[0]}
			if err := in.Call(grow, 100*ms, stack); err != nil || uint64(uint32(stack[0])) != c[1] {
				t.Errorf("maximum %d: growing by %d gave %d, %v", declared, c[0], stack[0], err)
			}
		}
	}
}

// manyImports: an error names twenty imports at most.
func manyImports(t *testing.T) {
	var m asm.Module
	for i := range 1000 {
		m.Import("env", strings.Repeat("n", 1000)+strconv.Itoa(i), nil, nil)
	}
	_, err := testEngine(t).Load(nocontext, m.Bytes(), ModuleOptions{})
	if err == nil || len(err.Error()) > 25_000 || !strings.HasSuffix(err.Error(), "; 980 more") {
		t.Errorf("%.100v", err)
	}
}
