package wasm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm/asm"
	"github.com/weirproxy/weir/core/wasm/meter"
)

var errStub = errors.New("stub was called")

// tolerant answers 12 in the declared type for a known name, and traps for an unknown one.
func tolerant(im meter.Func, known *HostFunc) (HostFunc, bool) {
	if im.Name == "refused" {
		return HostFunc{}, false
	}
	if known == nil {
		return HostFunc{Fn: func(context.Context, api.Module, []uint64) { panic(errStub) }}, true
	}
	return HostFunc{Fn: func(_ context.Context, _ api.Module, s []uint64) {
		if len(im.Results) > 0 {
			s[0] = 12
		}
	}}, true
}

// TestLinkByImports loads what no fixed set of host functions could serve: names with other signatures, unknown names,
// and one name with several signatures.
func TestLinkByImports(t *testing.T) {
	var m asm.Module
	i32 := asm.T(asm.I32)
	seven := HostFunc{Module: "env", Name: "seven", Results: i32,
		Fn: func(_ context.Context, _ api.Module, s []uint64) { s[0] = 7 }}
	export := func(name string, results []byte, code ...[]byte) {
		m.Export(name, 0, m.Func(nil, results, nil, code...))
	}
	covered := m.Import("env", "seven", nil, i32)
	wide := m.Import("env", "seven", asm.T(asm.I32, asm.I64), asm.T(asm.I64))
	silent := m.Import("env", "seven", i32, nil)
	again := m.Import("env", "seven", nil, i32)
	taken := m.Import("env", "seven#1", asm.T(asm.Ext, asm.F64, asm.V128), asm.T(asm.I64, asm.V128))
	unknown := m.Import("elsewhere", "", nil, nil)
	write := m.Import("wasi_snapshot_preview1", "fd_write", asm.T(asm.I32, asm.I32, asm.I32, asm.I32), i32)
	odd := m.Import("wasi_snapshot_preview1", "fd_write", nil, i32)
	m.Memory(1, 1)
	export("covered", i32, asm.Call(covered))
	export("wide", asm.T(asm.I64), asm.Const32(1), asm.Const64(2), asm.Call(wide))
	export("silent", i32, asm.Const32(1), asm.Call(silent), asm.Const32(3))
	export("again", i32, asm.Call(again))
	export("taken", nil, asm.Op(0xd0, asm.Ext), asm.Op(0x44), make([]byte, 8), asm.Op(0xfd, 12), make([]byte, 16),
		asm.Call(taken), asm.Drop, asm.Drop)
	export("unknown", nil, asm.Call(unknown))
	export("write", i32, asm.Const32(9), asm.Const32(0), asm.Const32(0), asm.Const32(0), asm.Call(write))
	export("odd", i32, asm.Call(odd))
	mod := load(t, m.Bytes(), ModuleOptions{Host: []HostFunc{seven}, Missing: tolerant})
	const preview1 = "wasi_snapshot_preview1"
	want := []Link{{"env", "seven", Covered}, {"env", "seven", Adapted}, {"env", "seven", Adapted}, {"env", "seven#1", Stubbed},
		{"elsewhere", "", Stubbed}, {preview1, "fd_write", Covered}, {preview1, "fd_write", Adapted}}
	if got := mod.Links(); !slices.Equal(got, want) {
		t.Errorf("links\n got %v\nwant %v", got, want)
	}
	if s := Covered.String() + Adapted.String() + Stubbed.String(); s != "coveredadaptedstubbed" {
		t.Error(s)
	}
	in := start(t, mod)
	for _, c := range []struct {
		name string
		want uint64
	}{{"covered", 7}, {"wide", 12}, {"silent", 3}, {"again", 7}, {"write", wasiBadf}, {"odd", 12}} {
		stack := make([]uint64, 1)
		if err := in.Call(lookup(t, in, c.name), ms, stack); err != nil || stack[0] != c.want {
			t.Errorf("%s = %d, %v, want %d", c.name, stack[0], err, c.want)
		}
	}
	for _, name := range []string{"unknown", "taken"} {
		in := start(t, mod)
		if err := in.Call(lookup(t, in, name), ms, nil); !errors.Is(err, errStub) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLinkKnowsVariants: Host may list one name with several signatures, and Missing is told the first of them.
func TestLinkKnowsVariants(t *testing.T) {
	i32 := asm.T(asm.I32)
	give := func(v uint64) api.GoModuleFunc { return func(_ context.Context, _ api.Module, s []uint64) { s[0] = v } }
	hosts := []HostFunc{
		{Module: "env", Name: "f", Results: i32, Fn: give(1)},
		{Module: "env", Name: "f", Params: i32, Results: i32, Fn: give(2)},
	}
	var m asm.Module
	plain, one := m.Import("env", "f", nil, i32), m.Import("env", "f", i32, i32)
	two := m.Import("env", "f", asm.T(asm.I32, asm.I32), i32)
	m.Export("plain", 0, m.Func(nil, i32, nil, asm.Call(plain)))
	m.Export("one", 0, m.Func(nil, i32, nil, asm.Const32(0), asm.Call(one)))
	m.Export("two", 0, m.Func(nil, i32, nil, asm.Const32(0), asm.Const32(0), asm.Call(two)))
	var asked []string
	mod := load(t, m.Bytes(), ModuleOptions{Host: hosts, Missing: func(im meter.Func, known *HostFunc) (HostFunc, bool) {
		asked = append(asked, signature(im.Params, im.Results)+" instead of "+signature(known.Params, known.Results))
		return HostFunc{Fn: give(3)}, true
	}})
	if !slices.Equal(asked, []string{"(i32,i32)→(i32) instead of ()→(i32)"}) {
		t.Error(asked)
	}
	in := start(t, mod)
	for i, name := range []string{"plain", "one", "two"} {
		stack := make([]uint64, 1)
		if err := in.Call(lookup(t, in, name), ms, stack); err != nil || stack[0] != uint64(i+1) {
			t.Errorf("%s = %d, %v", name, stack[0], err)
		}
	}
}

func TestMissingMayRefuse(t *testing.T) {
	var m asm.Module
	m.Import("env", "stub", nil, nil)
	m.Import("env", "refused", nil, nil)
	hosts := []HostFunc{hostFunc("there", nil)}
	for _, missing := range []func(meter.Func, *HostFunc) (HostFunc, bool){tolerant,
		func(im meter.Func, _ *HostFunc) (HostFunc, bool) { return HostFunc{}, im.Name == "refused" }} {
		_, err := testEngine(t).Load(nocontext, m.Bytes(), ModuleOptions{Host: hosts, Missing: missing})
		if err == nil || !strings.HasSuffix(err.Error(), "env.refused is not offered") {
			t.Error(err)
		}
	}
	// The same module and functions, loaded once with a way out and once without.
	var one asm.Module
	one.Import("env", "stub", nil, nil)
	load(t, one.Bytes(), ModuleOptions{Host: hosts, Missing: tolerant})
	if _, err := testEngine(t).Load(nocontext, one.Bytes(), ModuleOptions{Host: hosts}); err == nil {
		t.Error("code linked by Missing was given to a load without it")
	}
}

// TestImportsThatAreNoFunctions are told what they are.
func TestImportsThatAreNoFunctions(t *testing.T) {
	for _, c := range []struct {
		kind []byte
		want string
	}{
		{asm.Op(1, asm.Func, 0, 1), "import env.x is a table, only functions may be imported at byte 11"},
		{asm.Op(2, 0, 1), "import env.x is a memory, only functions may be imported at byte 11"},
		{asm.Op(3, asm.I32, 0), "import env.x is a global, only functions may be imported at byte 11"},
		{asm.Op(4, 0, 0), "import env.x is a tag, only functions may be imported at byte 11"},
		{asm.Op(5), "import env.x is an unknown thing, only functions may be imported at byte 11"},
	} {
		content := asm.Cat(asm.U(1), asm.Op(3, 'e', 'n', 'v', 1, 'x'), c.kind)
		b := asm.Cat([]byte("\x00asm\x01\x00\x00\x00"), asm.Op(2), asm.U(uint32(len(content))), content)
		_, err := testEngine(t).Load(nocontext, b, ModuleOptions{Missing: tolerant})
		if err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
