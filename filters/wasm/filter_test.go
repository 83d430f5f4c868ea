package wasm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/asm"
	"github.com/weirproxy/weir/core/wasm/httpabi"
)

// guest answers with its configuration.
func guest() []byte { return guestOf(1) }

func guestOf(pages uint32) []byte {
	var m asm.Module
	m.Memory(pages, int64(pages))
	get := m.Import("http_handler", "get_config", asm.T(asm.I32, asm.I32), asm.T(asm.I32))
	write := m.Import("http_handler", "write_body", asm.T(asm.I32, asm.I32, asm.I32), nil)
	m.Export("memory", 2, 0)
	m.Export("handle_request", 0, m.Func(nil, asm.T(asm.I64), nil,
		asm.Const32(1), asm.Const32(64), asm.Const32(64), asm.Const32(1024), asm.Call(get), asm.Call(write), asm.Const64(0)))
	m.Export("handle_response", 0, m.Func(asm.T(asm.I32, asm.I32), nil, nil))
	return m.Bytes()
}

func newKind(t *testing.T, o Options) *Kind {
	o.Log = zerolog.Nop()
	k := New(o)
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// dir is a directory with a module in it.
func dir(t *testing.T, files map[string][]byte) string {
	t.Helper()
	d := t.TempDir()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(d, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// spec reads a configuration: filters as in wasm:, routes as lists of filters.
func spec(t *testing.T, dir, filters string, routes ...string) *config.Spec {
	t.Helper()
	text := "version: 1\nlisteners: [{address: \":0\"}]\nwasm: {" + filters + "}\nroutes:\n"
	for i, r := range routes {
		text += fmt.Sprintf("  - {name: r%d, match: {path: /%d}, auth: none, respond: {status: 200}, wasm: [%s]}\n", i, i, r)
	}
	s, err := config.Parse(filepath.Join(dir, "weir.yaml"), []byte(text), func(name string) (string, bool) { return "from-env", name == "MODE" })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plan builds all routes, as a plan does.
type plan struct {
	placed [][]filter.Placed
	errs   config.Problems
}

func build(k *Kind, s *config.Spec) *plan {
	p := &plan{}
	for i := range s.Routes {
		placed, err := k.Build(filter.Place{Spec: s, Route: &s.Routes[i]})
		p.errs.Add(err)
		p.placed = append(p.placed, placed)
	}
	return p
}

func (p *plan) close(t *testing.T) {
	t.Helper()
	for _, route := range p.placed {
		for _, f := range route {
			if err := f.Filter.Close(); err != nil {
				t.Error(err)
			}
			if err := f.Filter.Close(); err != nil { // a second time does nothing
				t.Error(err)
			}
		}
	}
}

func (p *plan) says(t *testing.T, route, i int) string {
	t.Helper()
	x := exchange.Acquire()
	defer exchange.Release(x)
	x.Request.Method, x.Request.Target, x.Request.Path = []byte("GET"), []byte("/"), []byte("/")
	v, err := p.placed[route][i].Filter.Request(x, 0)
	if err != nil || v != filter.Respond {
		t.Fatal(v, err)
	}
	b, _ := x.Response.Body.Next(nil)
	return string(b)
}

// of gives the filter at a place, for comparison.
func (p *plan) of(route, i int) *httpabi.Filter {
	return p.placed[route][i].Filter.(*place).watched.(*httpabi.Filter)
}

func TestBuild(t *testing.T) {
	k := newKind(t, Options{})
	d := dir(t, map[string][]byte{"g.wasm": guest()})
	s := spec(t, d, "a: {file: g.wasm, config: {k: v}, body_limit: 64KiB}, b: {file: g.wasm, on_error: fail_open, config: text}", "a, {filter: a, slot: edge, config: other}, b", "a", "")
	p := build(k, s)
	if err := p.errs.Err(); err != nil {
		t.Fatal(err)
	}
	if len(p.placed[2]) != 0 {
		t.Error("filters on a route without")
	}
	for i, want := range []struct {
		name, says string
		slot       filter.Slot
		open       bool
	}{{"a", `{"k":"v"}`, filter.Upstream, false}, {"a", "other", filter.Edge, false}, {"b", "text", filter.Upstream, true}} {
		f := p.placed[0][i]
		if f.Name != want.name || f.Slot != want.slot || f.FailOpen != want.open || p.says(t, 0, i) != want.says {
			t.Errorf("%d: %+v says %q", i, f, p.says(t, 0, i))
		}
	}
	// The same filter on two routes is one.
	if p.of(0, 0) != p.of(1, 0) || p.of(0, 0) == p.of(0, 1) {
		t.Error("not shared as it should be")
	}
	if p.placed[0][0].Key == nil || p.placed[0][0].Key != p.placed[1][0].Key || p.placed[0][0].Key == p.placed[0][1].Key {
		t.Error("an exchange on both routes must come to it once")
	}
	all := k.Filters()
	if len(all) != 3 {
		t.Errorf("%+v", all)
	}
	for _, f := range all {
		sum := sha256.Sum256(guest())
		if _, ok := p.placed[0][0].Filter.(filter.Measured); !ok || f.SHA256 != hex.EncodeToString(sum[:]) || f.File != filepath.Join(d, "g.wasm") {
			t.Errorf("%+v", f)
		}
		slices.Sort(f.Routes)
		want := map[string]string{"a" + filter.ConfigMark(`{"k":"v"}`): "r0 r1 fail_closed", "a" + filter.ConfigMark("other"): "r0 fail_closed", "b" + filter.ConfigMark("text"): "r0 fail_open"}
		if got := strings.Join(f.Routes, " ") + " " + f.OnError; got != want[f.Name+f.Config] {
			t.Errorf("%s: %s", f.Name, got)
		}
	}
	if err := k.Close(); err == nil {
		t.Error("closed with filters in plans")
	}
	k.closed = false
	p.close(t)
	if len(k.Filters()) != 0 {
		t.Error("something is left")
	}
}

// A reload that changes nothing keeps instances; one that changes a filter's configuration makes new ones of that.
func TestReload(t *testing.T) {
	k := newKind(t, Options{})
	d := dir(t, map[string][]byte{"a.wasm": guest(), "b.wasm": append(guest(), 0, 2, 1, 'x')})
	first := build(k, spec(t, d, "a: {file: a.wasm, config: one}, b: {file: b.wasm, env: {MODE: \"${MODE}\"}}", "a, b"))
	same := build(k, spec(t, d, "a: {file: a.wasm, config: one}, b: {file: b.wasm, env: {MODE: from-env}}", "a", "b, a"))
	if first.of(0, 0) != same.of(1, 1) || first.of(0, 1) != same.of(1, 0) {
		t.Error("made anew")
	}
	made := first.of(0, 0).Stats().Stock.Made
	first.close(t)
	if got := same.says(t, 0, 0); got != "one" {
		t.Error(got)
	}
	if n := same.of(0, 0).Stats().Stock.Made; n != made {
		t.Errorf("%d instances made by a reload", n-made)
	}
	changed := build(k, spec(t, d, "a: {file: a.wasm, config: two}, b: {file: b.wasm, env: {MODE: from-env}}", "a, b"))
	if changed.of(0, 0) == same.of(0, 0) || changed.of(0, 1) != same.of(1, 0) {
		t.Error("the wrong ones were made anew")
	}
	if a, b := same.says(t, 0, 0), changed.says(t, 0, 0); a != "one" || b != "two" {
		t.Error(a, b)
	}
	same.close(t)
	// A module that was replaced in its file.
	if err := os.WriteFile(filepath.Join(d, "a.wasm"), append(guest(), 0, 2, 1, 'y'), 0o600); err != nil {
		t.Fatal(err)
	}
	replaced := build(k, spec(t, d, "a: {file: a.wasm, config: two}", "a"))
	if replaced.of(0, 0) == changed.of(0, 0) {
		t.Error("the old module goes on")
	}
	changed.close(t)
	replaced.close(t)
	for range 200 {
		p := build(k, spec(t, d, "a: {file: a.wasm}", "a, a", "a"))
		p.close(t)
	}
	if len(k.Filters()) != 0 {
		t.Error("something is left")
	}
}

func TestErrors(t *testing.T) {
	k := newKind(t, Options{})
	pin := sha256.Sum256([]byte("other"))
	sum := sha256.Sum256(guest())
	var empty asm.Module
	d := dir(t, map[string][]byte{"g.wasm": guest(), "no.wasm": []byte("text"), "empty.wasm": empty.Bytes(), "big.wasm": guestOf(2)})
	f := func(filter, want string, routes ...string) {
		t.Helper()
		if len(routes) == 0 {
			routes = []string{"f", "f, f", "f"}
		}
		s := spec(t, d, "f: {"+filter+"}", routes...)
		p := build(k, s)
		p.close(t)
		err := p.errs.Err()
		if err == nil {
			t.Fatal("accepted")
		}
		have := strings.ReplaceAll(err.Error(), d+"/", "")
		start, cut := strings.CutSuffix("weir.yaml:3:8: wasm.f: "+want, "…") // the rest is another package's business
		if have != start && !(cut && strings.HasPrefix(have, start) && !strings.Contains(have, "\n")) {
			t.Errorf("have %s\nwant %s", have, start)
		}
	}
	f("file: none.wasm", "there is no file none.wasm")
	f("file: .", "there are several modules in the folder "+d+" (big.wasm, empty.wasm, g.wasm, 1 more): name one of them")
	f("file: no.wasm", "no.wasm: not a WebAssembly module: it is text")
	f("file: empty.wasm", "it is no filter of an ABI that weir knows (Proxy-Wasm, http-wasm): it exports no function")
	f("file: g.wasm, sha256: "+hex.EncodeToString(pin[:]), "g.wasm is not the module that is pinned: its sha256 is "+hex.EncodeToString(sum[:])+", not "+hex.EncodeToString(pin[:]))
	f("file: g.wasm, env: {A: {file: none}}", "read secret: open none: no such file or directory")
	f("file: g.wasm, pause: 2s, tags: {a: '(b(c))'}", "it is an http-wasm filter, and these keys are for those of Proxy-Wasm: tags, pause; take them out")
	f("file: big.wasm, memory: 64KiB", "load module f: read module: memory…")
	if len(k.Filters()) != 0 {
		t.Error("something is left")
	}
	// Mistakes that the configuration's own checks keep from coming here.
	s := spec(t, d, "f: {file: g.wasm}", "f")
	for _, use := range []config.WasmUse{{Filter: "x"}, {Filter: "f", Slot: "x"}} {
		if _, err := k.Build(filter.Place{Spec: s, Route: &config.Route{Wasm: []config.WasmUse{use}}}); err == nil {
			t.Error("accepted", use)
		}
	}
	k.closed = true
	if p := build(k, s); p.errs.Err() == nil {
		t.Error("built by a closed kind")
	}
}

// What cannot be buffered at all is another thing than the default.
func TestNoBodies(t *testing.T) {
	k := newKind(t, Options{})
	d := dir(t, map[string][]byte{"g.wasm": guest()})
	p := build(k, spec(t, d, "f: {file: g.wasm, body_limit: 0}", "f"))
	if err := p.errs.Err(); err != nil {
		t.Fatal(err)
	}
	p.close(t)
}

// While a module is loaded, which may take long, filters can be listed and given up.
func TestSlowLoad(t *testing.T) {
	slow, entered := make(chan struct{}), make(chan struct{})
	k := newKind(t, Options{Open: func(file string) ([]byte, error) {
		if filepath.Base(file) == "slow.wasm" {
			entered <- struct{}{}
			<-slow
		}
		return guest(), nil
	}})
	first := build(k, spec(t, t.TempDir(), "f: {file: f.wasm}", "f"))
	second := make(chan *plan)
	go func() {
		second <- build(k, spec(t, t.TempDir(), "f: {file: f.wasm}, s: {file: slow.wasm, config: x}", "f, s"))
	}()
	for range 2 { // it is read to be known, and to be loaded
		<-entered
		if n := len(k.Filters()); n != 1 {
			t.Errorf("%d filters", n)
		}
		first.close(t) // twice does nothing
		slow <- struct{}{}
	}
	p := <-second
	if err := p.errs.Err(); err != nil || len(k.Filters()) != 2 {
		t.Error(err)
	}
	p.close(t)
}

// Modules may come from elsewhere than files, and compiled ones are kept.
func TestOpenAndCache(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "wasm")
	k := newKind(t, Options{CacheDir: cache, Open: func(file string) ([]byte, error) {
		if filepath.Base(file) == "inside.wasm" {
			return guest(), nil
		}
		return nil, os.ErrNotExist
	}})
	p := build(k, spec(t, t.TempDir(), "f: {file: inside.wasm}, g: {file: other.wasm}", "f, g"))
	if err := p.errs.Err(); err == nil || strings.Count(err.Error(), "\n") != 0 || len(p.placed[0]) != 1 {
		t.Error(err)
	}
	if list, err := os.ReadDir(cache); err != nil || len(list) == 0 {
		t.Error("nothing is kept:", err)
	}
	p.close(t)
	bad := New(Options{CacheDir: "/dev/null/x"})
	if p := build(bad, spec(t, dir(t, map[string][]byte{"g.wasm": guest()}), "f: {file: g.wasm}", "f")); p.errs.Err() == nil {
		t.Error("opened in no directory")
	}
}

// proxyGuest is a filter of Proxy-Wasm that takes whatever it is configured with.
func proxyGuest() []byte {
	m := &asm.Module{}
	m.Memory(1, -1)
	m.Export("memory", 2, 0)
	m.Export("proxy_abi_version_0_2_1", 0, m.Func(nil, nil, nil))
	m.Export("proxy_on_context_create", 0, m.Func(asm.T(asm.I32, asm.I32), nil, nil))
	return m.Bytes()
}

// Where others may write, nothing compiled is kept, nor taken from there; filters load all the same.
func TestSharedCache(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "wasm")
	if err := os.Mkdir(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(cache, 0o777); err != nil {
		t.Fatal(err)
	}
	log := &coretest.Buffer{}
	k := newKind(t, Options{CacheDir: cache})
	k.o.Log = zerolog.New(log)
	p := build(k, spec(t, dir(t, map[string][]byte{"g.wasm": guest()}), "f: {file: g.wasm}", "f"))
	if err := p.errs.Err(); err != nil || len(p.placed[0]) != 1 {
		t.Error(err)
	}
	p.close(t)
	if files, _ := filepath.Glob(filepath.Join(cache, "*", "*")); len(files) != 0 {
		t.Error("kept:", files)
	}
	if !strings.Contains(log.String(), "others may write to it") {
		t.Error(log)
	}
}

// Every block of YAML in the README is a configuration that loads.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) == 0 {
		t.Fatal("no example")
	}
	d := dir(t, nil)
	if err := os.Mkdir(filepath.Join(d, "filters"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, code := range map[string][]byte{"tagger.wasm": guest(), "policy.wasm": proxyGuest()} {
		if err := os.WriteFile(filepath.Join(d, "filters", name), code, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range blocks {
		s, err := config.Parse(filepath.Join(d, "weir.yaml"), []byte(b[1]), nil)
		if err != nil {
			t.Fatal(err)
		}
		p := build(newKind(t, Options{Modules: serveAll(t, s)}), s)
		if err := p.errs.Err(); err != nil {
			t.Error(err)
		}
		p.close(t)
	}
}
