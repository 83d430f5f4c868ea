package httpabi

import (
	"bytes"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/wasm/asm"
)

func TestScan(t *testing.T) {
	var m asm.Module
	m.Import("env", "f", nil, nil)
	m.Memory(1, 2)
	empty := m.Func(nil, nil, nil)
	local := m.Func(nil, nil, asm.T(asm.I32))
	m.Export("imported", 0, 0)
	m.Export("empty", 0, empty)
	m.Export("local", 0, local)
	m.Export("memory", 2, 0)
	m.Export("beyond", 0, 99)
	o := scan(m.Bytes())
	if !o.memory || o.imports != 1 || len(o.functions) != 4 {
		t.Errorf("%+v", o)
	}
	for name, want := range map[string]bool{"imported": false, "empty": true, "local": false, "beyond": false, "absent": false} {
		if o.empty(name) != want {
			t.Errorf("%s: empty is %v", name, !want)
		}
	}
	// All sorts of imports, so that functions are counted right: a table, a memory with and without a maximum, a global.
	section := "\x06" + "\x01a\x01b\x00\x00" + "\x01a\x01t\x01\x70\x00\x01" + "\x01a\x01m\x02\x01\x01\x02" + "\x01a\x01n\x02\x00\x01" +
		"\x01a\x01g\x03\x7f\x00" + "\x01a\x01c\x00\x00"
	o = scan([]byte(string(magic) + "\x02" + string(rune(len(section))) + section))
	if o.imports != 2 {
		t.Errorf("%d imported functions", o.imports)
	}
	// Malformed: what can be told is told, and nothing panics.
	for _, bad := range []string{"\x02", "\x02\x7f", "\x07\x05\x01\xff\xff\xff\xff", "\x02\x05\x01\x01a\x01b", "\x02\x06\x01\x01a\x01b\x09", "\x0a\x02\x01\x09", "\x00\xff\xff\xff\xff\xff\xff"} {
		if o := scan([]byte(string(magic) + bad)); o.memory || len(o.functions) > 0 {
			t.Errorf("%q: %+v", bad, o)
		}
	}
}

func FuzzScan(f *testing.F) {
	p := newProgram()
	f.Add(p.build(asm.Cat(p.set(0, "a", "b"), next), nil))
	f.Add([]byte(string(magic) + "\x07\x05\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !bytes.HasPrefix(b, magic) {
			b = append(bytes.Clone(magic), b...)
		}
		o := scan(b)
		_ = o.empty(exportResponse)
		if err := missing(&o); err != nil && strings.Contains(err.Error(), "\n") {
			t.Error(err)
		}
	})
}
