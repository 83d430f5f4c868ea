package inspect

import (
	"testing"

	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wasm/asm"
)

func TestMade(t *testing.T) {
	f := func(want string, build func(m *asm.Module)) {
		t.Helper()
		var m asm.Module
		m.Memory(1, -1)
		build(&m)
		code := m.Bytes()
		made := made(abi.Scan(code), code)
		if have := made.text(); have != want {
			t.Errorf("have %s\nwant %s", have, want)
		}
	}
	exports := func(names ...string) func(*asm.Module) {
		return func(m *asm.Module) {
			for _, name := range names {
				m.Export(name, 0, m.Func(nil, nil, nil))
			}
		}
	}
	says := func(text string) func(*asm.Module) { return func(m *asm.Module) { m.Data(0, []byte(text)) } }
	producers := func(b string) func(*asm.Module) {
		return func(m *asm.Module) { m.Custom("producers", []byte(b)) }
	}
	f("nothing that tells", says(""))
	// What the module says of itself.
	f("Rust (rustc 1.84.0)", producers("\x02\x08language\x01\x04Rust\x00\x0cprocessed-by\x01\x05rustc\x101.84.0 (9fc6b431"))
	f("TinyGo (clang 18, TinyGo 0.33)", producers("\x01\x0cprocessed-by\x02\x05clang\x0218\x06TinyGo\x040.33"))
	f("C_plus_plus_14", producers("\x01\x08language\x01\x0eC_plus_plus_14\x00"))
	f("walrus 0.20", producers("\x01\x0cprocessed-by\x01\x06walrus\x040.20"))
	// What it looks like.
	f("looks like TinyGo (it exports tinygo_getCurrentStackPointer)", exports("tinygo_getCurrentStackPointer"))
	f("looks like TinyGo (its data names TinyGo)", says("src/internal/tinygo/x"))
	f("looks like Go (it has a Go build ID)", func(m *asm.Module) { m.Custom("go:buildid", nil) })
	f("looks like Go (its data names parts of Go's runtime)", says("runtime: goroutine stack exceeds "))
	f("looks like AssemblyScript (it exports __new and __pin)", exports("__new", "__pin", "__unpin"))
	f("looks like AssemblyScript (its data names ~lib/)", says("~\x00l\x00i\x00b\x00/\x00r\x00t\x00"))
	f("looks like AssemblyScript (it imports env.abort)", func(m *asm.Module) { m.Import("env", "abort", i32s(4), nil) })
	f("looks like Rust (its data holds paths of Rust's library)", says("/rustc/9fc6b4312/library/core/src/panicking.rs"))
	f("looks like C++ (emscripten) (it imports env.emscripten_notify_memory_growth)", func(m *asm.Module) {
		m.Import("env", "emscripten_notify_memory_growth", i32s(1), nil)
	})
	f("looks like C++ (emscripten) (it exports _emscripten_stack_restore)", exports("_emscripten_stack_restore"))
	f("looks like C or C++ (its data holds names of C++'s library)", says("St9exception"))
	f("looks like C or C++ (it exports __wasm_call_ctors)", exports("__wasm_call_ctors"))
}
