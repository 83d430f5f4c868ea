package abi

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/wasm/asm"
)

func section(id byte, b string) string { return string(id) + string(rune(len(b))) + b }

func TestScan(t *testing.T) {
	var m asm.Module
	m.Import("env", "f", asm.T(asm.I32, asm.I64), asm.T(asm.F32))
	m.Memory(1, 2)
	empty := m.Func(nil, nil, nil)
	local := m.Func(asm.T(asm.I32), nil, asm.T(asm.I32))
	zero := m.Func(nil, asm.T(asm.I32), nil, asm.Const32(0))
	large := m.Func(nil, asm.T(asm.I32), nil, asm.Const32(-1<<31))
	spare := m.Func(nil, asm.T(asm.I32), asm.T(asm.I32), asm.Const32(1))
	sum := m.Func(nil, asm.T(asm.I32), nil, asm.Const32(1), asm.Const32(1), asm.Add32)
	stop := m.Func(nil, nil, nil, asm.Unreachable)
	both := m.Func(nil, nil, nil, asm.Const32(1), asm.Drop)
	for name, f := range map[string]uint32{"zero": zero, "large": large, "spare": spare, "sum": sum, "stop": stop, "both": both} {
		m.Export(name, 0, f)
	}
	m.Export("imported", 0, 0)
	m.Export("empty", 0, empty)
	m.Export("local", 0, local)
	m.Export("memory", 2, 0)
	m.Export("beyond", 0, 99)
	code := m.Bytes()
	o := Scan(code)
	if o.Malformed != "" || len(o.Imports) != 1 || len(o.Exports) != 10 || o.Functions != 8 || o.Size != len(code) || o.Code == 0 || o.Start {
		t.Errorf("%+v", o)
	}
	if m := o.Memory; m == nil || *m != (Memory{Min: 1, Max: 2, Bounded: true, Exported: true}) {
		t.Errorf("%+v", m)
	}
	for name, want := range map[string]bool{"imported": false, "empty": true, "local": false, "beyond": false, "absent": false} {
		if o.Empty(name) != want {
			t.Errorf("%s: empty is %v", name, !want)
		}
	}
	for name, want := range map[string]bool{
		"empty": true, "zero": true, "large": true,
		"spare": false, "sum": false, "stop": false, "both": false, "imported": false, "local": false, "beyond": false, "absent": false,
	} {
		if o.Idle(name) != want {
			t.Errorf("%s: idle is %v", name, !want)
		}
	}
	for _, f := range []*Func{&o.Imports[0], o.Export("imported")} {
		if !slices.Equal(f.Params, asm.T(asm.I32, asm.I64)) || !slices.Equal(f.Results, asm.T(asm.F32)) {
			t.Errorf("%+v", f)
		}
	}
	if f := o.Export("local"); !slices.Equal(f.Params, asm.T(asm.I32)) || o.Export("absent") != nil {
		t.Errorf("%+v", f)
	}
	// All sorts of imports, so that functions are counted right: a table, a memory with and without a maximum, a global.
	o = Scan([]byte(string(magic) + section(1, "\x01\x60\x00\x00") + section(2, "\x06"+"\x01a\x01b\x00\x00"+"\x01a\x01t\x01\x70\x00\x01"+
		"\x01a\x01m\x02\x01\x01\x02"+"\x01a\x01n\x02\x00\x01"+"\x01a\x01g\x03\x7f\x00"+"\x01a\x01c\x00\x00") + section(8, "\x00")))
	if len(o.Imports) != 2 || strings.Join(o.Others, " ") != "a.t a.m a.n a.g" || !o.Memory.Imported || o.Memory.Max != 2 || !o.Start || o.Malformed != "" {
		t.Errorf("%+v", o)
	}
}

// What the custom sections say of a module's making.
func TestScanCustom(t *testing.T) {
	code := string(magic) + section(0, "\x04name"+"\x00\x04\x03tag"+"\x01\x02\x00\x00") + section(0, "\x04note") + section(0, "\x04note") +
		section(0, "\x09producers"+"\x02"+"\x08language\x01\x04Rust\x00"+"\x0cprocessed-by\x02\x05rustc\x061.63.0\x06walrus\x010")
	o := Scan([]byte(code))
	if o.Name != "tag" || strings.Join(o.Customs, " ") != "name note producers" || !o.Custom("note") || o.Custom("x") || o.Malformed != "" {
		t.Errorf("%+v", o)
	}
	if want := []Tool{{"language", "Rust", ""}, {"processed-by", "rustc", "1.63.0"}, {"processed-by", "walrus", "0"}}; !slices.Equal(o.Producers, want) {
		t.Errorf("%+v", o.Producers)
	}
}

// Malformed: what can be told is told, and what is wrong.
func TestScanMalformed(t *testing.T) {
	f := func(rest, want string) {
		t.Helper()
		if o := Scan([]byte(string(magic) + rest)); !strings.HasPrefix(o.Malformed, want) || (o.Malformed == "") != (want == "") || len(o.Exports) > 0 {
			t.Errorf("%q: %+v", rest, o)
		}
	}
	f("\x02", "section 2 at byte 8 is cut off")
	f("\x02\x7f", "section 2 at byte 8 is cut off")
	f("\x07\x05\x01\xff\xff\xff\xff", "section 7 at byte 8 cannot be read")
	f("\x02\x05\x01\x01a\x01b", "section 2 at byte 8 cannot be read")
	f("\x02\x06\x01\x01a\x01b\x09", "section 2")
	f("\x0a\x02\x01\x09", "section 10")
	f("\x01\x02\x01\x5f", "section 1")
	f("\x03\x05\xff\xff\xff\xff\x0f", "section 3")
	f("\x02\x07\x01\x01a\x01b\x00\x00", "there is no type 0")
	f("\x00\xff\xff\xff\xff\xff\xff", "section 0")
	f("\x00\x01\x09", "") // a custom section may hold what it likes
	f("\x05\x0c\x01\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "section 5")
}

func TestDetect(t *testing.T) {
	module := func(imports []string, exports ...string) []byte {
		var m asm.Module
		for _, name := range imports {
			mod, fn, _ := strings.Cut(name, " ")
			m.Import(mod, fn, nil, nil)
		}
		f := m.Func(nil, nil, nil)
		for _, name := range exports {
			m.Export(name, 0, f)
		}
		return m.Bytes()
	}
	f := func(code []byte, want string) {
		t.Helper()
		a, err := Detect(Scan(code))
		have := a.String()
		if err != nil {
			have = err.Error()
		}
		if have != want {
			t.Errorf("have %s\nwant %s", have, want)
		}
	}
	f(module(nil, "handle_request"), "http-wasm")
	f(module(nil, "proxy_abi_version_0_1_0"), "Proxy-Wasm 0.1.0")
	f(module(nil, "proxy_abi_version_0_2_0"), "Proxy-Wasm 0.2.0")
	f(module(nil, "proxy_abi_version_0_2_1", "proxy_abi_version_0_2_0", "handle_request"), "Proxy-Wasm 0.2.1")
	f(module(nil, "proxy_abi_version_0_2_100"), "Proxy-Wasm 0.2.100")
	for _, name := range []string{"proxy_on_context_create", "proxy_on_vm_start"} {
		f(module(nil, name), "Proxy-Wasm 0.1.0")
		if a, _ := Detect(Scan(module(nil, name))); a.Marked {
			t.Error("marked")
		}
	}
	f(module(nil, "proxy_abi_version_0_3_0", "handle_request"), `it is built for Proxy-Wasm "0.3.0", which weir does not know: 0.1.0, 0.2.0, 0.2.1 and 0.2.100 it does`)
	const no = "it is no filter of an ABI that weir knows (Proxy-Wasm, http-wasm): "
	f(module([]string{"wasi_snapshot_preview1 fd_write"}, "_start"), no+"it is a WASI command, a program with a main function of its own; filters are built as libraries (Go: -buildmode=c-shared, Rust: crate-type cdylib)")
	f(module([]string{"wasi_unstable fd_write"}, "_initialize", "run"), no+`it is a WASI library (it exports "_initialize", "run")`)
	f(module([]string{"gojs runtime.wasmExit"}, "run"), no+"it is a Go program for the browser (GOOS=js); GOOS=wasip1 and -buildmode=c-shared make filters")
	f(module([]string{"wbg __wbindgen_throw"}, "run"), no+"it is built for JavaScript by wasm-bindgen")
	f(module([]string{"wasi:http/types@0.2.0 x"}, "run"), no+`it is taken out of a component of the component model (it imports "wasi:http/types@0.2.0")`)
	f(module([]string{"env proxy_log"}, "_start"), no+"it imports the functions of one, but does not export what is to be called; was it linked as a program, or stripped of its exports?")
	f(module(nil), no+"it exports no function")
	f(module(nil, "a", "b", "c", "d", "e", "f", "g"), no+`it exports "a", "b", "c", "d", "e", 2 more`)
	f([]byte(string(magic)+"\x02"), no+"it is damaged: section 2 at byte 8 is cut off")

	const bad = "not a WebAssembly module: it "
	f(nil, bad+"is empty")
	f([]byte("\x00asm"), bad+"is cut off after 4 bytes")
	f([]byte("\x00asm\x0d\x00\x01\x00\x00"), "not a WebAssembly module of the core kind: it is a component of the component model, which no proxy's filter ABI uses; build a core module (Rust: wasm32-wasip1)")
	f([]byte("\x00asm\x02\x00\x00\x00"), "not a WebAssembly module of version 1: its version is 2")
	f([]byte("\x1f\x8b\x08"), bad+"is compressed by gzip: unpack it first")
	f([]byte("PK\x03\x04"), bad+"is a zip archive: unpack it first")
	f(append(make([]byte, 257), "ustar\x0000"...), bad+"is a tar archive: unpack it first")
	f([]byte(" ;; a filter\n(; of\nmine ;) (module)"), bad+"is WebAssembly text (.wat): wat2wasm makes a module of it")
	f([]byte("<!DOCTYPE html>"), bad+"is HTML or XML: the page of an error, perhaps")
	f([]byte("{}"), bad+"is JSON")
	f([]byte("version https://git-lfs.github.com/spec/v1\n"), bad+"is a pointer of Git LFS: git lfs pull fetches the module")
	f([]byte("some text"), bad+"is text")
	f([]byte("\x01\x02some"), bad+"does not begin with the magic number and version 1")
	f([]byte(strings.Repeat("(;;)", 1000)), bad+"does not begin with the magic number and version 1")
}

func FuzzScan(f *testing.F) {
	var m asm.Module
	m.Import("env", "proxy_log", asm.T(asm.I32), asm.T(asm.I32))
	m.Memory(1, 1)
	m.Export("handle_request", 0, m.Func(nil, nil, nil))
	f.Add(m.Bytes())
	f.Add([]byte(string(magic) + "\x07\x05\x01\xff\xff\xff\xff"))
	f.Add([]byte(string(magic) + section(0, "\x09producers"+"\x01"+"\x08language\x01\x04Rust\x00")))
	f.Add([]byte("(;" + strings.Repeat(" ", 9)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, code := range [][]byte{b, append(bytes.Clone(magic), b...)} {
			o := Scan(code)
			a, err := Detect(o)
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Error(err)
			}
			if (err == nil) == (a == ABI{}) {
				t.Error(a, err)
			}
			for i := range o.Exports {
				_ = o.Empty(o.Exports[i].Name)
			}
		}
	})
}
