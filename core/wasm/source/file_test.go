package source

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.wasm", module(1))
	write("one/x.wasm", module(2))
	write("one/README.md", []byte("text"))
	write("one/sub.wasm/y.wasm", module(9))
	write("traefik/plugin.wasm", module(3))
	write("traefik/other.wasm", module(4))
	write("traefik/.traefik.yml", []byte("runtime: wasm"))
	write("two/a.wasm", module(5))
	write("two/b.wasm", module(6))
	write("many/a.wasm", module(5))
	for _, c := range "bcdef" {
		write("many/"+string(c)+".wasm", module(6))
	}
	write("none/readme", nil)
	write("text.wasm", []byte("(module)"))
	write("zip/plugin.wasm", []byte("PK\x03\x04"))
	large, err := os.Create(filepath.Join(dir, "large.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	defer large.Close()
	if err := large.Truncate(MaxModule + 1); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, "null.wasm")); err != nil {
		t.Fatal(err)
	}
	f := func(name string, want byte) {
		t.Helper()
		if code, err := File(filepath.Join(dir, name)); err != nil || !bytes.Equal(code, module(want)) {
			t.Errorf("%s: %q %v", name, code, err)
		}
	}
	f("a.wasm", 1)
	f("one", 2)
	f("traefik", 3)
	bad := func(name, want string) {
		t.Helper()
		_, err := File(filepath.Join(dir, name))
		if err == nil {
			t.Fatal(name, "is accepted")
		}
		if have := strings.ReplaceAll(err.Error(), dir+"/", ""); have != want {
			t.Errorf("have %s\nwant %s", have, want)
		}
	}
	bad("gone.wasm", "there is no file gone.wasm")
	bad("none", "there is no module (*.wasm) in the folder none")
	bad("two", "there are several modules in the folder two (a.wasm, b.wasm): name one of them")
	bad("many", "there are several modules in the folder many (a.wasm, b.wasm, c.wasm, 3 more): name one of them")
	bad("large.wasm", "large.wasm is larger than 256 MiB")
	bad("null.wasm", "null.wasm is not a file")
	bad("text.wasm", "text.wasm: not a WebAssembly module: it is WebAssembly text (.wat): wat2wasm makes a module of it")
	bad("zip", "zip/plugin.wasm: not a WebAssembly module: it is a zip archive: unpack it first")
	bad("a.wasm/x", "read module: stat a.wasm/x: not a directory")
}
