package inspect

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/http-wasm/http-wasm-host-go/tck"

	"github.com/weirproxy/weir/core/wasm/asm"
)

// i32s is so many of them.
func i32s(n int) []byte { return bytes.Repeat([]byte{asm.I32}, n) }

// look inspects a module, and prints it with figures that are the same on every machine.
func look(t *testing.T, code []byte, o Options) (*Report, string) {
	t.Helper()
	r := Inspect(context.Background(), code, o)
	if r.Loads != (r.Error == "") || r.Loads && r.Cost == nil || (r.Trial != nil) != (r.Cost != nil) {
		t.Errorf("loads is %v, %q, %v", r.Loads, r.Error, r.Cost)
	}
	if r.Cost != nil {
		if r.Cost.Compile <= 0 || r.Cost.CPU < 0 {
			t.Errorf("%+v", r.Cost)
		}
		r.Cost.Compile, r.Cost.CPU = 412*time.Millisecond, 3400*time.Microsecond
	}
	r.SHA256 = "…"
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	return r, b.String()
}

func same(t *testing.T, have, want string) {
	t.Helper()
	if have != strings.TrimPrefix(want, "\n") {
		t.Errorf("have:\n%s\nwant:%s", have, want)
	}
}

// odd is a Proxy-Wasm guest with something of everything.
func odd() []byte {
	var m asm.Module
	m.Import("env", "proxy_log", i32s(3), i32s(1))
	m.Import("env", "proxy_grpc_call", i32s(10), i32s(1))
	m.Import("env", "proxy_continue_request", nil, nil)
	m.Import("env", "proxy_redis_call", i32s(5), i32s(1))
	m.Import("env", "trace", i32s(4), nil)
	m.Import("env", "\x1b[2Jno", nil, nil)
	m.Import("env", "proxy_set_tick_period_milliseconds", i32s(1), i32s(1))
	m.Import("wasi_snapshot_preview1", "path_open", []byte{asm.I32, asm.I32, asm.I32, asm.I32, asm.I32, asm.I64, asm.I64, asm.I32, asm.I32}, i32s(1))
	m.Import("wasi_unstable", "fd_write", i32s(4), i32s(1))
	m.Memory(2, 16)
	m.Export("memory", 2, 0)
	action := func(n int) uint32 { return m.Func(i32s(n), i32s(1), nil, asm.Const32(0)) }
	m.Export("proxy_abi_version_0_2_1", 0, m.Func(nil, nil, nil))
	m.Export("proxy_on_context_create", 0, m.Func(i32s(2), nil, nil))
	m.Export("proxy_on_request_headers", 0, action(3))
	m.Export("proxy_on_request_body", 0, action(3))
	m.Export("proxy_on_log", 0, m.Func(i32s(1), nil, nil))
	m.Export("proxy_on_new_connection", 0, action(1))
	m.Export("proxy_on_downstream_data", 0, action(3))
	m.Export("proxy_on_downstream_connection_close", 0, m.Func(i32s(2), nil, nil))
	return m.Bytes()
}

// A module may be made up to make much of itself: what is told of it is not much larger than it is.
func TestMadeLarge(t *testing.T) {
	var m asm.Module
	wide := bytes.Repeat([]byte{asm.I32, asm.I64}, 10_000)
	for i := range 2000 {
		m.Import("env", "f"+strconv.Itoa(i), wide, nil)
	}
	m.Export("handle_request", 0, m.Func(nil, asm.T(asm.I64), nil, asm.Const64(1)))
	code := m.Bytes()
	r := Inspect(context.Background(), code, Options{})
	b, err := json.Marshal(r)
	if err != nil || len(r.Imports) != 2000 || r.Loads || len(b) > 32*len(code) {
		t.Errorf("%d imports, %d bytes of JSON for %d, %v", len(r.Imports), len(b), len(code), err)
	}
	if want := "(" + strings.Repeat("i32,i64,", 15) + "i32,i64,… 20000 in all)→()"; r.Imports[0].Wants != want {
		t.Errorf("%.300s", r.Imports[0].Wants)
	}
}

func TestProxyWasm(t *testing.T) {
	r, text := look(t, odd(), Options{})
	same(t, text, `
  built for   Proxy-Wasm 0.2.1
  made with   nothing that tells
  size        581 bytes: 8 functions in 33 bytes of code, 0 bytes of data
  sha256      …
  memory      128 KiB at first, 1.0 MiB at most
  start       compiled in 412ms; an instance starts in 3.4ms of CPU time and has 128 KiB of memory then
  trial       it served a request made up to try it

Takes part in:
  request headers        proxy_on_request_headers
  request body           proxy_on_request_body
  log                    proxy_on_log (which does nothing)

Imports 9 functions: 4 covered, 2 adapted, 3 stubbed:
  adapted                env.proxy_grpc_call is (i32×12)→(i32) and declared as (i32×10)→(i32): calls of it fail
  adapted                env.proxy_continue_request: it ignores the result
  stubbed                env.proxy_redis_call: calls of it fail
  stubbed                env.trace: calls of it fail
  stubbed                env.?[2Jno: calls of it fail

Asks for, by what it imports; SDKs import much that a filter never uses:
  gRPC calls             to the upstreams that its key calls lists, and nowhere else (proxy_grpc_call)
  Redis                  there is none for filters: calls fail (proxy_redis_call)
  files                  there are none: calls fail (path_open)
  timers                 its ticks spend its own CPU budget (proxy_set_tick_period_milliseconds)
  standard output        lines go to weir's log (fd_write)

Will not work here, if it is used:
  connection             weir has no TCP filters (proxy_on_new_connection, proxy_on_downstream_data)
`)
	if len(r.Unserved) != 5 || r.Unserved[1].What != "import env.proxy_grpc_call" {
		t.Errorf("%+v", r.Unserved)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"abi":"proxy-wasm","abi_version":"0.2.1"`, `"start":{"compile_ns":412000000,"cpu_ns":3400000,"memory_bytes":131072}`, `"loads":true`,
		`{"module":"env","name":"proxy_grpc_call","met":"adapted","wants":"(i32×10)→(i32)","has":"(i32×12)→(i32)"}`,
		`{"name":"request headers","export":"proxy_on_request_headers"}`, `"memory":{"initial_bytes":131072,"max_bytes":1048576}`,
	} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("no %s in\n%s", want, b)
		}
	}
}

// A module that TinyGo made: the guest of the conformance kit.
func TestReal(t *testing.T) {
	r, text := look(t, tck.GuestWASM, Options{})
	if !r.Loads || r.ABI != "http-wasm" || r.Made.Language != "TinyGo" || r.Made.Guess != "" || len(r.Unserved) != 0 || len(r.Parts) != 2 {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{"  built for   http-wasm\n", "  made with   TinyGo (clang 18.1.2, TinyGo 0.33.0)\n", "all covered.\n",
		"  clocks                 the system's; nothing waits (clock_time_get)\n", "  response               handle_response (which does nothing)\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// starts is an http-wasm guest whose start runs code.
func starts(code ...[]byte) []byte {
	var m asm.Module
	config := m.Import("http_handler", "get_config", i32s(2), i32s(1))
	features := m.Import("http_handler", "enable_features", i32s(1), i32s(1))
	log := m.Import("http_handler", "log", i32s(3), nil)
	_, _, _ = config, features, log
	m.Memory(1, -1)
	m.Data(0, []byte("no\x1bway"))
	m.Export("memory", 2, 0)
	m.Export("handle_request", 0, m.Func(nil, []byte{asm.I64}, nil, asm.Const64(1)))
	m.Export("handle_response", 0, m.Func(i32s(2), nil, nil))
	m.Export("_start", 0, m.Func(nil, nil, asm.T(asm.I32), code...))
	return m.Bytes()
}

// What a module does when it is started decides whether it loads.
func TestStart(t *testing.T) {
	unless := func(call []byte, want int32) []byte { // trap unless what call gives is want
		return asm.Cat(call, asm.Const32(want), asm.Op(0x47), asm.If(asm.None, asm.Unreachable))
	}
	config := asm.Cat(asm.Const32(64), asm.Const32(64), asm.Call(0))
	f := func(code []byte, o Options, wants ...string) {
		t.Helper()
		r, text := look(t, code, o)
		if r.Loads != (len(wants) == 0) {
			t.Errorf("loads is %v: %s", r.Loads, r.Error)
		}
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
	}
	// It wants a configuration of four bytes that begins with k, and features.
	picky := starts(unless(config, 4), unless(asm.Cat(asm.Const32(64), asm.Load(0x2d, 0, 0)), 'k'), unless(asm.Cat(asm.Const32(3), asm.Call(1)), 3))
	f(picky, Options{Config: []byte("kkkk")})
	f(picky, Options{}, "It will not load: it does not start: run _start: guest trapped: unreachable\nIt was tried without a configuration: --settings gives one.\n")
	f(picky, Options{Config: []byte(strings.Repeat("k", 100))}, "unreachable\n")
	f(starts(asm.Const32(3), asm.Const32(0), asm.Const32(6), asm.Call(2), asm.Unreachable), Options{},
		"It logged, when it was tried:\n  no?way\n\nIt will not load: it does not start: run _start: guest trapped: unreachable\n")
	f(starts(asm.Loop(asm.None, asm.Br(0))), Options{Start: 20 * time.Millisecond}, "It will not load: it does not start: run _start: guest trapped: cpu budget spent\n")
	// A filter that refuses to be without its configuration loads; one that refuses what it is given does not.
	refuses := func() []byte {
		var m asm.Module
		log := m.Import("env", "proxy_log", i32s(3), i32s(1))
		m.Memory(1, -1)
		m.Data(0, []byte("key?"))
		m.Export("memory", 2, 0)
		m.Export("proxy_abi_version_0_2_0", 0, m.Func(nil, nil, nil))
		m.Export("proxy_on_configure", 0, m.Func(i32s(2), i32s(1), nil,
			asm.Const32(4), asm.Const32(0), asm.Const32(4), asm.Call(log), asm.Drop, asm.Get(1), asm.Const32(4), asm.Op(0x46)))
		return m.Bytes()
	}()
	const refused = "proxy_on_configure of filter answered false: the filter refuses its configuration; it logged: \"key?\"\n"
	f(refuses, Options{Config: []byte("good")})
	f(refuses, Options{Config: []byte("worse")}, "It logged, when it was tried:\n  key?\n\nIt will not load: "+refused)
	f(refuses, Options{Config: []byte{}}, "It will not load: "+refused)
	if r, text := look(t, refuses, Options{}); !r.Loads || r.Trial.Good ||
		!strings.Contains(text, "It may load when it is configured, but failed without that: "+refused+"It was tried without a configuration: --settings gives one.\n") {
		t.Error(text)
	}
	big := func() []byte {
		var m asm.Module
		m.Memory(2100, -1)
		m.Export("memory", 2, 0)
		m.Export("handle_request", 0, m.Func(nil, []byte{asm.I64}, nil, asm.Const64(1)))
		m.Export("handle_response", 0, m.Func(i32s(2), nil, nil))
		return m.Bytes()
	}()
	f(big, Options{}, "  memory      131 MiB at first, no maximum of its own\n", "It will not load: read module: memory")
	f(big, Options{Memory: 256 << 20})
}

// What is no filter is told of, with what is known of it.
func TestNone(t *testing.T) {
	f := func(code []byte, want string) {
		t.Helper()
		_, text := look(t, code, Options{})
		same(t, text, want)
	}
	f([]byte("(module)"), `
  size        8 bytes
  sha256      …

It will not load: not a WebAssembly module: it is WebAssembly text (.wat): wat2wasm makes a module of it
`)
	var m asm.Module
	m.Import("wasi_snapshot_preview1", "fd_write", i32s(4), i32s(1))
	m.Export("_start", 0, m.Func(nil, nil, nil))
	f(m.Bytes(), `
  made with   nothing that tells
  size        81 bytes: 1 function in 4 bytes of code, 0 bytes of data
  sha256      …

It will not load: it is no filter of an ABI that weir knows (Proxy-Wasm, http-wasm): it is a WASI command, a program with a main function of its own; filters are built as libraries (Go: -buildmode=c-shared, Rust: crate-type cdylib)
`)
	var h asm.Module
	h.Export("handle_request", 0, h.Func(nil, nil, nil))
	if r, _ := look(t, h.Bytes(), Options{}); r.Error != "the module does not export memory, handle_response(i32, i32) → (): is it an http-wasm filter?" {
		t.Error(r.Error)
	}
	var p asm.Module
	p.Export("proxy_on_context_create", 0, p.Func(nil, nil, nil))
	if r, text := look(t, p.Bytes(), Options{}); r.Error != "the module exports proxy_on_context_create with another type than Proxy-Wasm has" || !r.Unmarked ||
		!strings.Contains(text, "  built for   Proxy-Wasm, of a version that it does not say; treated as 0.1.0\n") {
		t.Error(r.Error, text)
	}
	if r, _ := look(t, tck.GuestWASM[:len(tck.GuestWASM)/2], Options{}); !strings.Contains(r.Error, "damaged") && !strings.Contains(r.Error, "read module") {
		t.Error(r.Error)
	}
}
