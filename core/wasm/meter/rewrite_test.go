package meter_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm/asm"
	"github.com/weirproxy/weir/core/wasm/meter"
)

func TestRefused(t *testing.T) {
	body := func(code ...[]byte) []byte {
		var m asm.Module
		m.Memory(1, 1)
		m.Table(asm.Func, 1, 1)
		m.Func(nil, nil, nil, code...)
		return m.Bytes()
	}
	section := func(id byte, content ...byte) []byte {
		return append([]byte("\x00asm\x01\x00\x00\x00"), append([]byte{id, byte(len(content))}, content...)...)
	}
	tooLong := meter.Options{Module: 10}
	for _, c := range []struct {
		name string
		b    []byte
		o    meter.Options
		want string
	}{
		{"empty", nil, meter.Options{}, "no WebAssembly 1 header"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), meter.Options{}, "the component model is not supported"},
		{"too large", body(), tooLong, "bytes, at most 10 allowed at byte 10"},
		{"atomics", body(asm.Op(0xfe, 0x03, 0)), meter.Options{}, "threads is not supported"},
		{"shared memory", section(5, 1, 3, 1, 1), meter.Options{}, "threads is not supported"},
		{"memory64", section(5, 1, 4, 1), meter.Options{}, "memory64 is not supported"},
		{"two memories", section(5, 2, 0, 1, 0, 1), meter.Options{}, "multiple memories is not supported"},
		{"memory index", body(asm.Op(0x28, 0x42, 1, 0)), meter.Options{}, "multiple memories is not supported"},
		{"memory.grow 1", body(asm.Op(0x40, 1)), meter.Options{}, "multiple memories is not supported"},
		{"try", body(asm.Op(0x06, 0x40, 0x0b)), meter.Options{}, "exception handling is not supported"},
		{"tag section", section(13, 0), meter.Options{}, "exception handling is not supported"},
		{"return_call", body(asm.Op(0x12, 0)), meter.Options{}, "tail calls is not supported"},
		{"call_ref", body(asm.Op(0x14, 0)), meter.Options{}, "typed function references is not supported"},
		{"gc opcode", body(asm.Op(0xfb, 0)), meter.Options{}, "garbage collection is not supported"},
		{"struct type", section(1, 1, 0x5f, 0), meter.Options{}, "garbage collection is not supported"},
		{"ref type", section(1, 1, 0x60, 1, 0x63, 0), meter.Options{}, "typed function references is not supported"},
		{"exnref", section(1, 1, 0x60, 1, 0x69, 0), meter.Options{}, "exception handling is not supported"},
		{"anyref", section(1, 1, 0x60, 1, 0x6e, 0), meter.Options{}, "garbage collection is not supported"},
		{"value type", section(1, 1, 0x60, 1, 0x11, 0), meter.Options{}, "unknown value type 0x11"},
		{"relaxed simd", body(asm.Op(0xfd, 0x80, 0x02)), meter.Options{}, "relaxed SIMD is not supported"},
		{"vector hole", body(asm.Op(0xfd, 0x9a, 0x01)), meter.Options{}, "unknown opcode 0xfd 0x9a"},
		{"misc hole", body(asm.Op(0xfc, 0x12)), meter.Options{}, "unknown opcode 0xfc 0x12"},
		{"hole", body(asm.Op(0x27)), meter.Options{}, "unknown opcode 0x27 at byte"},
		{"extended const", section(6, 1, 0x7f, 0, 0x41, 1, 0x41, 1, 0x6a, 0x0b), meter.Options{}, "extended constant expressions is not supported"},
		{"imported memory", section(2, 1, 1, 'a', 1, 'b', 2, 0, 1), meter.Options{}, "import a.b is a memory"},
		{"imported tag", section(2, 1, 1, 'a', 1, 'b', 4, 0, 1), meter.Options{}, "import a.b is a tag"},
		{"section order", append(section(6, 0), section(1, 0)[8:]...), meter.Options{}, "out of order"},
		{"unknown section", section(14, 0), meter.Options{}, "unknown section 14"},
		{"left over", section(5, 0, 0), meter.Options{}, "left over"},
		{"short section", section(1, 1)[:9], meter.Options{}, "unexpected end"},
		{"huge count", section(1, 0xff, 0xff, 0x03), meter.Options{}, "types, at most"},
		{"count over bytes", section(1, 9, 0x60), meter.Options{}, "9 types in 1 bytes"},
		{"long integer", section(1, 0xff, 0xff, 0xff, 0xff, 0x1f), meter.Options{}, "integer too large"},
		{"local", body(asm.Get(0)), meter.Options{}, "local index 0 out of range"},
		{"global", body(asm.GlobalGet(0)), meter.Options{}, "global index 0 out of range"},
		{"function", body(asm.Call(1)), meter.Options{}, "function index 1 out of range"},
		{"label", body(asm.Br(1)), meter.Options{}, "label index 1 out of range"},
		{"type", body(asm.CallIndirect(1)), meter.Options{}, "type index 1 out of range"},
		{"block type", body(asm.Op(0x02, 0x05, 0x0b)), meter.Options{}, "type index 5 of block"},
		{"data without count", body(asm.Misc(0x09, 0)), meter.Options{}, "without a data count"},
		{"else", body(asm.Op(0x05)), meter.Options{}, "else without if"},
		{"body left over", body(asm.Op(0x0b)), meter.Options{}, "left over"},
		{"alignment", body(asm.Op(0x28, 0x20, 0)), meter.Options{}, "alignment"},
		{"body too long", body(make([]byte, 100)), meter.Options{Body: 50}, "function 0 has a body of 102 bytes, at most 50 allowed at byte 34"},
		{"table too large", func() []byte { var m asm.Module; m.Table(asm.Func, 70_000, -1); return m.Bytes() }(), meter.Options{}, "table starts with 70000"},
		{"tables", func() []byte {
			var m asm.Module
			for range 5 {
				m.Table(asm.Func, 1, 1)
			}
			return m.Bytes()
		}(), meter.Options{}, "5 tables, at most 4"},
		{"memory too large", func() []byte { var m asm.Module; m.Memory(2000, -1); return m.Bytes() }(), meter.Options{}, "memory starts with 2000 pages of 64 KiB, at most 1024"},
		{"memory over 4 GiB", func() []byte { var m asm.Module; m.Memory(1, 65537); return m.Bytes() }(), meter.Options{}, "over 65536"},
		{"limits", section(5, 1, 1, 5, 2), meter.Options{}, "below minimum"},
		{"locals", func() []byte {
			var m asm.Module
			m.Raw(nil, nil, append([]byte{1}, append(asm.U(1<<31), 0x7f, 0x0b)...))
			return m.Bytes()
		}(), meter.Options{}, "more than 10000 locals"},
		{"too many joins", func() []byte {
			var m asm.Module
			var locals, code []byte
			for range 1000 {
				locals = append(locals, asm.I32)
			}
			for range 3000 {
				code = append(code, asm.Block(asm.None)...)
			}
			m.Func(nil, nil, locals, code)
			return m.Bytes()
		}(), meter.Options{}, "function 0 is too complex: an effort of 3009001 to compile, at most 2097152 allowed at byte 24"},
		{"reserved import", func() []byte {
			var m asm.Module
			m.Import(meter.ImportModule, meter.ImportName, nil, nil)
			return m.Bytes()
		}(), meter.Options{}, "reserved"},
		{"start type", func() []byte {
			var m asm.Module
			m.Start(m.Func(asm.T(asm.I32), nil, nil))
			return m.Bytes()
		}(), meter.Options{}, "start function 0 has parameters"},
		{"double export", func() []byte {
			var m asm.Module
			f := m.Func(nil, nil, nil)
			m.Export("f", 0, f)
			m.Export("f", 0, f)
			return m.Bytes()
		}(), meter.Options{}, "stands twice"},
		{"export global", func() []byte {
			var m asm.Module
			m.Export("g", 3, 0)
			return m.Bytes()
		}(), meter.Options{}, "global index 0 out of range"},
		{"no bodies", section(3, 0)[:8], meter.Options{}, ""},
		{"bodies missing", append(section(1, 1, 0x60, 0, 0), 3, 2, 1, 0), meter.Options{}, "differ in length"},
		{"data without memory", section(11, 1, 0, 0x41, 0, 0x0b, 0), meter.Options{}, "without a memory"},
		{"data flag", section(11, 1, 7), meter.Options{}, "unknown flag 7"},
		{"elem flag", section(9, 1, 8), meter.Options{}, "unknown flag 8"},
		{"elem without table", section(9, 1, 0, 0x41, 0, 0x0b, 0), meter.Options{}, "without a table"},
		{"data count", append(section(12, 2), section(11, 0)[8:]...), meter.Options{}, "differ"},
		{"const expr", section(6, 1, 0x7f, 0, 0x20, 0x0b), meter.Options{}, "in a constant expression"},
		{"mutability", section(6, 1, 0x7f, 2, 0x41, 0, 0x0b), meter.Options{}, "mutability"},
		{"table initialiser", section(4, 1, 0x40, 0), meter.Options{}, "typed function references is not supported"},
		{"table of numbers", section(4, 1, 0x7f, 0, 0), meter.Options{}, "reference type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := meter.Rewrite(c.b, c.o)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var e *meter.Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

// bulk is a guest with all bulk operations behind exports of three i32 parameters, on a memory of 512 KiB with a
// pattern and a table of 20,000 entries, and with segments longer than a step.
func bulk() []byte {
	var m asm.Module
	p3 := asm.T(asm.I32, asm.I32, asm.I32)
	m.Memory(8, 8)
	m.Table(asm.Func, 20_000, 30_000)
	m.Table(asm.Ext, 10_000, 20_000)
	pattern := make([]byte, 200_000)
	for i := range pattern {
		pattern[i] = byte(i*7 + i>>8)
	}
	get := asm.Cat(asm.Get(0), asm.Get(1), asm.Get(2))
	two := m.Func(nil, asm.T(asm.I32), nil, asm.Const32(42))
	three := m.Func(nil, asm.T(asm.I32), nil, asm.Const32(43))
	m.Data(100_000, pattern)
	m.PassiveData(pattern)
	m.PassiveData(pattern[:100])
	var many []uint32
	for i := range 15_000 {
		many = append(many, two+uint32(i%2))
	}
	m.Elem(3, two, three)
	m.PassiveElem(many...)
	m.PassiveElem(three)
	export := func(name string, code ...[]byte) { m.Export(name, 0, m.Func(p3, nil, nil, code...)) }
	export("fill", get, asm.MemoryFill)
	export("copy", get, asm.MemoryCopy)
	export("init", get, asm.Misc(0x08, 1, 0))
	export("init_short", get, asm.Misc(0x08, 2, 0))
	export("init_active", get, asm.Misc(0x08, 0, 0))
	export("drop", asm.Misc(0x09, 1))
	export("tfill", asm.Get(0), asm.Op(0xd2), asm.U(three), asm.Get(2), asm.Misc(0x11, 0))
	export("tcopy", get, asm.Misc(0x0e, 0, 0))
	export("tinit", get, asm.Misc(0x0c, 1, 0))
	export("tdrop", asm.Misc(0x0d, 1))
	m.Export("tgrow", 0, m.Func(p3, asm.T(asm.I32), nil, asm.Op(0xd0, 0x70), asm.Get(0), asm.Misc(0x0f, 0)))
	m.Export("egrow", 0, m.Func(p3, asm.T(asm.I32), nil, asm.Op(0xd0, 0x6f), asm.Get(0), asm.Misc(0x0f, 1)))
	m.Export("efill", 0, m.Func(p3, nil, nil, asm.Get(0), asm.Op(0xd0, 0x6f), asm.Get(2), asm.Misc(0x11, 1)))
	m.Export("tsize", 0, m.Func(p3, asm.T(asm.I32), nil, asm.Misc(0x10, 0)))
	m.Export("grow", 0, m.Func(p3, asm.T(asm.I32), nil, asm.Get(0), asm.MemoryGrow))
	// A hash over which entries of the table are null, two or three.
	m.Export("thash", 0, m.Func(p3, asm.T(asm.I32), asm.T(asm.I32, asm.I32), asm.Loop(asm.None,
		asm.Get(4), asm.Const32(31), asm.Mul32,
		asm.Get(3), asm.Op(0x25, 0), asm.Op(0xd1), asm.IfElse(asm.I32, asm.Const32(1), asm.Cat(asm.Get(3), asm.CallIndirect(m.Type(nil, asm.T(asm.I32))))),
		asm.Add32, asm.Set(4),
		asm.Get(3), asm.Const32(1), asm.Add32, asm.Tee(3), asm.Misc(0x10, 0), asm.LtU32, asm.BrIf(0)), asm.Get(4)))
	m.RawElem(asm.Cat(asm.Op(3, 0), asm.U(2), asm.U(two), asm.U(three))) // declares them for ref.func
	return m.Bytes()
}

func TestBulkOperationsBehaveAlike(t *testing.T) {
	b := bulk()
	out, info, err := meter.Rewrite(b, meter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	type step struct {
		name    string
		a, b, n uint64
	}
	const k = 1 << 16
	for _, s := range []step{
		{"fill", 10, 7, 100}, {"fill", 3, 9, k}, {"fill", 3, 9, k + 1}, {"fill", 1, 8, 7*k + 5}, {"fill", 0, 8, 8 * k},
		{"fill", 1, 8, 8 * k}, {"fill", 8 * k, 1, 0}, {"fill", 8*k + 1, 1, 0}, {"fill", 0xffffffff, 1, 0xffffffff},
		{"copy", 0, 100_000, 200_000}, {"copy", 100_050, 100_000, 200_000}, {"copy", 100_000, 100_050, 200_000},
		{"copy", 5, 5, 3 * k}, {"copy", 165_536, 100_000, 131_073}, {"copy", 100_000, 165_536, 131_073},
		{"copy", 6 * k, 100_000, 3 * k}, {"copy", 100_000, 6 * k, 3 * k}, {"copy", 1, 0, 0xffffffff}, {"copy", 9 * k, 0, 0},
		{"init", 0, 0, 200_000}, {"init", 7, 1000, 3*k - 5}, {"init", 0, 0, 200_001}, {"init", 0, 200_000, 0},
		{"init", 5 * k, 0, 200_000}, {"init", 0, 150_000, k + 1}, {"init_short", 5, 5, 95}, {"init_short", 5, 6, 95},
		{"init_short", 5, 6, 3 * k}, {"init_active", 0, 0, 0}, {"init_active", 0, 0, 1},
		{"drop", 0, 0, 0}, {"tdrop", 0, 0, 0},
		{"tfill", 1, 0, 19_999}, {"tfill", 2, 0, 19_999}, {"tfill", 100, 0, 8193},
		{"tcopy", 100, 3, 2}, {"tinit", 100, 0, 15_000}, {"tinit", 10_000, 0, 15_000}, {"tinit", 0, 1, 15_000},
		{"tinit", 3, 100, 9000}, {"tgrow", 1000, 0, 0}, {"tgrow", 10_001, 0, 0}, {"tgrow", 0xffffffff, 0, 0}, {"tsize", 0, 0, 0},
		{"egrow", 10_000, 0, 0}, {"egrow", 10_001, 0, 0}, {"efill", 0, 0, 9999}, {"efill", 1, 0, 10_000},
		{"grow", 0, 0, 0}, {"grow", 1, 0, 0},
	} {
		follow := []step{s}
		switch s.name {
		case "drop":
			follow = []step{s, {"init", 0, 0, 0}, {"init", 0, 0, 3 * k}}
		case "tdrop":
			follow = []step{s, {"tinit", 0, 0, 0}, {"tinit", 0, 0, 10_000}}
		case "tinit":
			follow = []step{s, {"tcopy", 5000, 100, 14_000}, {"tcopy", 50, 5000, 14_000}, {"tcopy", 0, 1, 20_000}}
		}
		metered, err := newMachine(out, info.Imports, &info, 1<<40)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := newMachine(b, info.Imports, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range append(follow, step{"thash", 0, 0, 0}) {
			got, _ := metered.call(f.name, []uint64{f.a, f.b, f.n})
			want, _ := plain.call(f.name, []uint64{f.a, f.b, f.n})
			if got != want {
				t.Errorf("%v: metered %s, plain %s", f, got, want)
			}
		}
		metered.close()
		plain.close()
	}
}

// counter instantiates a rewritten module with so much fuel that the host is never asked.
func counter(t *testing.T, b []byte) (api.Module, func() int64) {
	t.Helper()
	ctx := context.Background()
	out, info, err := meter.Rewrite(b, meter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := wazero.NewRuntime(ctx)
	t.Cleanup(func() { r.Close(ctx) })
	calls := 0
	if _, err := r.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().WithFunc(func() { calls++ }).
		Export(meter.ImportName).Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	mod, err := r.Instantiate(ctx, out)
	if err != nil {
		t.Fatal(err)
	}
	fuel := mod.ExportedGlobal(info.Fuel).(api.MutableGlobal)
	fuel.Set(1 << 50)
	last := int64(1 << 50)
	return mod, func() int64 {
		if calls > 0 {
			t.Fatal("the host was asked for fuel")
		}
		used := last - int64(fuel.Get())
		last -= used
		return used
	}
}

// TestChargesFollowThePathTaken: a turn of a loop over a switch of 400 cases costs about one case, not all of them, and
// never less than what ran.
func TestChargesFollowThePathTaken(t *testing.T) {
	var m asm.Module
	const cases, per = 400, 50
	labels := make([]uint32, cases+1)
	for i := range labels {
		labels[i] = uint32(i)
	}
	work := []byte{}
	for range per / 5 {
		work = asm.Cat(work, asm.Get(1), asm.Const32(3), asm.Add32, asm.Set(1), asm.Op(0x01))
	}
	inner := asm.Cat(asm.Get(1), asm.Const32(cases), asm.Op(0x70), asm.BrTable(labels...))
	for i := range cases {
		// Behind the block of case i stand cases-1-i more blocks, then the one to leave by.
		inner = asm.Cat(asm.Block(asm.None, inner), work, asm.Br(uint32(cases-i)))
	}
	m.Export("run", 0, m.Func(asm.T(asm.I32), nil, asm.T(asm.I32),
		asm.Loop(asm.None, asm.Block(asm.None, asm.Block(asm.None, inner)),
			asm.Get(0), asm.Const32(1), asm.Sub32, asm.Tee(0), asm.BrIf(0))))
	mod, used := counter(t, m.Bytes())
	const turns = 10_000
	if _, err := mod.ExportedFunction("run").Call(context.Background(), turns); err != nil {
		t.Fatal(err)
	}
	if n := used() / turns; n < per*4/5 || n > per+600 {
		t.Errorf("%d fuel a turn of %d instructions", n, per)
	}
}

// TestLooks counts how often code that is out of fuel asks the host: branches of a function lower the fuel without a look
// until so much may have run between two, and those that call the host never do.
func TestLooks(t *testing.T) {
	var m asm.Module
	host := m.Import("env", "host", nil, nil)
	const branches, each = 3000, 300
	branch := func(code []byte) []byte {
		work := bytes.Repeat(asm.Cat(asm.Get(0), asm.Set(0)), each/2)
		return bytes.Repeat(asm.Cat(asm.Get(0), asm.If(asm.None, code, work)), branches)
	}
	m.Export("plain", 0, m.Func(asm.T(asm.I32), nil, nil, branch(nil)))
	m.Export("host", 0, m.Func(asm.T(asm.I32), nil, nil, branch(asm.Call(host))))
	out, info, err := meter.Rewrite(m.Bytes(), meter.Options{Body: 4 << 20, Effort: 1 << 24})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer r.Close(ctx)
	looks := 0
	_, err = r.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().WithFunc(func() { looks++ }).Export(meter.ImportName).Instantiate(ctx)
	if err == nil {
		_, err = r.NewHostModuleBuilder("env").NewFunctionBuilder().WithFunc(func() {}).Export("host").Instantiate(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	mod, err := r.Instantiate(ctx, out)
	if err != nil {
		t.Fatal(err)
	}
	fuel := mod.ExportedGlobal(info.Fuel).(api.MutableGlobal)
	for name, want := range map[string][2]int{"plain": {branches - 1<<18/each - 20, branches - 1<<18/each + 50}, "host": {branches - 2, branches + 100}} {
		looks = 0
		fuel.Set(^uint64(0))
		if _, err := mod.ExportedFunction(name).Call(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if looks < want[0] || looks > want[1] {
			t.Errorf("%s: %d looks, want %v", name, looks, want)
		}
		if burned := -int64(fuel.Get()); burned < branches*each {
			t.Errorf("%s: %d fuel for %d", name, burned, branches*each)
		}
	}
}

func TestEveryCycleCosts(t *testing.T) {
	var m asm.Module
	count := asm.Cat(asm.Get(0), asm.Const32(1), asm.Sub32, asm.Tee(0))
	export := func(name string, code ...[]byte) {
		m.Export(name, 0, m.Func(asm.T(asm.I32), nil, nil, code...))
	}
	export("loop", asm.Loop(asm.None, count, asm.BrIf(0)))
	export("loop from a branch", asm.Loop(asm.None, count, asm.If(asm.None, asm.Br(1))))
	export("loop by table", asm.Block(asm.None, asm.Loop(asm.None, count, asm.Eqz32, asm.BrTable(0, 1))))
	export("inner", asm.Loop(asm.None, asm.Loop(asm.None, count, asm.BrIf(1))))
	export("around", asm.Loop(asm.None, asm.Block(asm.None, asm.Get(0), asm.Op(0x45), asm.BrIf(0)), count, asm.BrIf(0)))
	self := m.Next()
	export("recursion", count, asm.If(asm.None, asm.Get(0), asm.Call(self)))
	mod, used := counter(t, m.Bytes())
	for name := range mod.ExportedFunctionDefinitions() {
		used()
		const turns = 1000
		if _, err := mod.ExportedFunction(name).Call(context.Background(), turns); err != nil {
			t.Fatal(err)
		}
		if n := used(); n < 5*turns {
			t.Errorf("%s: %d fuel for %d turns", name, n, turns)
		}
	}
}

// TestOneNameManyTypes: an engine binds imports by name, so a name that is imported with several types becomes several
// names, none of which the module imports for itself.
func TestOneNameManyTypes(t *testing.T) {
	var m asm.Module
	long := strings.Repeat("n", 4000)
	var params []byte
	for i := range 1000 {
		name := long
		if i%3 == 1 {
			name += "#" + strconv.Itoa(i)
		}
		if i%5 != 0 {
			params = append(params, asm.I32)
		}
		m.Import("env", name, params, nil)
	}
	out, info, err := meter.Rewrite(m.Bytes(), meter.Options{Values: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := validates(context.Background(), out); err != nil {
		t.Fatal(err)
	}
	type typed struct{ name, params string }
	names, types := map[string]typed{}, map[typed]string{}
	for _, im := range info.Imports {
		k := typed{im.Name, string(im.Params)}
		if old, ok := names[im.As]; ok && old != k {
			t.Fatalf("one name for two imports")
		}
		if old, ok := types[k]; ok && old != im.As {
			t.Fatalf("two names for one import")
		}
		names[im.As], types[k] = k, im.As
	}
	if len(names) < 700 {
		t.Errorf("%d names", len(names))
	}
}

func TestNamesAndIndices(t *testing.T) {
	var m asm.Module
	im := m.Import("env", "im", nil, nil)
	m.Table(asm.Func, 10, 10)
	ft := m.Type(nil, asm.T(asm.I32))
	ref := m.Global(asm.Func, false, asm.Op(0xd2, 2))
	f := m.Func(nil, nil, nil, asm.Call(im), asm.Unreachable)
	g := m.Func(nil, asm.T(asm.I32), nil, asm.Const32(77))
	set := m.Func(nil, nil, nil, asm.Const32(9), asm.GlobalGet(ref), asm.Op(0x26, 0))
	started := m.Global(asm.I32, true, asm.Const32(0))
	start := m.Func(nil, nil, nil, asm.Const32(1), asm.GlobalSet(started))
	m.Start(start)
	m.Export("weir:fuel", 0, g)
	m.Export("weir:start", 0, set)
	m.Export("f", 0, f)
	m.Export("im", 0, im)
	m.Export("started", 3, started)
	m.Export("at", 0, m.Func(asm.T(asm.I32), asm.T(asm.I32), nil, asm.Get(0), asm.CallIndirect(ft)))
	m.Elem(0, g)
	m.RawElem(asm.Cat(asm.Op(2, 0), asm.Const32(1), asm.Op(0x0b, 0), asm.U(1), asm.U(g)))
	m.RawElem(asm.Cat(asm.Op(4), asm.Const32(2), asm.Op(0x0b), asm.U(1), asm.Op(0xd2), asm.U(g), asm.Op(0x0b)))
	m.RawElem(asm.Cat(asm.Op(6, 0), asm.Const32(3), asm.Op(0x0b, 0x70), asm.U(1), asm.Op(0xd2), asm.U(g), asm.Op(0x0b)))
	m.RawElem(asm.Cat(asm.Op(5, 0x70), asm.U(1), asm.Op(0xd0, 0x70, 0x0b)))
	m.RawElem(asm.Cat(asm.Op(7, 0x70), asm.U(1), asm.Op(0xd2), asm.U(f), asm.Op(0x0b)))
	m.Custom("name", asm.Op(0, 2, 1, 'm', 1, 7, 2, 0, 1, 'i', 1, 1, 'f', 2, 1, 0))
	m.Custom("other", asm.Op(1, 2, 3))
	out, info, err := meter.Rewrite(m.Bytes(), meter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if info.Fuel == "weir:fuel" || info.Start == "weir:start" || info.Start == "" {
		t.Errorf("names clash: %+v", info)
	}
	mc, err := newMachine(out, info.Imports, &info, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	defer mc.close()
	if mc.mod.ExportedGlobal("started").Get() != 1 {
		t.Error("the start function did not run when asked to")
	}
	if _, err := mc.call("weir:start", nil); err != nil {
		t.Fatal(err)
	}
	for _, i := range []uint64{0, 1, 2, 3, 9} {
		if got, _ := mc.call("at", []uint64{i}); got != "[77] " {
			t.Errorf("table entry %d: %s", i, got)
		}
	}
	_, err = mc.mod.ExportedFunction("f").Call(context.Background())
	if err == nil || !strings.Contains(err.Error(), "m.f()") {
		t.Errorf("the stack trace has lost the name: %v", err)
	}
}

// hasCustom walks the sections of a module that has been accepted.
func hasCustom(b []byte) bool {
	for b = b[8:]; len(b) > 0; {
		size, n := binary.Uvarint(b[1:])
		if b[0] == 0 {
			return true
		}
		b = b[1+n+int(size):]
	}
	return false
}

func FuzzValidates(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(randomModule(seed))
	}
	f.Add(bulk()[:3000])
	f.Add([]byte("\x00asm\x01\x00\x00\x00"))
	for _, b := range corpus(f) {
		if len(b) < 4096 {
			f.Add(b)
		}
	}
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, b []byte) {
		out, _, err := meter.Rewrite(b, meter.Options{Locals: 500, MemoryPages: 16, TableEntries: 1000})
		if err != nil {
			return
		}
		if hasCustom(b) {
			return // wazero believes the lengths in a plain module's custom sections and asks for 40 GB; ours are checked
		}
		r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
		defer r.Close(ctx)
		_, before := r.CompileModule(ctx, b)
		_, after := r.CompileModule(ctx, out)
		if (before == nil) != (after == nil) {
			t.Fatalf("plain: %v\nrewritten: %v", before, after)
		}
	})
}
