package filters_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/asm"
	"github.com/weirproxy/weir/filters"
)

// TestStatusPage asks the admin side what filters have done, and what that has cost.
func TestStatusPage(t *testing.T) {
	set := open(t, filters.Options{Open: func(file string) ([]byte, error) {
		var m asm.Module
		m.Memory(1, 1)
		m.Export("memory", 2, 0)
		turns := m.Global(asm.I32, true, asm.Const32(100))
		loop := asm.Cat(asm.GlobalGet(turns), asm.Const32(1), asm.Sub32, asm.GlobalSet(turns), asm.GlobalGet(turns), asm.BrIf(0))
		m.Export("handle_request", 0, m.Func(nil, asm.T(asm.I64), nil,
			asm.Const32(100), asm.GlobalSet(turns), asm.Loop(asm.None, loop), asm.Const64(1)))
		m.Export("handle_response", 0, m.Func(asm.T(asm.I32, asm.I32), nil, nil))
		return m.Bytes(), nil
	}})
	r := coretest.Start(t, `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
wasm: {loop: {file: loop.wasm, on_error: fail_open}}
routes:
  - {name: b, match: {path: /b}, auth: none, wasm: [loop], respond: {status: 204}}
  - {name: a, match: {path: /a}, auth: none, wasm: [loop, {filter: loop, config: secret}], respond: {status: 204}}
`, nil, coretest.Options{Kinds: set.Standard(), Filters: set.Wasm.Filters})
	const requests = 20
	for range requests {
		if status, _, _ := r.Get("/b"); status != 204 {
			t.Fatal(status)
		}
	}
	ask := func(path string) string {
		answer, err := http.Get("http://" + r.Node.AdminAddr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		b, _ := io.ReadAll(answer.Body)
		return string(b)
	}
	var list []struct {
		Name, Config, State string
		File                string
		OnError             string `json:"on_error"`
		Routes              []string
		Places              int
		Phases              []struct {
			Phase string
			Calls int
			P99   string
			P99NS int64 `json:"p99_ns"`
		}
	}
	text := ask("/filters")
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) != 2 || strings.Contains(text, "secret") {
		t.Fatal(err, text)
	}
	plain := list[0]
	if strings.Join(plain.Routes, " ") != "a b" || plain.Places != 2 || plain.Config != "" || list[1].Config != filter.ConfigMark("secret") ||
		!strings.HasSuffix(plain.File, "loop.wasm") || plain.OnError != "fail_open" || plain.State != "serving" {
		t.Errorf("%+v", list)
	}
	for _, p := range plain.Phases {
		if p.Phase == "handle_request" && (p.Calls != requests+1 || p.P99NS <= 0 || p.P99 == "0s") { // one was made up to try it
			t.Errorf("%+v", p)
		}
	}
	// The metric adds up both of the name, with the one request each that was made up.
	for _, want := range []string{"weir_filter_cpu_seconds_count{filter=\"loop\",phase=\"handle_request\"} 22\n", "# TYPE weir_filter_cpu_seconds histogram\n"} {
		if text := ask("/metrics"); !strings.Contains(text, want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
}
