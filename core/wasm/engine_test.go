package wasm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirproxy/weir/core/wasm/asm"
	"github.com/weirproxy/weir/core/wasm/folder"
	"github.com/weirproxy/weir/core/wasm/meter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func traps(t *testing.T) {
	boom := errors.New("boom")
	hosts := []HostFunc{
		hostFunc("boom", func(*Instance) { panic(boom) }),
		hostFunc("crash", func(in *Instance) { var p *int; *p = 1 }),
		hostFunc("again", func(in *Instance) {
			f, err := in.Func("loop_again")
			if err == nil {
				err = in.Call(f, 0, nil)
			}
			if err != nil {
				panic(err)
			}
		}),
		hostFunc("swallow", func(in *Instance) {
			f, _ := in.Func("unreachable")
			_ = in.Call(f, 0, nil)
		}),
	}
	m := load(t, hostile("boom", "crash", "again", "swallow"), ModuleOptions{Host: hosts, Memory: 4 << 20})
	for _, c := range []struct {
		fn    string
		is    error
		text  string
		stack string
	}{
		{"unreachable", nil, "unreachable", ".$"},
		{"div0", nil, "integer divide by zero", ".$"},
		{"oob", nil, "out of bounds memory access", ".$"},
		{"badcall", nil, "invalid table access", ".$"},
		{"recurse", ErrDepth, "too deep", ".$"},
		{"oom", ErrMemory, "out of memory", ".$"},
		{"call_boom", boom, "boom", "env.boom"},
		{"call_crash", nil, "nil pointer", "env.crash"},
		{"call_again", ErrDepth, "too deep", ""},
		{"call_swallow", nil, "unreachable", ""},
		{"loop_swallow", nil, "unreachable", ""},
		{"spin", ErrBudget, "budget", ".$"},
	} {
		t.Run(c.fn, func(t *testing.T) {
			in := start(t, m)
			f := lookup(t, in, c.fn)
			budget := time.Second
			if c.is == ErrBudget {
				budget = 20 * ms
			}
			err := in.Call(f, budget, nil)
			var trap *Trap
			if !errors.As(err, &trap) || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(trap.Stack, c.stack) {
				t.Errorf("stack is %q", trap.Stack)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has lines: %q", err)
			}
			if !in.Broken() || in.Call(lookup(t, in, "noop"), ms, nil) != err {
				t.Error("a trapped instance can still be called")
			}
		})
	}
}

// deepRecursion measures what the engine allocates for stacks, by frames that keep values in locals,
// on the operand stack and across many calls.
func deepRecursion(t *testing.T) {
	var m asm.Module
	self := m.Next()
	m.Export("thin", 0, m.Func(nil, nil, nil, asm.Call(self)))
	one := m.Func(nil, asm.T(asm.I64), nil, asm.Const64(1))
	// Hundreds of results held on the operand stack over a recursive call.
	self = m.Next()
	var hold, add []byte
	for range 400 {
		hold = append(hold, asm.Call(one)...)
		add = append(add, asm.Add64...)
	}
	m.Export("held", 0, m.Func(nil, asm.T(asm.I64), nil, asm.Const64(0), hold, asm.Call(self), add, asm.Add64))
	// Hundreds of locals set before and read after it.
	self = m.Next()
	var locals, set, get []byte
	for i := range uint32(400) {
		locals = append(locals, asm.I64)
		set = append(set, asm.Cat(asm.Call(one), asm.Set(i))...)
		get = append(get, asm.Cat(asm.Get(i), asm.Add64)...)
	}
	m.Export("locals", 0, m.Func(nil, asm.T(asm.I64), locals, set, asm.Call(self), get))
	// One local written again and again, each value alive over one call.
	self = m.Next()
	var chain []byte
	for range 400 {
		chain = append(chain, asm.Cat(asm.Get(0), asm.Call(one), asm.Add64, asm.Set(0))...)
	}
	m.Export("chain", 0, m.Func(nil, asm.T(asm.I64), asm.T(asm.I64), chain, asm.Call(self), asm.Get(0), asm.Add64))
	mod := load(t, m.Bytes(), ModuleOptions{})
	for _, name := range []string{"thin", "held", "locals", "chain"} {
		in := start(t, mod)
		f := lookup(t, in, name)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := in.Call(f, time.Second, []uint64{0})
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrDepth) {
			t.Errorf("%s: %v", name, err)
		}
		// Stacks double: what was allocated in all is under twice the last one.
		all := after.TotalAlloc - before.TotalAlloc
		t.Logf("%s: %d KiB allocated", name, all>>10)
		if all > 17<<20 {
			t.Errorf("%s: %d bytes of stacks", name, all)
		}
	}
}

func linkErrors(t *testing.T) {
	var m asm.Module
	m.Import("env", "there", nil, nil)
	m.Import("env", "other", asm.T(asm.I32), nil)
	m.Import("env", "missing", nil, nil)
	m.Import("wasi_snapshot_preview1", "fd_write", asm.T(asm.I32), asm.T(asm.I32))
	m.Import("wasi_unstable", "nothing", nil, nil)
	_, err := testEngine(t).Load(nocontext, m.Bytes(), ModuleOptions{Name: "f", Host: []HostFunc{
		hostFunc("there", nil), hostFunc("other", nil)}})
	want := "load module f: link imports: env.other has type ()→(), the module wants (i32)→(); env.missing is not offered; " +
		"wasi_snapshot_preview1.fd_write has type (i32,i32,i32,i32)→(i32), the module wants (i32)→(i32); " +
		"wasi_unstable.nothing is not offered"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestLoadRefuses(t *testing.T) {
	var big asm.Module
	big.Memory(32, -1)
	var bad asm.Module
	bad.Func(nil, asm.T(asm.I32), nil)
	var oob asm.Module
	oob.Memory(1, 1)
	oob.Data(65_536, []byte{1})
	for _, c := range []struct {
		b    []byte
		want string
	}{
		{[]byte("no"), "no WebAssembly 1 header"},
		{big.Bytes(), "memory starts with 32 pages of 64 KiB, at most 16 allowed"},
		{bad.Bytes(), "invalid function[0]"},
	} {
		_, err := testEngine(t).Load(nocontext, c.b, ModuleOptions{Memory: 1 << 20})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	if _, err := load(t, oob.Bytes(), ModuleOptions{}).Instantiate(nocontext, InstanceOptions{}); err == nil {
		t.Error("a data segment outside the memory was taken")
	}
}

func TestModulesShareCode(t *testing.T) {
	e, err := OpenEngine(Options{Rate: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	hosts := []HostFunc{hostFunc("a", func(*Instance) {})}
	b := hostile("a")
	m1, err := e.Load(nocontext, b, ModuleOptions{Host: hosts})
	if err != nil {
		t.Fatal(err)
	}
	m2, _ := e.Load(nocontext, b, ModuleOptions{Host: hosts, Env: []string{"A=b"}})
	m3, _ := e.Load(nocontext, b, ModuleOptions{Host: hosts, Memory: 1 << 20})
	if m1.code != m2.code || m1.code == m3.code {
		t.Error("code is not shared by content and limits")
	}
	in, err := m1.Instantiate(nocontext, InstanceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m1.Close()
	m1.Close()
	m2.Close()
	m3.Close()
	if err := e.Close(); err == nil {
		t.Error("an engine with an open instance closed without a word")
	}
	if err := in.Call(lookup(t, in, "noop"), ms, nil); err != nil {
		t.Errorf("an instance does not outlive its module: %v", err)
	}
	in.Close()
	in.Close()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if _, err := e.Load(nocontext, b, ModuleOptions{}); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if _, err := m1.Instantiate(nocontext, InstanceOptions{}); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if err := in.Call(&Func{}, ms, nil); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if _, err := in.Func("noop"); !errors.Is(err, errClosed) {
		t.Error(err)
	}
}

func TestCacheOnDisk(t *testing.T) {
	dir := t.TempDir()
	e, err := OpenEngine(Options{CacheDir: dir, Rate: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	use := func() {
		t.Helper()
		m, err := e.Load(nocontext, hostile(), ModuleOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		in, err := m.Instantiate(nocontext, InstanceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if err := in.Call(lookup(t, in, "noop"), ms, nil); err != nil {
			t.Error(err)
		}
	}
	use()
	var files []string
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, p)
		}
		return err
	})
	if len(files) == 0 {
		t.Fatal("nothing was cached")
	}
	use()
	for _, f := range files {
		if err := os.WriteFile(f, []byte("spoilt"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	use()
	if _, err := OpenEngine(Options{CacheDir: files[0]}); err == nil {
		t.Error("a file was taken for the cache directory")
	}
}

// Who may write where compiled code lies could have any code run.
func TestSharedCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "wasm")
	open := func() error {
		_, err := OpenEngine(Options{CacheDir: dir, Rate: 10_000})
		return err
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	below, _ := filepath.Glob(filepath.Join(dir, "wazero-*"))
	if len(below) != 1 {
		t.Fatal(below)
	}
	for _, at := range []string{filepath.Dir(dir), dir, below[0]} {
		for _, mode := range []os.FileMode{0o770, 0o702} {
			if err := os.Chmod(at, mode); err != nil {
				t.Fatal(err)
			}
			if err := open(); !errors.Is(err, folder.ErrShared) {
				t.Errorf("%s with %v: %v", at, mode, err)
			}
		}
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(); err != nil {
		t.Error(err)
	}
}

func TestLoadWaitsNoLongerThanContext(t *testing.T) {
	e := &Engine{compile: make(chan struct{}, 1), codes: map[codeKey]*code{}, rate: 1}
	e.compile <- struct{}{}
	ctx, cancel := context.WithCancel(nocontext)
	cancel()
	if _, err := e.Load(ctx, hostile(), ModuleOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestStockGoGuest(t *testing.T) {
	b := stockGo(t)
	m := load(t, b, ModuleOptions{})
	in := start(t, m)
	t.Logf("start cost %v, memory %d KiB", in.CPU(), in.Memory().Size()>>10)
	work := lookup(t, in, "work")
	before := in.CPU()
	stack := []uint64{1000}
	for range 3 {
		stack[0] = 1000
		if err := in.Call(work, 100*ms, stack); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("three calls cost %v", in.CPU()-before)
	rec := lookup(t, in, "recurse")
	stack[0] = 500
	if err := in.Call(rec, time.Second, stack); err != nil || int32(stack[0]) != 2*500+1 {
		t.Errorf("recursion of 500 levels in a Go guest: %v %d", err, stack[0])
	}
	if err := in.Call(work, ms, nil); !errors.Is(err, errShortStack) {
		t.Error(err)
	}
	deepest := uint64(0)
	for n := uint64(600); n <= 9000; n += 300 {
		stack[0] = n
		if err := in.Call(rec, time.Second, stack); err != nil {
			t.Logf("%d levels: %v", n, err)
			break
		}
		deepest = n
	}
	t.Logf("a Go guest marshals JSON %d levels deep", deepest)
	spinning := start(t, m)
	if err := spinning.Call(lookup(t, spinning, "spin"), 20*ms, nil); !errors.Is(err, ErrBudget) {
		t.Error(err)
	}
}

func TestSetupAndReady(t *testing.T) {
	type state struct{ seen []string }
	hosts := []HostFunc{hostFunc("note", func(in *Instance) {
		s := (*state)(in.Host)
		s.seen = append(s.seen, "guest")
	})}
	var m asm.Module
	note := m.Import("env", "note", nil, nil)
	f := m.Func(nil, nil, nil, asm.Call(note))
	m.Start(f)
	m.Export("_initialize", 0, f)
	mod := load(t, m.Bytes(), ModuleOptions{Host: hosts})
	s := &state{}
	in, err := mod.Instantiate(nocontext, InstanceOptions{
		Setup: func(in *Instance) error { in.Host = unsafePointer(s); s.seen = append(s.seen, "setup"); return nil },
		Ready: func(in *Instance) error { s.seen = append(s.seen, "ready"); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	if got := strings.Join(s.seen, " "); got != "setup guest guest ready" {
		t.Error(got)
	}
	no := errors.New("no")
	for _, o := range []InstanceOptions{
		{Setup: func(*Instance) error { return no }},
		{Setup: func(in *Instance) error { in.Host = unsafePointer(s); return nil }, Ready: func(*Instance) error { return no }},
	} {
		if _, err := mod.Instantiate(nocontext, o); !errors.Is(err, no) {
			t.Error(err)
		}
	}
}

// TestLoadUnloadIsFlat: compiled code, memory and descriptors come back.
func TestLoadUnloadIsFlat(t *testing.T) {
	b := hostile()
	cycle := func() {
		e := testEngine(t)
		m, err := e.Load(nocontext, b, ModuleOptions{})
		if err != nil {
			t.Fatal(err)
		}
		in, err := m.Instantiate(nocontext, InstanceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Call(lookup(t, in, "noop"), ms, nil); err != nil {
			t.Fatal(err)
		}
		in.Close()
		m.Close()
	}
	n := 200
	if testing.Short() {
		n = 50
	}
	for range n / 2 {
		cycle()
	}
	staysFlat(t, func() {
		for range n {
			cycle()
		}
	})
}

func manyFunctions(t *testing.T) {
	var long asm.Module
	var code []byte
	for range 60_000 {
		code = append(code, asm.Cat(asm.Get(0), asm.Const32(3), asm.Add32, asm.Set(0))...)
	}
	long.Export("f", 0, long.Func(asm.T(asm.I32), asm.T(asm.I32), nil, code, asm.Get(0)))
	in := start(t, load(t, long.Bytes(), ModuleOptions{}))
	stack := []uint64{1}
	if err := in.Call(lookup(t, in, "f"), ms, stack); err != nil || stack[0] != 180_001 {
		t.Error(err, stack[0])
	}
	var many asm.Module
	for range 100_000 {
		many.Func(nil, nil, nil)
	}
	if _, err := testEngine(t).Load(nocontext, many.Bytes(), ModuleOptions{}); err == nil || !strings.Contains(err.Error(), "100000 functions") {
		t.Error(err)
	}
}

func TestModuleInfo(t *testing.T) {
	m := load(t, hostile(), ModuleOptions{Name: "h", Memory: 1 << 20})
	if m.Name() != "h" || !m.Exports("spin") || m.Exports("weir:fuel") || !m.Info().Memory {
		t.Errorf("%+v", m.Info())
	}
	in := start(t, m)
	if in.Module() != m || in.Memory().Size() != meter.PageSize || in.Uses() != 0 {
		t.Error("instance does not know itself")
	}
	if _, err := in.Func("none"); err == nil {
		t.Error("found an export that is not there")
	}
	if d, ok := in.Deadline(); ok || !d.IsZero() || in.Done() != nil || in.Err() != nil || in.Value(1) != nil {
		t.Error("an instance is a context without anything")
	}
	f := lookup(t, in, "noop")
	if f.Params() != 0 || f.Results() != 0 {
		t.Error("arity")
	}
	if FromContext(nocontext) != nil || FromContext(in) != in {
		t.Error("FromContext")
	}
}
