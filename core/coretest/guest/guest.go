// Package guest builds WebAssembly modules from source, for tests. What was built from the same files, flags and compiler
// is taken from build/guests; tests in several processes may build at once.
package guest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// Go builds the module in a folder with stock Go, as a reactor for wasip1.
func Go(t testing.TB, dir string) []byte {
	t.Helper()
	return build(t, dir, &recipe{
		tool: "go", version: []string{"version"}, in: dir,
		args: []string{"build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o"},
		rest: []string{"."},
		env:  []string{"GOOS=wasip1", "GOARCH=wasm", "GOWORK=off", "GOFLAGS="},
	})
}

// C builds a freestanding module from one file and what it includes from its own folder. What it does not find is imported.
func C(t testing.TB, file string, flags ...string) []byte {
	t.Helper()
	tool(t, "wasm-ld", "--version")
	return build(t, filepath.Dir(file), &recipe{
		tool: tool(t, "clang", "--version"), version: []string{"--version"},
		args: append([]string{"--target=wasm32", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-ffreestanding", "-fno-builtin",
			"-mbulk-memory", "-nostdlib", "-Wl,--no-entry", "-Wl,--allow-undefined", file}, append(flags, "-o")...),
	})
}

// Rust builds a module from one file, with the standard library and nothing else.
func Rust(t testing.TB, file string) []byte {
	t.Helper()
	return build(t, filepath.Dir(file), &recipe{
		tool: rustc(t), version: []string{"--version"},
		args: []string{"--target", rustTarget, "--crate-type", "cdylib", "--edition", "2021", "-O", "-D", "warnings", "-C", "panic=abort",
			"-C", "link-arg=-s", file, "-o"},
	})
}

const rustTarget = "wasm32-unknown-unknown"

// AssemblyScript builds a module from one file and what it imports from its own folder.
func AssemblyScript(t testing.TB, file string) []byte {
	t.Helper()
	tool(t, "node", "--version")
	asc := filepath.Join(root(), "build/tools/node_modules/.bin/asc")
	if _, err := os.Stat(asc); err != nil {
		t.Fatal("build/tools/node_modules/.bin/asc is missing: `make tools` installs it")
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	// The compiler knows no paths but those below its folder.
	return build(t, filepath.Dir(file), &recipe{
		tool: asc, version: []string{"--version"}, in: filepath.Dir(file),
		args: []string{filepath.Base(abs), "-O", "--runtime", "stub", "--use", "abort=", "-o"},
	})
}

// recipe is how a module is made: tool args <output> rest.
type recipe struct {
	tool    string
	version []string // the arguments that make it tell its version
	in      string   // the folder that it runs in; empty: the test's
	args    []string
	rest    []string
	env     []string
}

// mu keeps two tests of one process from building the same at once.
var mu sync.Mutex

func build(t testing.TB, dir string, r *recipe) []byte {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	key, err := r.key(dir)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(root(), "build/guests")
	kept := filepath.Join(folder, key+".wasm")
	if code, err := os.ReadFile(kept); err == nil {
		return code
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp(folder, "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	out := filepath.Join(work, "guest.wasm")
	c := exec.Command(r.tool, append(append(append([]string{}, r.args...), out), r.rest...)...)
	c.Dir = r.in
	c.Env = append(os.Environ(), r.env...)
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", c.Args, err, text)
	}
	code, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(out, kept); err != nil {
		t.Fatal(err)
	}
	return code
}

// key is of all that the module depends on: the compiler, how it is called, and the files of the folder.
func (r *recipe) key(dir string) (string, error) {
	h := sha256.New()
	version, err := exec.Command(r.tool, r.version...).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", r.tool, err)
	}
	fmt.Fprintf(h, "%s\x00%q\x00%q\x00%q\x00", version, r.args, r.rest, r.env)
	if err := addFolder(h, dir); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:12]), nil
}

func addFolder(h hash.Hash, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		fmt.Fprintf(h, "%s\x00%d\x00%s", name, len(text), text)
		return err
	})
}

// tool finds a program that says what it is.
func tool(t testing.TB, name string, version string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		err = exec.Command(path, version).Run()
	}
	if err != nil {
		t.Fatalf("%s is needed: `make tools` installs it", name)
	}
	return path
}

// rustc finds a compiler that has the target: the one on the path may be without, beside one of the system that has it.
func rustc(t testing.TB) string {
	t.Helper()
	for _, path := range []string{"rustc", "/usr/bin/rustc"} {
		text, err := exec.Command(path, "--print", "target-libdir", "--target", rustTarget).Output()
		if err != nil {
			continue
		}
		if list, err := os.ReadDir(string(bytes.TrimSpace(text))); err == nil && len(list) > 0 {
			return path
		}
	}
	t.Fatalf("rustc with the standard library for %s is needed: `make tools` installs both", rustTarget)
	return ""
}

// root is the folder of the repository.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "../../..")
}
