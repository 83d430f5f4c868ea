package wasm

import (
	"errors"
	"testing"

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
		{"poll_oneoff", 0, []uint64{0, 0, 1, 500}}, {"poll_oneoff", wasiFault, []uint64{0, 0, 1, far}},
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
