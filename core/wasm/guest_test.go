package wasm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm/asm"
)

var sharedEngine = sync.OnceValues(func() (*Engine, error) { return OpenEngine(Options{}) })

func testEngine(t testing.TB) *Engine {
	t.Helper()
	e, err := sharedEngine()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func load(t testing.TB, b []byte, o ModuleOptions) *Module {
	t.Helper()
	m, err := testEngine(t).Load(context.Background(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func start(t testing.TB, m *Module) *Instance {
	t.Helper()
	in, err := m.Instantiate(context.Background(), InstanceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.Close)
	return in
}

func lookup(t testing.TB, in *Instance, name string) *Func {
	t.Helper()
	f, err := in.Func(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var nocontext = context.Background()

const ms = time.Millisecond

var spin = asm.Loop(asm.None, asm.Br(0))

// hostFunc is a host function without parameters.
func hostFunc(name string, fn func(*Instance)) HostFunc {
	return HostFunc{Module: "env", Name: name, Fn: api.GoModuleFunc(func(ctx context.Context, _ api.Module, _ []uint64) {
		fn(FromContext(ctx))
	})}
}

// hostile is a guest with one way to misbehave behind each export.
func hostile(hosts ...string) []byte {
	var m asm.Module
	var imported []uint32
	for _, h := range hosts {
		imported = append(imported, m.Import("env", h, nil, nil))
	}
	m.Memory(1, -1)
	m.Table(asm.Func, 1, -1)
	none := asm.T()
	add := func(name string, locals []byte, code ...[]byte) uint32 {
		f := m.Func(none, none, locals, code...)
		m.Export(name, 0, f)
		return f
	}
	for i, h := range hosts {
		add("call_"+h, none, asm.Call(imported[i]))
		add("loop_"+h, none, asm.Loop(asm.None, asm.Call(imported[i]), asm.Br(0)))
	}
	add("noop", none)
	add("spin", none, spin)
	add("work", asm.T(asm.I32), asm.Loop(asm.None, asm.Get(0), asm.Const32(1), asm.Add32, asm.Tee(0),
		asm.Const32(50_000), asm.LtU32, asm.BrIf(0)))
	self := m.Next()
	add("recurse", none, asm.Call(self))
	self = m.Next()
	f := m.Func(asm.T(asm.I32), asm.T(asm.I32), nil, asm.Get(0), asm.Const32(1), asm.Add32, asm.Call(self),
		asm.Get(0), asm.Add32)
	add("recurse_live", none, asm.Const32(0), asm.Call(f), asm.Drop)
	add("fill", none, asm.Const32(512), asm.MemoryGrow, asm.Drop,
		asm.Loop(asm.None, asm.Const32(0), asm.Const32(7), asm.Const32(32<<20), asm.MemoryFill, asm.Br(0)))
	add("copy", none, asm.Const32(512), asm.MemoryGrow, asm.Drop,
		asm.Loop(asm.None, asm.Const32(16), asm.Const32(0), asm.Const32(32<<20), asm.MemoryCopy, asm.Br(0)))
	add("grow", none, asm.Loop(asm.None, asm.Const32(1), asm.MemoryGrow, asm.Drop, asm.Br(0)))
	add("grow_touch", asm.T(asm.I32), asm.Loop(asm.None,
		asm.Const32(1), asm.MemoryGrow, asm.Tee(0), asm.Const32(-1), asm.Op(0x47),
		asm.If(asm.None, asm.Get(0), asm.Const32(16), asm.Op(0x74), asm.Get(0), asm.Load(0x36, 2, 0)), asm.Br(0)))
	add("tablegrow", none, asm.Loop(asm.None, asm.Op(0xd0, 0x70), asm.Const32(1<<20), asm.Misc(0x0f, 0), asm.Drop,
		asm.Op(0xd0, 0x70), asm.Const32(1), asm.Misc(0x0f, 0), asm.Drop, asm.Br(0)))
	random := func(op []byte) []byte {
		// x = x·1664525 + 1013904223; touch memory at x>>6 within 64 MiB
		return asm.Loop(asm.None, asm.Get(0), asm.Const32(1664525), asm.Mul32, asm.Const32(1013904223), asm.Add32, asm.Tee(0),
			asm.Const32(6), asm.Op(0x76), op, asm.Br(0))
	}
	add("loads", asm.T(asm.I32), asm.Const32(1023), asm.MemoryGrow, asm.Drop,
		random(asm.Cat(asm.Load(0x28, 0, 0), asm.Drop)))
	add("stores", asm.T(asm.I32), asm.Const32(1023), asm.MemoryGrow, asm.Drop,
		random(asm.Cat(asm.Const32(1), asm.Load(0x3a, 0, 0))))
	add("divide", asm.T(asm.I64), asm.Const64(1), asm.Set(0), asm.Loop(asm.None,
		asm.Const64(0x7fffffffffffffff), asm.Get(0), asm.Op(0x7f), asm.Const64(3), asm.Op(0x84), asm.Set(0), asm.Br(0)))
	add("unreachable", none, asm.Unreachable)
	add("div0", none, asm.Const32(1), asm.Const32(0), asm.Op(0x6d), asm.Drop)
	add("oob", none, asm.Const32(-1), asm.Load(0x28, 2, 0), asm.Drop)
	add("badcall", none, asm.Const32(0), asm.CallIndirect(0))
	add("oom", none, asm.Loop(asm.None, asm.Const32(64), asm.MemoryGrow, asm.Const32(-1), asm.Op(0x47), asm.BrIf(0)),
		asm.Unreachable)
	return m.Bytes()
}

var goGuest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "weir-guest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./meter/testdata/goguest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if _, err := cmd.CombinedOutput(); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
})

func stockGo(t testing.TB) []byte {
	t.Helper()
	b, err := goGuest()
	if err != nil {
		t.Fatalf("stock Go cannot build the guest: %v", err)
	}
	return b
}

func unsafePointer[T any](p *T) unsafe.Pointer { return unsafe.Pointer(p) }
