package main

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/weirproxy/weir/core/coretest/guest"
)

// guests are modules by the names of their rows.
type guests struct {
	http, proxy      []module // header-only filters
	tag              []byte   // examples/01-tag-filter
	sdk              []byte   // of testdata/gosdk
	digest           []byte
	cookies, buckets []byte // nil: no compiler
	missing          []string
}

type module struct {
	name string
	code []byte
	root string // root_id
}

// buildGuests builds all that the machine has compilers for; Go is one that it has.
func buildGuests() (*guests, error) {
	g := &guests{}
	here := folder()
	c := func(name string) func(testing.TB) []byte {
		return func(t testing.TB) []byte { return guest.C(t, filepath.Join(here, "testdata/c", name)) }
	}
	rust := func(name string) func(testing.TB) []byte {
		return func(t testing.TB) []byte { return guest.Rust(t, filepath.Join(here, "testdata/rust", name)) }
	}
	golang := func(dir string) func(testing.TB) []byte {
		return func(t testing.TB) []byte { return guest.Go(t, filepath.Join(here, dir)) }
	}
	var plain []byte
	for _, b := range []struct {
		into  *[]byte
		build func(testing.TB) []byte
	}{{&plain, golang("testdata/gohttp")}, {&g.tag, golang("../../examples/01-tag-filter")}, {&g.sdk, golang("testdata/gosdk")}} {
		var err error
		if *b.into, err = attempt(b.build); err != nil {
			return nil, err
		}
	}
	g.http = []module{{name: "by hand", code: tagHTTP()}, {name: "stock Go", code: plain}}
	g.proxy = []module{{name: "by hand", code: tagProxy()}, {name: "stock Go, SDK", code: g.sdk, root: "tag"}}
	g.add(&g.http, "C", c("tag_http.c"))
	g.add(&g.http, "Rust", rust("tag_http.rs"))
	g.add(&g.proxy, "C", c("tag_proxy.c"))
	g.add(&g.proxy, "Rust", rust("tag_proxy.rs"))
	var rest []module
	for _, m := range []struct {
		name  string
		into  *[]byte
		build func(testing.TB) []byte
	}{
		{"digest", &g.digest, c("digest.c")},
		{"cookies", &g.cookies, rust("cookies.rs")},
		{"bucket", &g.buckets, func(t testing.TB) []byte {
			return guest.AssemblyScript(t, filepath.Join(here, "testdata/as/bucket.ts"))
		}},
	} {
		rest = rest[:0]
		if g.add(&rest, m.name, m.build); len(rest) > 0 {
			*m.into = rest[0].code
		}
	}
	return g, nil
}

// add builds a module, or says why it is left out.
func (g *guests) add(to *[]module, name string, build func(testing.TB) []byte) {
	code, err := attempt(build)
	if err != nil {
		g.missing = append(g.missing, fmt.Sprintf("%s: %v", name, err))
		return
	}
	*to = append(*to, module{name: name, code: code})
}

// builder is what builds guests for tests, outside of one.
type builder struct {
	testing.TB
	err error
}

func (b *builder) Helper() {}

func (b *builder) Fatal(args ...any) { b.fail(fmt.Errorf("%s", fmt.Sprint(args...))) }

func (b *builder) Fatalf(format string, args ...any) { b.fail(fmt.Errorf(format, args...)) }

// fail ends the goroutine, as it does in a test.
func (b *builder) fail(err error) {
	b.err = err
	runtime.Goexit()
}

func attempt(build func(testing.TB) []byte) (code []byte, err error) {
	b, done := &builder{}, make(chan struct{})
	go func() {
		defer close(done)
		code = build(b)
	}()
	<-done
	return code, b.err
}

// folder is that of this file.
func folder() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}
