package wasm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/weirproxy/weir/core/wasm/asm"
)

func TestWASI(t *testing.T) {
	var m asm.Module
	m.Memory(1, 1)
	type fn struct {
		name   string
		params int
	}
	var mods []fn
	for i := range wasi {
		w := &wasi[i]
		var ps []byte
		for _, p := range w.params {
			if p == 'I' {
				ps = append(ps, asm.I64)
			} else {
				ps = append(ps, asm.I32)
			}
		}
		var rs []byte
		if w.name != "proc_exit" {
			rs = asm.T(asm.I32)
		}
		mod := "wasi_snapshot_preview1"
		if i%2 == 0 {
			mod = "wasi_unstable"
		}
		m.Export(w.name, 0, m.Import(mod, w.name, ps, rs))
		mods = append(mods, fn{w.name, len(ps)})
	}
	// An imported function exported again is called without rewritten code; so wrap what is under test.
	wrap := func(name string, i uint32, n uint32, results []byte) {
		var ps, code []byte
		for j := range n {
			t := asm.I32
			if wasi[i].params[j] == 'I' {
				t = asm.I64
			}
			ps = append(ps, t)
			code = append(code, asm.Get(j)...)
		}
		m.Export("w_"+name, 0, m.Func(ps, results, nil, code, asm.Call(i)))
	}
	for i, f := range mods {
		rs := asm.T(asm.I32)
		if f.name == "proc_exit" {
			rs = nil
		}
		wrap(f.name, uint32(i), uint32(f.params), rs)
	}
	type line struct {
		fd   int
		text string
	}
	var lines []line
	mod := load(t, m.Bytes(), ModuleOptions{Env: []string{"A=b", "CC=dd"}, Args: []string{"guest"},
		Log: func(fd int, b []byte) { lines = append(lines, line{fd, string(b)}) }})
	in := start(t, mod)
	mem := in.Memory()
	call := func(name string, args ...uint64) uint32 {
		t.Helper()
		stack := make([]uint64, 10)
		copy(stack, args)
		if err := in.Call(lookup(t, in, "w_"+name), ms, stack); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return uint32(stack[0])
	}
	word := func(off uint32) uint32 { v, _ := mem.Uint32(off); return v }
	const far = 65_535
	for _, c := range []struct {
		name  string
		errno uint32
		args  []uint64
	}{
		{"environ_sizes_get", 0, []uint64{0, 4}}, {"environ_sizes_get", wasiFault, []uint64{far, 4}},
		{"environ_get", 0, []uint64{8, 100}}, {"environ_get", wasiFault, []uint64{8, far}},
		{"args_sizes_get", 0, []uint64{16, 20}}, {"args_get", 0, []uint64{24, 200}}, {"args_get", wasiFault, []uint64{far, 0}},
		{"clock_time_get", 0, []uint64{0, 0, 32}}, {"clock_time_get", 0, []uint64{1, 0, 40}},
		{"clock_time_get", wasiNotsup, []uint64{2, 0, 40}}, {"clock_time_get", wasiFault, []uint64{1, 0, far}},
		{"clock_res_get", 0, []uint64{0, 48}}, {"clock_res_get", wasiNotsup, []uint64{3, 48}}, {"clock_res_get", wasiFault, []uint64{1, far}},
		{"random_get", 0, []uint64{300, 32}}, {"random_get", wasiInval, []uint64{0, 65_537}}, {"random_get", wasiFault, []uint64{1, 65_536}},
		{"random_get", wasiInval, []uint64{0xffffffff, 0xffffffff}}, {"random_get", 0, []uint64{300, 0}},
		{"fd_fdstat_get", 0, []uint64{1, 400}}, {"fd_fdstat_get", wasiBadf, []uint64{3, 400}}, {"fd_fdstat_get", wasiFault, []uint64{1, far}},
		{"fd_close", 0, []uint64{0}}, {"fd_close", wasiBadf, []uint64{9}}, {"fd_prestat_get", wasiBadf, []uint64{3, 0}},
		{"poll_oneoff", 0, []uint64{600, 700, 1, 500}}, {"poll_oneoff", wasiFault, []uint64{600, 700, 1, far}},
		{"sched_yield", 0, nil}, {"path_open", wasiNoent, nil}, {"fd_read", wasiNosys, nil}, {"sock_recv", wasiNotsup, nil},
	} {
		if got := call(c.name, c.args...); got != c.errno {
			t.Errorf("%s%v = %d, want %d", c.name, c.args, got, c.errno)
		}
	}
	if word(0) != 2 || word(4) != 10 || word(16) != 1 || word(20) != 6 {
		t.Error("sizes")
	}
	if p, _ := mem.Read(word(12), 6); string(p) != "CC=dd\x00" {
		t.Errorf("environment %q", p)
	}
	if p, _ := mem.Read(word(24), 6); string(p) != "guest\x00" {
		t.Errorf("arguments %q", p)
	}
	write := func(fd uint64, parts ...string) uint32 {
		at := uint32(2000)
		for i, p := range parts {
			mem.PutUint32(uint32(1000+8*i), at)
			mem.PutUint32(uint32(1004+8*i), uint32(len(p)))
			mem.WriteString(at, p)
			at += uint32(len(p))
		}
		return call("fd_write", fd, 1000, uint64(len(parts)), 996)
	}
	long := make([]byte, 5000)
	for i := range long {
		long[i] = 'x'
	}
	write(1, "one\ntw", "o\n\nthree")
	write(2, string(long), "\n")
	if write(3, "x") != wasiBadf || call("fd_write", 1, 1000, 2000, 996) != wasiInval || call("fd_write", 1, far, 1, 996) != wasiFault ||
		call("fd_write", 1, 1000, 1, far) != wasiFault {
		t.Error("fd_write takes what it should not")
	}
	mem.Write(0, bytes.Repeat([]byte("\n"), 3000))
	for i := range uint32(8) {
		mem.PutUint32(4000+8*i, 0)
		mem.PutUint32(4004+8*i, 300)
	}
	if call("fd_write", 2, 4000, 8, 3996) != 0 || word(3996) != wasiLinesMost {
		t.Errorf("a write of many lines wrote %d", word(3996))
	}
	mem.Write(0, make([]byte, 3000))
	mem.PutUint32(1000, 0)
	mem.PutUint32(1004, 65_536)
	mem.PutUint32(1008, 0)
	mem.PutUint32(1012, 65_536)
	if call("fd_write", 2, 1000, 2, 996) != 0 || word(996) != 65_536 {
		t.Errorf("a long write wrote %d", word(996))
	}
	exit := lookup(t, in, "w_proc_exit")
	err := in.Call(exit, ms, []uint64{7})
	if want := (Exit{7}); !errors.Is(err, want) {
		t.Error(err)
	}
	lines = append([]line{}, lines[:5]...)
	in.Close()
	for i, want := range []line{{1, "one"}, {1, "two"}, {1, ""}, {2, string(long[:4096])}, {2, string(long[4096:])}} {
		if lines[i] != want {
			t.Errorf("line %d is %v", i, lines[i])
		}
	}
}

// wasiErrno lists every function of preview 1 with what it answers when all arguments are out of range.
var wasiErrno = map[string]uint32{
	"args_get": 0, "args_sizes_get": wasiFault, "environ_get": 0, "environ_sizes_get": wasiFault,
	"clock_res_get": wasiNotsup, "clock_time_get": wasiNotsup, "random_get": wasiInval, "poll_oneoff": wasiInval,
	"sched_yield": 0, "proc_raise": wasiNosys,
	"fd_advise": wasiBadf, "fd_allocate": wasiBadf, "fd_close": wasiBadf, "fd_datasync": wasiBadf, "fd_fdstat_get": wasiBadf,
	"fd_fdstat_set_flags": wasiBadf, "fd_fdstat_set_rights": wasiBadf, "fd_filestat_get": wasiBadf,
	"fd_filestat_set_size": wasiBadf, "fd_filestat_set_times": wasiBadf, "fd_pread": wasiBadf, "fd_prestat_get": wasiBadf,
	"fd_prestat_dir_name": wasiBadf, "fd_pwrite": wasiBadf, "fd_read": wasiNosys, "fd_readdir": wasiBadf,
	"fd_renumber": wasiBadf, "fd_seek": wasiNosys, "fd_sync": wasiNosys, "fd_tell": wasiBadf, "fd_write": wasiBadf,
	"path_create_directory": wasiNoent, "path_filestat_get": wasiNotsup, "path_filestat_set_times": wasiNoent,
	"path_link": wasiNoent, "path_open": wasiNoent, "path_readlink": wasiNoent, "path_remove_directory": wasiNoent,
	"path_rename": wasiNoent, "path_symlink": wasiNoent, "path_unlink_file": wasiNoent,
	"sock_accept": wasiNotsup, "sock_recv": wasiNotsup, "sock_send": wasiNotsup, "sock_shutdown": wasiNotsup,
}

// TestWASIWhole holds our functions against another implementation's list of names and types, under both module names,
// and calls every one with garbage.
func TestWASIWhole(t *testing.T) {
	r := wazero.NewRuntimeWithConfig(nocontext, wazero.NewRuntimeConfigInterpreter())
	defer r.Close(nocontext)
	other, err := wasi_snapshot_preview1.NewBuilder(r).Compile(nocontext)
	if err != nil {
		t.Fatal(err)
	}
	names := other.ExportedFunctions()
	if len(names) != len(wasi) || len(names) != len(wasiErrno)+1 {
		t.Errorf("%d functions offered, %d listed, %d known", len(wasi), len(wasiErrno)+1, len(names))
	}
	for _, module := range []string{"wasi_snapshot_preview1", "wasi_unstable"} {
		for name, d := range names {
			t.Run(module+"."+name, func(t *testing.T) { garbage(t, module, name, d) })
		}
	}
	for _, module := range []string{"wasi_snapshot_preview2", ""} {
		if _, ok := wasiFunc(module, "fd_write"); ok {
			t.Errorf("%q offers fd_write", module)
		}
	}
}

func garbage(t *testing.T, module, name string, d api.FunctionDefinition) {
	params, results := d.ParamTypes(), d.ResultTypes()
	h, ok := wasiFunc(module, name)
	if !ok || !slices.Equal(h.Params, params) || !slices.Equal(h.Results, results) {
		t.Fatalf("offered %v with %s, want %s", ok, signature(h.Params, h.Results), signature(params, results))
	}
	var m asm.Module
	f := m.Import(module, name, params, results)
	m.Memory(1, 1)
	var get []byte
	for i := range params {
		get = append(get, asm.Get(uint32(i))...)
	}
	m.Export("f", 0, m.Func(params, results, nil, get, asm.Call(f)))
	mod := load(t, m.Bytes(), ModuleOptions{Env: nil, Args: nil})
	for _, v := range []uint64{1<<64 - 1, 1<<32 - 1, 1<<32 - 8, 1 << 31, 1 << 16, 1<<16 - 1, 1<<16 - 8, 1 << 10, 3, 2, 1, 0} {
		in := start(t, mod)
		stack := make([]uint64, max(len(params), 1))
		for i := range stack {
			stack[i] = v
		}
		err := in.Call(lookup(t, in, "f"), ms, stack)
		errno, listed := wasiErrno[name]
		switch {
		case name == "proc_exit":
			if want := (Exit{uint32(v)}); !errors.Is(err, want) {
				t.Errorf("%#x: %v", v, err)
			}
		case err != nil || uint32(stack[0]) > 76:
			t.Errorf("%#x: errno %d, %v", v, stack[0], err)
		case !listed || v == 1<<64-1 && uint32(stack[0]) != errno:
			t.Errorf("%#x: errno %d, want %d", v, stack[0], errno)
		}
		in.Close()
	}
}

// TestWASIPoll asks for a clock, an output and what is no descriptor at once, with the subscriptions of either module.
func TestWASIPoll(t *testing.T) {
	for module, size := range map[string]uint32{"wasi_snapshot_preview1": 48, "wasi_unstable": 56} {
		t.Run(module, func(t *testing.T) {
			var m asm.Module
			i32 := asm.T(asm.I32)
			poll := m.Import(module, "poll_oneoff", asm.T(asm.I32, asm.I32, asm.I32, asm.I32), i32)
			m.Memory(1, 1)
			m.Export("poll", 0, m.Func(asm.T(asm.I32), i32, nil, asm.Const32(1000), asm.Const32(8000), asm.Get(0), asm.Const32(500), asm.Call(poll)))
			in := start(t, load(t, m.Bytes(), ModuleOptions{}))
			mem := in.Memory()
			kinds, fds := []byte{0, 2, 2, 1, 2, 9}, []uint32{1, 1, 2, 0, 7, 1}
			for i := range kinds {
				at := 1000 + uint32(i)*size
				mem.PutUint64(at, uint64(i)+0xabcdef0102030000)
				mem.Write(at+8, kinds[i:i+1])
				mem.PutUint32(at+16, fds[i])
				if kinds[i] == 0 {
					mem.PutUint64(at+size-24, 1<<60) // a time far off: nobody waits for it
				}
			}
			stack := []uint64{uint64(len(kinds))}
			if err := in.Call(lookup(t, in, "poll"), 100*ms, stack); err != nil || uint32(stack[0]) != 0 {
				t.Fatalf("errno %d, %v", stack[0], err)
			}
			if n, _ := mem.Uint32(500); int(n) != len(kinds) {
				t.Fatalf("%d events", n)
			}
			for i, want := range []byte{0, 0, 0, wasiBadf, wasiBadf, wasiBadf} {
				e, _ := mem.Read(8000+uint32(i)*wasiEvent, wasiEvent)
				if binary.LittleEndian.Uint64(e) != uint64(i)+0xabcdef0102030000 || e[8] != want || e[10] != kinds[i] {
					t.Errorf("event %d: %x", i, e)
				}
			}
			for n, errno := range map[uint64]uint32{0: 0, wasiPollMost: 0, wasiPollMost + 1: wasiInval, 1<<32 - 1: wasiInval} {
				stack[0] = n
				if err := in.Call(lookup(t, in, "poll"), 100*ms, stack); err != nil || uint32(stack[0]) != errno {
					t.Errorf("%d subscriptions: errno %d, %v", n, stack[0], err)
				}
			}
		})
	}
}

// TestHostWorkIsCharged: calls that make the host work end a guest's slice by what they cost, not by their few
// instructions.
func TestHostWorkIsCharged(t *testing.T) {
	for _, c := range []struct {
		name string
		args []int32
		most int // calls in a budget of 5 ms
	}{
		{"random_get", []int32{0, 65_536}, 5000}, {"fd_write", []int32{1, 1000, 1, 996}, 5000},
		{"poll_oneoff", []int32{2000, 10_000, 1024, 500}, 5000},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m asm.Module
			f := m.Import("wasi_snapshot_preview1", c.name, slices.Repeat([]byte{asm.I32}, len(c.args)), asm.T(asm.I32))
			count := m.Import("env", "count", nil, nil)
			m.Memory(2, 2)
			var code []byte
			for _, a := range c.args {
				code = append(code, asm.Const32(a)...)
			}
			m.Export("f", 0, m.Func(nil, nil, nil, asm.Loop(asm.None, code, asm.Call(f), asm.Drop, asm.Call(count), asm.Br(0))))
			calls := 0
			in := start(t, load(t, m.Bytes(), ModuleOptions{Log: func(int, []byte) {}, Host: []HostFunc{hostFunc("count", func(*Instance) { calls++ })}}))
			in.Memory().PutUint32(1004, 65_536)
			if err := in.Call(lookup(t, in, "f"), 5*ms, nil); !errors.Is(err, ErrBudget) {
				t.Fatal(err)
			}
			if t.Logf("%d calls", calls); calls > c.most {
				t.Errorf("%d calls of %s in 5 ms", calls, c.name)
			}
		})
	}
}

func TestExitInStart(t *testing.T) {
	for code, ok := range map[int32]bool{0: true, 3: false} {
		var m asm.Module
		exit := m.Import("wasi_snapshot_preview1", "proc_exit", asm.T(asm.I32), nil)
		m.Memory(1, 1)
		m.Export("_start", 0, m.Func(nil, nil, nil, asm.Const32(code), asm.Call(exit)))
		m.Export("f", 0, m.Func(nil, nil, nil))
		in, err := load(t, m.Bytes(), ModuleOptions{}).Instantiate(nocontext, InstanceOptions{})
		if ok != (err == nil) {
			t.Errorf("exit %d: %v", code, err)
		}
		if err == nil {
			if err := in.Call(lookup(t, in, "f"), ms, nil); err != nil {
				t.Error(err)
			}
			in.Close()
		} else if !errors.Is(err, Exit{3}) {
			t.Error(err)
		}
	}
	var m asm.Module
	m.Export("_start", 0, m.Func(asm.T(asm.I32), nil, nil))
	if _, err := load(t, m.Bytes(), ModuleOptions{}).Instantiate(nocontext, InstanceOptions{}); err == nil {
		t.Error("_start with a parameter was run")
	}
}
