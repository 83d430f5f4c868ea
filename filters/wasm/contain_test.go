package wasm_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// TestContain is what a guest may try through its ABI against the node, each under its name.
func TestContain(t *testing.T) {
	passed, all := 0, 0
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"loops in every callback", loops},
		{"recursion through host functions", hostRecursion},
		{"memory grows while a body streams", growing},
		{"pointers and lengths", pointers},
		{"names and values", namesAndValues},
		{"what frames a message", framing},
		{"messages without a body", bodiless},
		{"skipped in the midst of a body", skipped},
		{"memory of others", memoryOfOthers},
		{"a megabyte of log a request", logFlood},
		{"answers too late and twice", lateAnswers},
		{"streams that are gone", goneStreams},
		{"a thousand metrics, queues and keys", manyThings},
		{"a body made too large", largeBodies},
		{"paused for ever", pausedForEver},
		{"sixteen filters of both kinds", sixteen},
		{"an answer in every phase", answers},
	} {
		if t.Run(c.name, c.test) {
			passed++
		}
		all++
	}
	coretest.Score(t, "F1", "abi", float64(passed))
	coretest.Score(t, "F1", "abi-failed", float64(all-passed))
}

// guarded serves modules, each as a filter of its own on a route /name, and a route without filters beside them. handler nil
// is an upstream that reads what it is sent and answers "hello" with a trailer section. more is what else stands in each filter.
func guarded(t *testing.T, modules map[string][]byte, more string, handler http.Handler) *house {
	t.Helper()
	return guardedAt(t, modules, more, "${UPSTREAM}", handler)
}

// guardedAt is guarded before an upstream at an address.
func guardedAt(t *testing.T, modules map[string][]byte, more, upstream string, handler http.Handler) *house {
	t.Helper()
	var filters, routes strings.Builder
	files := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		files[name+".wasm"] = modules[name]
		own := more
		if strings.HasPrefix(name, "http") {
			own = strings.TrimPrefix(more, "calls: [api], ") // which that kind does not have
		}
		fmt.Fprintf(&filters, "  %s: {file: %s.wasm, instances: 1, %s}\n", name, name, own)
		fmt.Fprintf(&routes, "  - {name: %s, match: {path: /%s}, auth: none, wasm: [%s], upstream: api}\n", name, name, name)
	}
	if handler == nil {
		handler = http.HandlerFunc(hello)
	}
	yaml := strings.Replace(head, `"127.0.0.1:0"}`, `"127.0.0.1:0", h2c: true}`, 1) + "wasm:\n" + filters.String() +
		"upstreams: {api: {endpoints: [\"http://" + upstream + "\"]}}\nroutes:\n" + routes.String() +
		"  - {name: plain, match: {path: /*}, auth: none, upstream: api}\n"
	return serveAll(t, "", yaml, files, handler, nil)
}

func hello(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Trailer", "X-Sum")
	fmt.Fprint(w, "hello")
	w.(http.Flusher).Flush()
	w.Header().Set("X-Sum", "1")
}

// upload is a request with a body in chunks and a trailer section, on a connection that ends with it.
func upload(path string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, TE\r\nTransfer-Encoding: chunked\r\narmed: 1\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"
}

// whole reports what a client has read: a status, or 0 for an answer that is visibly cut or none. What is neither fails the test.
func whole(t *testing.T, what, method, raw string) (status int, body string) {
	t.Helper()
	if raw == "" {
		return 0, ""
	}
	c := bufio.NewReader(strings.NewReader(raw))
	answer, body, err := coretest.ReadResponse(c, method)
	if err != nil {
		return 0, body
	}
	if rest, _ := io.ReadAll(c); len(rest) > 0 {
		t.Errorf("%s: bytes after the answer: %q", what, raw)
	}
	return answer.StatusCode, body
}

// fine wants the route without filters served.
func (h *house) fine() {
	h.T.Helper()
	h.is("GET", "/", "", 200, "hello")
	if strings.Contains(h.Log.String(), "panic") {
		h.T.Errorf("panic:\n%s", h.Log)
	}
}

// told finds what is told of a filter.
func (h *house) told(name string) (s filter.Status) {
	for _, s = range h.Set.Wasm.Filters() {
		if s.Name == name {
			return s
		}
	}
	return s
}

func loops(t *testing.T) {
	modules := map[string][]byte{}
	armed := func(w *writing) uint32 {
		g := w.global(0)
		w.on("proxy_on_request_headers", ifBody(num(1), asm.GlobalSet(g)), num(0))
		return g
	}
	for _, name := range []string{"request_headers", "response_headers"} {
		modules[name] = proxyGuest().on("proxy_on_"+name, ifBody(forever()), num(0)).bytes()
	}
	for _, name := range []string{"request_body", "request_trailers", "response_body", "response_trailers"} {
		modules[name] = proxyGuest().on("proxy_on_"+name, forever(), num(0)).bytes()
	}
	for _, name := range []string{"log", "done", "delete", "context_create"} {
		w := proxyGuest()
		g := armed(w)
		code := [][]byte{asm.GlobalGet(g), asm.If(asm.None, forever())}
		if name == "done" {
			code = append(code, num(1))
		}
		modules[name] = w.on("proxy_on_"+name, code...).bytes()
	}
	w := proxyGuest()
	modules["tick"] = w.on("proxy_on_configure", w.host("proxy_set_tick_period_milliseconds", num(1)), num(1)).on("proxy_on_tick", forever()).bytes()
	w = proxyGuest()
	modules["queue"] = w.on("proxy_on_configure", w.host("proxy_register_shared_queue", w.text("q"), num(outAt)),
		w.host("proxy_enqueue_shared_queue", num(outAt), asm.Load(0x28, 2, 0), w.text("x")), num(1)).on("proxy_on_queue_ready", forever()).bytes()
	w = proxyGuest()
	modules["call"] = w.on("proxy_on_request_headers", ifBody(
		w.host("proxy_http_call", w.text("api"), w.text(pairs(":method", "GET", ":path", "/", ":authority", "a")), num(0), num(0), num(0), num(0), num(1000), num(outAt))), num(0)).
		on("proxy_on_http_call_response", forever()).bytes()
	w = httpGuest()
	modules["http_request"] = w.on("handle_request", w.ifField("armed", forever()), asm.Const64(1)).bytes()
	w = httpGuest()
	g := w.global(0)
	modules["http_response"] = w.on("handle_request", w.ifField("armed", num(1), asm.GlobalSet(g)), asm.Const64(1)).
		on("handle_response", asm.GlobalGet(g), asm.If(asm.None, forever())).bytes()

	h := guarded(t, modules, `calls: [api], cpu: 2ms, cpu_total: 20ms, start: 5s`, nil)
	for name := range modules {
		raw := h.Raw(upload("/"+name), 10*time.Second)
		if got, _ := whole(t, name, "POST", raw); got != 200 && got != 503 && got != 0 {
			t.Errorf("%s: %q", name, raw)
		}
		h.fine()
		if name == "context_create" { // it is armed by the first and loops in the second
			h.Raw(upload("/"+name), 10*time.Second)
		}
		h.await(name+" to be stopped for its budget", func() bool { return h.told(name).Failures["budget"] > 0 })
	}
	h.fine()
}

// hostRecursion: an allocator that asks the host for what the host needs the allocator for. http-wasm has no way back into the
// guest from a host function.
func hostRecursion(t *testing.T) {
	modules := map[string][]byte{}
	for name, call := range map[string]func(w *writing) []byte{
		"config": func(w *writing) []byte {
			return w.host("proxy_get_buffer_bytes", num(7), num(0), num(1000), num(outAt), num(outAt+4))
		},
		"property": func(w *writing) []byte {
			return w.host("proxy_get_property", w.text("plugin_name"), num(outAt), num(outAt+4))
		},
		"pairs": func(w *writing) []byte { return w.host("proxy_get_header_map_pairs", num(0), num(outAt), num(outAt+4)) },
		"body": func(w *writing) []byte {
			return w.host("proxy_get_buffer_bytes", num(0), num(0), num(1000), num(outAt), num(outAt+4))
		},
		"change": func(w *writing) []byte {
			return asm.Cat(w.host("proxy_set_buffer_bytes", num(0), num(0), num(1000), w.text("?")),
				w.host("proxy_add_header_map_value", num(0), w.text("x"), w.text("y")), w.host("proxy_remove_header_map_value", num(0), w.text("armed")))
		},
		"grow": func(w *writing) []byte { return asm.Cat(num(1), asm.MemoryGrow, asm.Drop) },
	} {
		w := proxyGuest()
		g := w.global(0)
		w.alloc = [][]byte{asm.GlobalGet(g), asm.If(asm.None, call(w)), num(heapAt)}
		read := asm.Cat(num(1), asm.GlobalSet(g), w.host("proxy_get_header_map_pairs", num(0), num(outAt), num(outAt+4)),
			w.host("proxy_get_buffer_bytes", num(7), num(0), num(1000), num(outAt), num(outAt+4)))
		w.on("proxy_on_request_headers", ifBody(read), num(0))
		w.on("proxy_on_request_body", read, w.host("proxy_get_buffer_bytes", num(0), num(0), num(1000), num(outAt), num(outAt+4)), num(0))
		modules[name] = w.bytes()
	}
	h := guarded(t, modules, `config: "some configuration", cpu: 20ms, cpu_total: 200ms`, nil)
	for name := range modules {
		for range 3 {
			raw := h.Raw(upload("/"+name), 10*time.Second)
			if got, _ := whole(t, name, "POST", raw); got != 200 && got != 503 && got != 0 {
				t.Errorf("%s: %q", name, raw)
			}
		}
		h.fine()
	}
	for _, name := range []string{"config", "body"} {
		if n := h.told(name).Failures; len(n) == 0 {
			t.Errorf("%s: recursion without end was not stopped", name)
		}
	}
	for _, name := range []string{"pairs", "change", "grow"} {
		if n := h.told(name).Failures; len(n) != 0 {
			t.Errorf("%s: %v", name, n)
		}
	}
}

// growing: guests that take a page more with every piece of a body, and write to it, up to their cap.
func growing(t *testing.T) {
	grow := asm.Cat(num(1), asm.MemoryGrow, num(0), asm.LtS32, asm.Eqz32, asm.If(asm.None,
		asm.MemorySize, num(1<<16), asm.Mul32, num(4), asm.Sub32, num(7), asm.Load(0x36, 2, 0)))
	w := httpGuest()
	w.on("handle_request", w.times(200, w.host("read_body", num(0), num(outAt), num(512)), grow), asm.Const64(1))
	h := guarded(t, map[string][]byte{
		"proxy": proxyGuest().on("proxy_on_request_body", grow, num(0)).bytes(),
		"http":  w.bytes(),
	}, `memory: 1MiB, cpu: 5s, cpu_total: 60s`, nil)
	for name := range map[string]bool{"proxy": true, "http": true} {
		for range 3 {
			c := h.Client()
			c.Send("POST /" + name + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
			for range 100 {
				c.Send("400\r\n" + strings.Repeat("x", 1024) + "\r\n")
			}
			c.Send("0\r\n\r\n")
			if answer, body := c.Answer("POST"); name == "proxy" && (answer.StatusCode != 200 || body != "hello") {
				t.Errorf("%s: %d %q", name, answer.StatusCode, body)
			}
		}
		if s := h.told(name); s.Memory.High > 1<<20 {
			t.Errorf("%s: %+v", name, s.Memory)
		}
		h.fine()
	}
}
