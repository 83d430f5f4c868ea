package wasm_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/weirproxy/weir/core/coretest/guest"
)

// gates are one filter in several languages, by what they say of themselves.
var gates = map[string]func(t testing.TB) []byte{
	"c":    func(t testing.TB) []byte { return guest.C(t, "testdata/c/filter.c") },
	"rust": func(t testing.TB) []byte { return guest.Rust(t, "testdata/rust/filter.rs") },
	"as":   func(t testing.TB) []byte { return guest.AssemblyScript(t, "testdata/as/filter.ts") },
}

// TestLanguages runs the same filter, written in C, Rust and AssemblyScript for Proxy-Wasm: it reads its configuration, marks
// requests, refuses some, replaces bodies, asks another service while a request waits, counts and logs.
func TestLanguages(t *testing.T) {
	for name, build := range gates {
		t.Run(name, func(t *testing.T) { proxyGate(t, name, build(t)) })
	}
}

func proxyGate(t *testing.T, name string, code []byte) {
	var mu sync.Mutex
	check := 200
	h := serve(t, "", `
wasm: {gate: {file: gate.wasm, config: blue, calls: [web], `+unhurried+`}}
upstreams: {web: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, wasm: [gate], upstream: web}]
`, map[string][]byte{"gate.wasm": code}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/check" {
			w.WriteHeader(check)
			_, _ = io.WriteString(w, "by web")
			return
		}
		tagged(w, r)
	}), nil)
	gate(h, name)
	if got := h.is("GET", "/", "", 200, "", "X-Ask", "1"); got.Get("X-Seen") != "blue|by web" || got.Get("X-Filter") != name {
		t.Errorf("asked: %v", got)
	}
	if got := h.is("POST", "/", "body", 200, "[body]", "X-Ask", "1", "X-Replace", "1"); got.Get("X-Seen") != "blue|by web" {
		t.Errorf("asked: %v", got)
	}
	mu.Lock()
	check = 500
	mu.Unlock()
	if got := h.is("GET", "/", "", 403, "refused", "X-Ask", "1"); got.Get("X-Reason") != "gate" {
		t.Errorf("refused: %v", got)
	}
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 20 {
				if t.Failed() {
					return
				}
				h.is("POST", "/", "body", 200, "[body]", "X-Replace", "1")
				h.is("GET", "/", "", 403, "refused", "X-Ask", "1")
			}
		})
	}
	clients.Wait()
	h.hears("configured with blue", "answered 200", "answered 403")
	h.metric("gate_" + name + "_requests 327")
	h.sound()
}

// tagged echoes the body, and in a header what filters have set.
func tagged(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Seen", r.Header.Get("X-Tag")+"|"+r.Header.Get("X-Checked"))
	_, _ = w.Write(b)
}

// gate is what the filters of both ABIs do. It sends four requests.
func gate(h *house, name string) {
	h.T.Helper()
	if got := h.is("GET", "/", "", 200, ""); got.Get("X-Seen") != "blue|" || got.Get("X-Filter") != name {
		h.T.Errorf("marked: %v", got)
	}
	if got := h.is("GET", "/", "", 403, "no", "X-Client", "bad"); got.Get("X-Reason") != "gate" {
		h.T.Errorf("refused: %v", got)
	}
	h.is("POST", "/", "a body", 200, "[a body]", "X-Replace", "1")
	big := strings.Repeat("0123456789abcdef", 60<<10>>4)
	h.is("POST", "/", big, 200, "["+big+"]", "X-Replace", "1")
}

// TestLanguagesHTTP runs filters in C and AssemblyScript for http-wasm.
func TestLanguagesHTTP(t *testing.T) {
	for name, build := range map[string]func(t testing.TB) []byte{
		"c":  func(t testing.TB) []byte { return guest.C(t, "testdata/c/http.c") },
		"as": func(t testing.TB) []byte { return guest.AssemblyScript(t, "testdata/as/http.ts") },
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, "", `
wasm: {gate: {file: gate.wasm, config: blue, `+unhurried+`}}
upstreams: {web: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, wasm: [gate], upstream: web}]
`, map[string][]byte{"gate.wasm": build(t)}, http.HandlerFunc(tagged), nil)
			gate(h, name)
			h.hears("refused")
			h.sound()
		})
	}
}
