package proxyabi

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// bare is a guest that hands every host function on to the test, under the name that the host has it by. What it does by itself
// is given as code; nil is nothing.
type bare struct {
	asm.Module
	host             map[string]uint32
	configure        []byte // its parameters are the context and the length
	tick             []byte // the context
	queue            []byte // the context and the queue
	done             []byte // the context; leaves the answer
	configureAnswers int32
}

// Places in a bare guest's memory.
const (
	outA, outB, outC = 16, 24, 32 // what host functions write to
	ticks, wakes     = 64, 72     // how often it was called
	taken            = 80         // entries that it has dequeued
	entry, size      = 88, 92     // the last of them: a wake-up may come between a test's call and its look at the result
	input            = 4 << 10    // what the test writes
	given            = 128 << 10  // what the allocator gives, always
)

func newBare() *bare {
	b := &bare{host: map[string]uint32{}, configureAnswers: 1}
	b.Memory(8, 8)
	for _, f := range functions {
		b.host[f.Name] = b.Import(f.Module, f.Name, f.Params, f.Results)
	}
	return b
}

func (b *bare) call(name string, args ...[]byte) []byte {
	return asm.Cat(asm.Cat(args...), asm.Call(b.host[name]))
}

// inc adds one to a word of memory.
func inc(at int32) []byte {
	return asm.Cat(asm.Const32(at), asm.Const32(at), asm.Load(0x28, 2, 0), asm.Const32(1), asm.Add32, asm.Load(0x36, 2, 0))
}

// take dequeues one entry of the queue that it was woken for, and counts it if there was one.
func (b *bare) take() []byte {
	return asm.Cat(b.call("proxy_dequeue_shared_queue", asm.Get(1), asm.Const32(entry), asm.Const32(size)), asm.Eqz32, asm.If(asm.None, inc(taken)))
}

func (b *bare) code() []byte {
	i := asm.I32
	b.Export("memory", 2, 0)
	for _, f := range functions {
		var args []byte
		for n := range f.Params {
			args = append(args, asm.Get(uint32(n))...)
		}
		b.Export(f.Name, 0, b.Func(f.Params, f.Results, nil, args, asm.Call(b.host[f.Name])))
	}
	b.Export("proxy_on_memory_allocate", 0, b.Func(asm.T(i), asm.T(i), nil, asm.Const32(given)))
	b.Export("proxy_on_configure", 0, b.Func(asm.T(i, i), asm.T(i), nil, b.configure, asm.Const32(b.configureAnswers)))
	b.Export("proxy_on_tick", 0, b.Func(asm.T(i), nil, asm.T(asm.I32), inc(ticks), b.tick))
	b.Export("proxy_on_queue_ready", 0, b.Func(asm.T(i, i), nil, nil, inc(wakes), b.queue))
	b.Export("proxy_on_request_headers", 0, b.Func(asm.T(i, i, i), asm.T(i), nil, asm.Const32(0)))
	if b.done != nil {
		b.Export("proxy_on_done", 0, b.Func(asm.T(i), asm.T(i), nil, b.done))
	}
	return b.Bytes()
}

// start opens a VM that is closed with the test.
func start(t testing.TB, code []byte, change ...func(*Options)) (*VM, *Plugin) {
	t.Helper()
	vm, p, err := tryStart(code, change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, vm, p) })
	return vm, p
}

func tryStart(code []byte, change ...func(*Options)) (*VM, *Plugin, error) {
	o := Options{Name: "test", Scope: "test", Log: zerolog.Nop(), Shards: 1, CPU: time.Second, Shared: NewShared()}
	for _, c := range change {
		c(&o)
	}
	return Open(context.Background(), engine, code, o, PluginOptions{Name: "test"})
}

func stop(t testing.TB, vm *VM, p *Plugin) {
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := vm.Close(); err != nil {
		t.Error(err)
	}
}

func with(s *Shared, scope string) func(*Options) {
	return func(o *Options) { o.Shared, o.Scope = s, scope }
}

func shards(n int) func(*Options) { return func(o *Options) { o.Shards = n } }

// logged has the VM log to a buffer.
func logged(b *bytes.Buffer, level zerolog.Level) func(*Options) {
	return func(o *Options) { o.Log = zerolog.New(b).Level(level) }
}

// handle calls host functions as a guest does, for a context of a shard.
type handle struct {
	t     testing.TB
	sh    *shard
	sc    *scope
	funcs map[string]*wasm.Func
}

// of is a handle on a shard, for its first root.
func of(t testing.TB, sh *shard) *handle {
	return &handle{t: t, sh: sh, sc: &sh.roots[0].scope, funcs: map[string]*wasm.Func{}}
}

func (vm *VM) shard(i int) *shard { return vm.shards[i].Load() }

// ask calls a host function. Strings are passed as pointer and length.
func (h *handle) ask(name string, args ...any) status {
	h.sh.mu.Lock()
	defer h.sh.mu.Unlock()
	var flat [8]uint64
	n, at := 0, uint64(input)
	for _, a := range args {
		switch v := a.(type) {
		case string:
			if !h.sh.in.Memory().WriteString(uint32(at), v) {
				h.t.Fatal("the guest has no room for it")
			}
			flat[n], flat[n+1] = at, uint64(len(v))
			at += uint64(len(v))
			n += 2
		case int:
			flat[n] = uint64(v)
			n++
		}
	}
	return h.enter(name, flat[:n]...)
}

// enter is ask for plain numbers, with the shard locked.
func (h *handle) enter(name string, args ...uint64) status {
	f := h.funcs[name]
	if f == nil {
		var err error
		if f, err = h.sh.in.Func(name); err != nil {
			h.t.Fatal(err)
		}
		h.funcs[name] = f
	}
	st, err := h.sh.enter(h.sc, f, time.Second, args...)
	if err != nil {
		h.t.Errorf("%s: %v", name, err)
	}
	return status(st)
}

// want is ask for a status that is known.
func (h *handle) want(want status, name string, args ...any) {
	h.t.Helper()
	if st := h.ask(name, args...); st != want {
		h.t.Errorf("%s%v: status %d, want %d", name, args, st, want)
	}
}

func (h *handle) word(at uint32) uint32 {
	h.sh.mu.Lock()
	defer h.sh.mu.Unlock()
	v, _ := h.sh.in.Memory().Uint32(at)
	return v
}

func (h *handle) long(at uint32) uint64 {
	h.sh.mu.Lock()
	defer h.sh.mu.Unlock()
	b, _ := h.sh.in.Memory().Read(at, 8)
	return binary.LittleEndian.Uint64(b)
}

// got is what a host function has given, by outA and outB.
func (h *handle) got() string {
	h.sh.mu.Lock()
	defer h.sh.mu.Unlock()
	m := h.sh.in.Memory()
	ptr, _ := m.Uint32(outA)
	n, _ := m.Uint32(outB)
	b, ok := m.Read(ptr, n)
	if !ok {
		h.t.Error("what was given lies outside memory")
	}
	return string(b)
}

func same[T comparable](t testing.TB, what string, have, want T) {
	t.Helper()
	if have != want {
		t.Errorf("%s\nhave %v\nwant %v", what, have, want)
	}
}
