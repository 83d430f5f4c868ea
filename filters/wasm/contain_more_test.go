package wasm_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// ranges are arguments that lie outside of memory, whose sum overflows, or that say nothing.
var ranges = [][2]int{{-1, -1}, {0, -1}, {-1, 0}, {-1, 1}, {-2, 4}, {pages<<16 - 4, 8}, {1 << 31, 1 << 31}, {0x7fffffff, 0x7fffffff}, {0, 0}, {pages << 16, 0}}

// pointers: every host function of both ABIs, with every odd pair of arguments in every place.
func pointers(t *testing.T) {
	modules := map[string][]byte{}
	calls := func(w *writing, name string) (code [][]byte) {
		params, _, _ := strings.Cut(w.types[name], ":")
		for _, o := range ranges {
			for shift := range 2 {
				var args [][]byte
				for i, c := range params {
					v := o[(i+shift)%2]
					if c == 'I' {
						args = append(args, asm.Const64(int64(v)))
					} else {
						args = append(args, num(v))
					}
				}
				code = append(code, w.host(name, args...))
			}
		}
		return code
	}
	w := proxyGuest()
	var all [][]byte
	for name := range proxyImports {
		switch name {
		case "proxy_close_stream", "proxy_send_local_response", "proxy_done", "proxy_set_effective_context", "proxy_set_tick_period_milliseconds":
		default:
			all = append(all, calls(w, name)...)
		}
	}
	f := w.m.Func(nil, nil, nil, all...)
	for _, phase := range []string{"request_headers", "request_body", "request_trailers", "response_headers", "response_body", "response_trailers"} {
		w.on("proxy_on_"+phase, asm.Call(f), num(0))
	}
	modules["proxy"] = w.on("proxy_on_log", asm.Call(f)).bytes()
	for _, name := range []string{"proxy_close_stream", "proxy_send_local_response", "proxy_done", "proxy_set_effective_context"} {
		w := proxyGuest()
		modules[strings.ReplaceAll(name, "_", "-")] = w.on("proxy_on_request_headers", ifBody(calls(w, name)...), num(0)).bytes()
	}
	for name := range httpImports {
		if httpImports[name] == ":i" {
			continue
		}
		w := httpGuest()
		list := calls(w, name)
		at := w.global(0)
		var code []byte // one call a request, since the first that is wrong may trap
		for i, c := range list {
			code = asm.Cat(code, asm.GlobalGet(at), num(i), asm.Sub32, asm.Eqz32, asm.If(asm.None,
				asm.GlobalGet(at), num(1), asm.Add32, asm.GlobalSet(at), c, asm.Const64(1), asm.Return))
		}
		modules["http-"+strings.ReplaceAll(name, "_", "-")] = w.on("handle_request", w.ifField("armed", code), asm.Const64(1)).bytes()
	}
	h := guarded(t, modules, `calls: [api], cpu: 5s, cpu_total: 60s`, nil)
	for name := range modules {
		for range 4 {
			raw := h.Raw(upload("/"+name), 10*time.Second)
			got, _ := whole(t, name, "POST", raw)
			if name == "proxy" && got != 200 || got != 200 && got != 503 && got != 500 && got != 0 {
				t.Errorf("%s: %d %q", name, got, raw)
			}
		}
	}
	h.fine()
	if s := h.told("proxy"); len(s.Failures) != 0 {
		t.Errorf("%+v", s.Failures)
	}
}

// logFlood: what a guest logs is cut to so many lines a request of so many bytes.
func logFlood(t *testing.T) {
	text := strings.Repeat("x", 1024)
	p, w := proxyGuest(), httpGuest()
	h := guarded(t, map[string][]byte{
		"proxy": p.on("proxy_on_request_headers", ifBody(p.times(1024, p.host("proxy_log", num(2), p.text(text)))), num(0)).bytes(),
		"http":  w.on("handle_request", w.ifField("armed", w.times(1024, w.host("log", num(0), w.text(text)))), asm.Const64(1)).bytes(),
	}, unhurried, nil)
	for _, name := range []string{"proxy", "http"} {
		before := len(h.log.String())
		for range 5 {
			if got, _ := whole(t, name, "POST", h.Raw(upload("/"+name), 10*time.Second)); got != 200 {
				t.Errorf("%s: %d", name, got)
			}
		}
		if n := len(h.log.String()) - before; n == 0 || n > 5*33*1400 {
			t.Errorf("%s: 5 MB of log became %d bytes", name, n)
		}
		if s := h.told(name); s.Dropped < 5*900 {
			t.Errorf("%s: %d lines counted as dropped", name, s.Dropped)
		}
	}
	h.fine()
}

// lateAnswers: a guest that answers twice, and again when the exchange is over. A client gets one answer, and the next on the
// same connection.
func lateAnswers(t *testing.T) {
	reply := func(w *writing, code int, body string) []byte {
		return w.host("proxy_send_local_response", num(code), w.text("why"), w.text(body), num(0), num(0), num(-1))
	}
	twice, late, gone := proxyGuest(), proxyGuest(), proxyGuest()
	end := []string{"proxy_on_log", "proxy_on_done", "proxy_on_delete"}
	for _, w := range []*writing{twice, late, gone} {
		for _, name := range end {
			code := [][]byte{reply(w, 418, "late"), w.host("proxy_continue_stream", num(0)), w.host("proxy_close_stream", num(1))}
			if name == "proxy_on_done" {
				code = append(code, num(1))
			}
			w.on(name, code...)
		}
	}
	twice.on("proxy_on_request_headers", reply(twice, 403, "first"), reply(twice, 404, "second"), num(0))
	twice.on("proxy_on_response_headers", reply(twice, 401, "third"), num(1))
	late.on("proxy_on_response_trailers", reply(late, 403, "late"), num(0))
	gone.on("proxy_on_context_create")
	w := httpGuest()
	w.on("handle_request", w.host("set_status_code", num(403)), w.host("write_body", num(1), w.text("first")), asm.Const64(0))
	w.on("handle_response", w.host("set_status_code", num(404)))
	h := guarded(t, map[string][]byte{"twice": twice.bytes(), "late": late.bytes(), "gone": gone.bytes(), "http": w.bytes()}, unhurried, nil)
	for range 20 {
		c := h.Client()
		for _, path := range []string{"/gone", "/twice", "/http", "/plain", "/gone"} {
			c.Send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
			answer, body := c.Answer("GET")
			if want := map[string]string{"/twice": "401 third", "/http": "403 first"}[path]; fmt.Sprint(answer.StatusCode, " ", body) != want && (want != "" || body != "hello") {
				t.Errorf("%s: %d %q", path, answer.StatusCode, body)
			}
		}
		c.Send("GET /late HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
		all, _ := c.Rest()
		if strings.Contains(all, "\r\n0\r\n") || strings.Count(all, "HTTP/1.1") > 1 {
			t.Errorf("an answer that was given up at its trailer section looks whole: %q", all)
		}
	}
	for _, name := range []string{"twice", "late", "gone"} {
		if s := h.told(name); len(s.Failures) != 0 {
			t.Errorf("%s: %+v", name, s.Failures)
		}
	}
	h.fine()
}

// goneStreams: a tick that acts for every context there has ever been, and for those that there have not.
func goneStreams(t *testing.T) {
	w := proxyGuest()
	last, id, ticks := w.global(0), w.global(0), w.global(0)
	w.on("proxy_on_configure", w.host("proxy_set_tick_period_milliseconds", num(1)), num(1))
	w.on("proxy_on_context_create", asm.Get(0), asm.GlobalSet(last))
	act := func(n []byte) []byte {
		return asm.Cat(w.host("proxy_set_effective_context", n),
			w.host("proxy_continue_stream", num(0)), w.host("proxy_continue_stream", num(1)), w.host("proxy_continue_stream", num(2)), w.host("proxy_continue_stream", num(99)),
			w.host("proxy_add_header_map_value", num(0), w.text("x"), w.text("y")), w.host("proxy_add_header_map_value", num(2), w.text("x"), w.text("y")),
			w.host("proxy_set_buffer_bytes", num(0), num(0), num(0), w.text("z")), w.host("proxy_set_buffer_bytes", num(1), num(0), num(-1), w.text("z")),
			w.host("proxy_send_local_response", num(418), num(0), num(0), num(0), num(0), num(0), num(0), num(-1)))
	}
	w.on("proxy_on_tick", asm.GlobalGet(ticks), num(1), asm.Add32, asm.GlobalSet(ticks), num(0), asm.GlobalSet(id),
		act(num(-1)), act(num(0)), act(num(1<<30)), act(asm.GlobalGet(ticks)),
		asm.Loop(asm.None, act(asm.GlobalGet(id)), asm.GlobalGet(id), num(1), asm.Add32, asm.GlobalSet(id), asm.GlobalGet(id), asm.GlobalGet(last), asm.LtU32, asm.BrIf(0)))
	// It says how often it was woken, so that the test knows that it was.
	w.on("proxy_on_response_headers", asm.GlobalGet(ticks), num(20), asm.LtU32, asm.Eqz32, asm.If(asm.None,
		w.host("proxy_add_header_map_value", num(2), w.text("x-woken"), w.text("1"))), num(0))
	h := guarded(t, map[string][]byte{"gone": w.bytes()}, unhurried, nil)
	h.await("ticks", func() bool {
		raw := h.Raw(upload("/gone"), 10*time.Second)
		got, body := whole(t, "gone", "POST", raw)
		if got != 200 || body != "hello" || strings.Contains(raw, "\r\nx:") {
			t.Errorf("%q", raw)
			return true
		}
		return strings.Contains(raw, "x-woken: 1")
	})
	if s := h.told("gone"); len(s.Failures) != 0 || s.Streams.Open != 0 {
		t.Errorf("%+v %+v", s.Failures, s.Streams)
	}
	h.fine()
}

// manyThings: guests that define metrics, open queues and keep data without end are refused, and serve.
func manyThings(t *testing.T) {
	w := proxyGuest()
	n := w.global(0)
	// A name of four letters that follow from a number.
	name := func(w *writing, n uint32) []byte {
		var code []byte
		for i := range 4 {
			code = asm.Cat(code, num(2048+i), asm.GlobalGet(n), num(4*i), asm.Op(0x76), num(15), asm.And32, num('a'), asm.Add32, asm.Load(0x3a, 0, 0))
		}
		return code
	}
	w.on("proxy_on_request_headers", ifBody(w.times(12_000, name(w, n), asm.GlobalGet(n), num(1), asm.Add32, asm.GlobalSet(n),
		w.host("proxy_define_metric", num(0), num(2048), num(4), num(outAt)),
		w.host("proxy_increment_metric", num(outAt), asm.Load(0x28, 2, 0), asm.Const64(1)),
		w.host("proxy_register_shared_queue", num(2048), num(4), num(outAt)),
		w.host("proxy_enqueue_shared_queue", num(outAt), asm.Load(0x28, 2, 0), num(2048), num(4)),
		w.host("proxy_set_shared_data", num(2048), num(4), num(heapAt), num(16<<10), num(0)))), num(0))
	h := guarded(t, map[string][]byte{"many": w.bytes()}, unhurried, nil)
	if got, body := whole(t, "many", "POST", h.Raw(upload("/many"), 60*time.Second)); got != 200 || body != "hello" {
		t.Error(got, body)
	}
	if s := h.told("many"); len(s.Failures) != 0 {
		t.Errorf("%+v", s.Failures)
	}
	if n := bytes.Count(h.Node.Metrics(), []byte("\naaa")); n > 10_000 {
		t.Errorf("%d metrics", n)
	}
	h.fine()
}

// largeBodies: guests that make a body larger than body_limit lets them.
func largeBodies(t *testing.T) {
	modules := map[string][]byte{}
	for kind, phase := range []string{"request_body", "response_body"} {
		w := proxyGuest()
		modules["proxy-"+strings.ReplaceAll(phase, "_", "-")] = w.on("proxy_on_"+phase,
			w.times(64, w.host("proxy_set_buffer_bytes", num(kind), num(1<<30), num(0), num(heapAt), num(32<<10))), num(0)).bytes()
	}
	w := httpGuest()
	modules["http-request"] = w.on("handle_request", w.ifField("armed", w.times(64, w.host("write_body", num(0), num(heapAt), num(32<<10)))), asm.Const64(1)).bytes()
	w = httpGuest()
	g := w.global(0)
	modules["http-response"] = w.on("handle_request", w.ifField("armed", num(1), asm.GlobalSet(g)), w.host("enable_features", num(2)), asm.Const64(1)).
		on("handle_response", w.times(64, asm.GlobalGet(g), asm.Eqz32, asm.If(asm.None, asm.Return), w.host("write_body", num(1), num(heapAt), num(32<<10)))).bytes()
	h := guarded(t, modules, unhurried+`, body_limit: 64KiB`, nil)
	for name := range modules {
		raw := h.Raw(upload("/"+name), 10*time.Second)
		if got, _ := whole(t, name, "POST", raw); got == 200 || len(raw) > 2<<10 {
			t.Errorf("%s: %d, %d bytes", name, got, len(raw))
		}
		if s := h.told(name); s.Failures["trap"]+s.Failures["body_limit"] == 0 {
			t.Errorf("%s: %+v", name, s.Failures)
		}
	}
	h.fine()
}

// pausedForEver: requests that a guest pauses and never resumes go with their clients.
func pausedForEver(t *testing.T) {
	modules := map[string][]byte{}
	for _, phase := range []string{"request_headers", "request_body", "request_trailers", "response_headers", "response_body", "response_trailers"} {
		w := proxyGuest().on("proxy_on_"+phase, num(1))
		if way, ok := strings.CutSuffix(phase, "_body"); ok { // what is held back goes on with a trailer section
			w.on("proxy_on_"+way+"_trailers", num(1))
		}
		modules[strings.ReplaceAll(phase, "_", "-")] = w.bytes()
	}
	h := guarded(t, modules, unhurried+`, pause: 10m`, nil)
	const n = 20
	for name := range modules {
		var all []*coretest.Client
		for range n {
			c := h.Client()
			c.Send(strings.Replace(upload("/"+name), "Connection: close, TE", "Connection: TE", 1))
			all = append(all, c)
		}
		h.await(name+": requests to be paused", func() bool { return h.told(name).Streams.Paused == n })
		h.fine()
		for i, c := range all {
			if i%2 == 0 {
				c.Reset()
			} else {
				c.Close()
			}
		}
		h.await(name+": requests to go", func() bool { s := h.told(name).Streams; return s.Paused == 0 && s.Open == 0 })
	}
	h.fine()
}

// sixteen filters of both kinds, in turns: each adds to the request and to its answer, in the order of the route and back.
func sixteen(t *testing.T) {
	var filters, list strings.Builder
	files := map[string][]byte{}
	var down, up []string
	for i := range 16 {
		name := fmt.Sprintf("f%02d", i)
		var w *writing
		if i%2 == 0 {
			w = proxyGuest()
			w.on("proxy_on_request_headers", w.host("proxy_add_header_map_value", num(0), w.text("x-way"), w.text(name)), num(0))
			w.on("proxy_on_request_body", w.host("proxy_set_buffer_bytes", num(0), num(1<<20), num(0), w.text(name+"|")), num(0))
			w.on("proxy_on_response_headers", w.host("proxy_add_header_map_value", num(2), w.text("x-way"), w.text(name)), num(0))
		} else {
			w = httpGuest()
			w.on("handle_request", w.host("add_header_value", num(0), w.text("x-way"), w.text(name)), asm.Const64(1))
			w.on("handle_response", w.host("add_header_value", num(1), w.text("x-way"), w.text(name)))
		}
		files[name+".wasm"] = w.bytes()
		fmt.Fprintf(&filters, "  %s: {file: %s.wasm, %s}\n", name, name, unhurried)
		list.WriteString(name + ", ")
		down, up = append(down, name), append([]string{name}, up...)
	}
	yaml := "wasm:\n" + filters.String() + "upstreams: {api: {endpoints: [\"http://${UPSTREAM}\"]}}\nroutes:\n" +
		"  - {name: all, match: {path: /all}, auth: none, wasm: [" + strings.TrimSuffix(list.String(), ", ") + "], upstream: api}\n" +
		"  - {name: plain, match: {path: /*}, auth: none, upstream: api}\n"
	h := serve(t, "", yaml, files, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/all" {
			fmt.Fprintf(w, "%v %s", r.Header["X-Way"], b)
			return
		}
		fmt.Fprint(w, "hello")
	}), nil)
	want := fmt.Sprint(down) + " body:"
	for i := 0; i < 16; i += 2 {
		want += fmt.Sprintf("f%02d|", i)
	}
	for range 5 {
		got := h.is("POST", "/all", "body:", 200, want)
		if fmt.Sprint(got["X-Way"]) != fmt.Sprint(up) {
			t.Errorf("back: %v", got["X-Way"])
		}
	}
	h.sound()
	h.fine()
}
