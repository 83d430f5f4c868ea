package wasm_test

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/coretest/guest"
)

// TestSDKGo runs filters written with the Go SDK of Proxy-Wasm, each as its users would see it behave in Envoy.
func TestSDKGo(t *testing.T) {
	s := &sdkGo{t: t, state: t.TempDir(), modules: map[string][]byte{"go.wasm": guest.Go(t, "testdata/sdkgo")}}
	for _, c := range []struct {
		name string
		run  func(*sdkGo)
	}{
		{"dispatch_call_on_tick", (*sdkGo).dispatchCallOnTick},
		{"foreign_call_on_tick", (*sdkGo).foreignCallOnTick},
		{"helloworld", (*sdkGo).helloworld},
		{"http_auth_random", (*sdkGo).httpAuthRandom},
		{"http_body", (*sdkGo).httpBody},
		{"http_body_chunk", (*sdkGo).httpBodyChunk},
		{"http_headers", (*sdkGo).httpHeaders},
		{"http_routing", (*sdkGo).httpRouting},
		{"json_validation", (*sdkGo).jsonValidation},
		{"metrics", (*sdkGo).metrics},
		{"multiple_dispatches", (*sdkGo).multipleDispatches},
		{"postpone_requests", (*sdkGo).postponeRequests},
		{"properties", (*sdkGo).properties},
		{"shared_data", (*sdkGo).sharedData},
		{"shared_queue", (*sdkGo).sharedQueue},
		{"vm_plugin_configuration", (*sdkGo).vmPluginConfiguration},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(&sdkGo{t: t, state: s.state, modules: s.modules}) })
	}
}

type sdkGo struct {
	t       *testing.T
	state   string
	modules map[string][]byte
}

func (s *sdkGo) serve(yaml string, handler http.Handler) *house {
	s.t.Helper()
	yaml = strings.ReplaceAll(yaml, "$go", "file: go.wasm, "+unhurried)
	return serve(s.t, s.state, yaml, s.modules, handler, map[string]string{"DEAD": deadAddress(s.t)})
}

// deadAddress is one where nobody listens.
func deadAddress(t testing.TB) string {
	t.Helper()
	l := newListener(t)
	defer l.Close()
	return l.Addr().String()
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

// Two plugins in one VM: their contexts are 1 and 2, and what a dead upstream answers is 503.
func (s *sdkGo) dispatchCallOnTick() {
	h := s.serve(`
wasm:
  first: {$go, root_id: dispatch_call_on_tick, vm_id: both, instances: 1, calls: [web, dead], config: {plugin: 1}}
  second: {$go, root_id: dispatch_call_on_tick, vm_id: both, instances: 1, calls: [web, dead], config: {plugin: 2}}
upstreams:
  web: {endpoints: ["http://${UPSTREAM}"]}
  dead: {endpoints: ["http://${DEAD}"]}
routes: [{match: {path: /*}, auth: none, wasm: [first, second], respond: {status: 200, body: static}}]
`, text("ok"))
	for n := 1; n <= 5; n++ {
		h.hears(fmt.Sprintf("called %d for contextID=1", n), fmt.Sprintf("called %d for contextID=2", n))
	}
	for id := 1; id <= 2; id++ {
		h.hears(fmt.Sprintf("response header for contextID=%d: :status: 200", id), fmt.Sprintf("response header for contextID=%d: :status: 503", id))
	}
	h.is("GET", "/", "", 200, "static")
	h.sound()
}

// What compress gives is zlib's format, and uncompress (the guest checks it) is its reverse.
func (s *sdkGo) foreignCallOnTick() {
	h := s.serve(`
wasm: {foreign: {$go, root_id: foreign_call_on_tick, instances: 1}}
routes: [{match: {path: /*}, auth: none, wasm: [foreign], respond: {status: 200}}]
`, nil)
	h.hears("foreign function (compress) called: 5, result: ")
	for _, l := range h.lines() {
		_, digits, ok := strings.Cut(l.Message, "result: ")
		if !ok {
			continue
		}
		small, err := hex.DecodeString(digits)
		if err != nil {
			s.t.Fatal(err)
		}
		r, err := zlib.NewReader(bytes.NewReader(small))
		if err != nil {
			s.t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != strings.Repeat("hello world! ", 20) {
			s.t.Errorf("%q, %v", got, err)
		}
	}
	h.sound()
}

func (s *sdkGo) helloworld() {
	before := time.Now()
	h := s.serve(`
wasm: {hello: {$go, root_id: helloworld, instances: 1}}
routes: [{match: {path: /*}, auth: none, wasm: [hello], respond: {status: 200}}]
`, nil)
	h.hears("OnPluginStart from Go!", "It's ")
	for _, l := range h.lines() {
		if digits, ok := strings.CutPrefix(l.Message, "It's "); ok {
			n, err := strconv.ParseInt(digits, 10, 64)
			if at := time.Unix(0, n); err != nil || at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
				s.t.Errorf("%s: %v", digits, err)
			}
		}
	}
	h.sound()
}

// A request waits for what another service says, on the first and on any other connection.
func (s *sdkGo) httpAuthRandom() {
	var mu sync.Mutex
	next, seen := "", ""
	h := s.serve(`
wasm: {auth: {$go, root_id: http_auth_random, calls: [httpbin]}}
upstreams: {httpbin: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, wasm: [auth], upstream: httpbin}]
`, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path != "/uuid" {
			_, _ = io.WriteString(w, "behind "+r.Host)
			return
		}
		seen = r.Method + " " + r.Header.Get("This-Is-Key")
		_, _ = fmt.Fprintf(w, `{"uuid": "7f1f2f9c-0000-4000-8000-00000000000%s"}`, next)
	}))
	for range 3 {
		for digit, status := range map[string]int{"1": 403, "2": 200} {
			mu.Lock()
			next = digit
			mu.Unlock()
			want := "access forbidden"
			if status == 200 {
				want = "behind a.test"
			}
			got := h.is("GET", "/resource", "", status, want, "This-Is-Key", "this-is-value", "Host", "a.test")
			if by := got.Get("Powered-By"); (by == "proxy-wasm-go-sdk") != (status == 403) {
				s.t.Errorf("powered-by: %q", by)
			}
		}
	}
	h.hears("access forbidden", "access granted", "response header from httpbin: :status: 200")
	mu.Lock()
	if seen != "GET this-is-value" {
		s.t.Errorf("the service saw %q", seen)
	}
	mu.Unlock()
	h.sound()
}

func (s *sdkGo) httpBody() {
	h := s.serve(`
wasm: {body: {$go, root_id: http_body}}
upstreams: {echo: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, wasm: [body], upstream: echo}]
`, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(400)
		}
		_, _ = w.Write(b)
	}))
	for _, where := range []string{"request", "response"} {
		for how, want := range map[string]string{
			"append":  "[original body][this is appended body]",
			"prepend": "[this is prepended body][original body]",
			"replace": "[this is replaced body]",
			"invalid": "[this is replaced body]",
		} {
			h.is("PUT", "/anything", "[original body]", 200, want, "buffer-replace-at", where, "buffer-operation", how)
		}
		h.hears("original " + where + " body: [original body]")
	}
	// A body in many pieces is one for who pauses until its end.
	big := strings.Repeat("0123456789abcdef", 20<<10>>4)
	h.is("PUT", "/anything", big, 200, big+"[this is appended body]", "buffer-replace-at", "request", "buffer-operation", "append")
	h.is("PUT", "/anything", big, 200, "[this is prepended body]"+big, "buffer-replace-at", "response", "buffer-operation", "prepend")
	h.is("PUT", "/anything", big, 200, big)
	h.sound()
}

// The guest sees a body piece by piece, as it comes: the first piece reaches the upstream while the client still sends.
func (s *sdkGo) httpBodyChunk() {
	first := make(chan string, 1)
	h := s.serve(`
wasm: {chunks: {$go, root_id: http_body_chunk}}
upstreams: {echo: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, wasm: [chunks], upstream: echo}]
`, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := bufio.NewReader(r.Body)
		line, _ := in.ReadString('\n')
		select {
		case first <- line:
		default:
		}
		rest, _ := io.ReadAll(in)
		_, _ = io.WriteString(w, line+string(rest))
	}))
	c := h.Dial()
	defer c.Close()
	send := func(text string) {
		s.t.Helper()
		if _, err := fmt.Fprintf(c, "%x\r\n%s\r\n", len(text), text); err != nil {
			s.t.Fatal(err)
		}
	}
	_, _ = io.WriteString(c, "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	send("the first piece\n")
	select {
	case got := <-first:
		if got != "the first piece\n" {
			s.t.Errorf("the upstream got %q", got)
		}
	case <-time.After(10 * time.Second):
		s.t.Fatalf("the first piece does not arrive before the last\n%s", h.log)
	}
	send("the second")
	_, _ = io.WriteString(c, "0\r\n\r\n")
	answer, body, err := coretest.ReadResponse(bufio.NewReader(c), "POST")
	if err != nil || answer.StatusCode != 200 || body != "the first piece\nthe second" {
		s.t.Errorf("%v %v %q", err, answer, body)
	}
	h.hears("chunk 1 of 16 bytes, 16 in all, last: false")

	// The word in one piece, over two, and in a body whose length is known: 403, whatever has gone on already.
	pieces := func(texts ...string) {
		s.t.Helper()
		c := h.Dial()
		defer c.Close()
		request := "POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
		for _, p := range texts {
			request += fmt.Sprintf("%x\r\n%s\r\n", len(p), p)
		}
		_, _ = io.WriteString(c, request+"0\r\n\r\n")
		answer, body, err := coretest.ReadResponse(bufio.NewReader(c), "POST")
		if err != nil || answer.StatusCode != 403 || body != "not this" || answer.Header.Get("Powered-By") != "proxy-wasm-go-sdk" {
			s.t.Errorf("%q: %v %v %q", texts, err, answer, body)
		}
	}
	pieces("a pattern is here")
	pieces("one\n", "a pat", "tern is here")
	h.is("POST", "/a", strings.Repeat("x", 100_000)+"pattern", 403, "not this")
	h.is("POST", "/a", strings.Repeat("pat tern", 20_000), 200, strings.Repeat("pat tern", 20_000))
	h.hears("pattern found in chunk: ")
	h.sound()
}

func (s *sdkGo) httpHeaders() {
	h := s.serve(`
wasm: {headers: {$go, root_id: http_headers, config: demo-wasm}}
upstreams: {web: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, wasm: [headers], upstream: web}]
`, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "envoy")
		w.Header().Set("X-Internal", "1")
		w.Header().Set("X-Proxy-Wasm-Go-Sdk-Example", "none")
	}))
	got := h.is("GET", "/uuid?a=b", "", 200, "", "This-Is-Key", "this-is-value", "Host", "a.test", "Multiple", "one", "Multiple", "two")
	for name, want := range map[string]string{"x-wasm-header": "demo-wasm", "x-proxy-wasm-go-sdk-example": "http_headers", "x-internal": ""} {
		if all := got.Values(name); strings.Join(all, ",") != want {
			s.t.Errorf("%s: %q", name, all)
		}
	}
	h.hears(
		"request header --> :authority: a.test", "request header --> :path: /uuid?a=b", "request header --> :method: GET",
		"request header --> :scheme: http", "request header --> this-is-key: this-is-value", "request header --> multiple: one",
		"request header --> multiple: two", "response header <-- :status: 200", "response header <-- server: envoy",
		"response header <-- x-wasm-header: demo-wasm", "response header <-- x-proxy-wasm-go-sdk-example: http_headers", " finished")
	for _, never := range []string{"request header --> host:", "request header --> connection:", "x-internal"} {
		if h.said(never) != 0 {
			s.t.Errorf("a guest sees %s", never)
		}
	}
	if first := "request header --> :authority: "; !strings.HasPrefix(h.first("request header"), first) {
		s.t.Errorf("the first header is %q", h.first("request header"))
	}
	h.sound()
}

// first is the first message with a text in it.
func (h *house) first(part string) string {
	for _, l := range h.lines() {
		if strings.Contains(l.Message, part) {
			return l.Message
		}
	}
	return ""
}

// The host that the guest chooses is the one whose route answers.
func (s *sdkGo) httpRouting() {
	h := s.serve(`
wasm: {routing: {$go, root_id: http_routing}}
upstreams: {web: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {match: {host: primary.test, path: /*}, auth: none, upstream: web, headers: {response: {set: {x-route: primary}}}}
  - {match: {host: canary.test, path: /*}, auth: none, upstream: web, headers: {response: {set: {x-route: canary}}}}
  - {match: {path: /*}, auth: none, wasm: [routing], respond: {status: 404, body: nowhere}}
`, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) }))
	seen := map[string]int{}
	h.await("canary and primary", func() bool {
		status, got, body := h.Get("/", "Host", "public.test")
		if host, ok := strings.CutSuffix(body, ".test"); !ok || status != 200 || got.Get("X-Route") != host {
			s.t.Fatalf("%d %v %q", status, got, body)
		}
		seen[body]++
		return seen["canary.test"] > 2 && seen["primary.test"] > 2
	})
	h.hears("public.test becomes canary.test", "public.test becomes primary.test")
	h.sound()
}

func (s *sdkGo) jsonValidation() {
	h := s.serve(`
wasm: {json: {$go, root_id: json_validation, config: {required: [id, token]}}}
upstreams: {echo: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, wasm: [json], upstream: echo}]
`, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}))
	const good = `{"id": "abc123", "token": "xyz456"}`
	h.is("GET", "/", "", 403, "content-type is no json")
	h.is("POST", "/", good, 403, "content-type is no json")
	h.is("POST", "/", good, 200, good, "Content-Type", "application/json")
	h.is("POST", "/", `{"id": "abc123"}`, 403, `"token" is missing`, "Content-Type", "application/json")
	h.is("POST", "/", `{"id": `, 403, "body is no json", "Content-Type", "application/json")
	h.sound()
}

// Tags are cut out of the names of metrics, and instances count together.
func (s *sdkGo) metrics() {
	h := s.serve(`
wasm:
  counter:
    file: go.wasm
    `+strings.ReplaceAll(unhurried, ", ", "\n    ")+`
    root_id: metrics
    tags: {value: "(_value=([a-zA-Z]+))", reporter: "(_reporter=([a-zA-Z]+))"}
routes: [{match: {path: /*}, auth: none, wasm: [counter], respond: {status: 200}}]
`, nil)
	for value, n := range map[string]int{"foo": 3, "bar": 5} {
		for range n {
			h.is("GET", "/", "", 200, "", "my-custom-header", value)
		}
	}
	h.is("GET", "/", "", 200, "")
	h.metric(`custom_header_value_counts{value="foo",reporter="wasmgosdk"} 3`)
	h.metric(`custom_header_value_counts{value="bar",reporter="wasmgosdk"} 5`)
	h.hears("foo: 2 before", "bar: 4 before")
	h.sound()
}

func (s *sdkGo) multipleDispatches() {
	h := s.serve(`
wasm: {dispatches: {$go, root_id: multiple_dispatches, calls: [web]}}
upstreams: {web: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, wasm: [dispatches], upstream: web}]
`, text("hello"))
	if got := h.is("GET", "/", "", 200, "hello"); got.Get("X-Calls") != "10" {
		s.t.Error(got)
	}
	for n := 9; n >= 1; n-- {
		h.hears(fmt.Sprintf("pending dispatched requests: %d", n))
	}
	h.hears("response resumed after processed 10 dispatched request")
	h.sound()
}

// A tick, which is of the plugin, resumes a request: its context is the first after the plugin's.
func (s *sdkGo) postponeRequests() {
	h := s.serve(`
wasm: {postpone: {$go, root_id: postpone_requests, instances: 1}}
upstreams: {web: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, wasm: [postpone], upstream: web}]
`, text("late"))
	h.is("GET", "/", "", 200, "late")
	h.hears("postpone request with contextID=2", "resume request with contextID=2")
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() { h.is("GET", "/", "", 200, "late") })
	}
	clients.Wait()
	for id := 2; id <= 22; id++ {
		h.hears(fmt.Sprintf("resume request with contextID=%d", id))
	}
	h.sound()
}

func (s *sdkGo) properties() {
	h := s.serve(`
wasm: {properties: {$go, root_id: properties}}
upstreams: {web: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {match: {path: /one}, auth: none, wasm: [properties], upstream: web, metadata: {envoy.filters.http.wasm: {auth: cookie}}}
  - {match: {path: /two}, auth: none, wasm: [properties], upstream: web, metadata: {envoy.filters.http.wasm: {auth: authorization}}}
  - {match: {path: /three}, auth: none, wasm: [properties], upstream: web, metadata: {other: {auth: cookie}}}
  - {match: {path: /four}, auth: none, wasm: [properties], upstream: web}
`, text("in"))
	h.is("GET", "/one", "", 401, "who are you?")
	h.is("GET", "/one", "", 200, "in", "Cookie", "value")
	h.is("GET", "/two", "", 401, "who are you?")
	h.is("GET", "/two", "", 200, "in", "Authorization", "token")
	h.is("GET", "/three", "", 200, "in")
	h.is("GET", "/four", "", 200, "in")
	h.hears(`auth header is "cookie"`, `auth header is "authorization"`, "no auth header for route")
	h.sound()
}

// Every request counts once, however many instances count at a time.
func (s *sdkGo) sharedData() {
	h := s.serve(`
wasm: {shared: {$go, root_id: shared_data, instances: 3}}
routes: [{match: {path: /*}, auth: none, wasm: [shared], respond: {status: 200}}]
`, nil)
	var clients sync.WaitGroup
	for range 5 {
		clients.Go(func() {
			for range 2 {
				h.is("GET", "/", "", 200, "")
			}
		})
	}
	clients.Wait()
	h.hears("shared value: 10")
	for n := 1; n <= 10; n++ {
		count := 0
		for _, l := range h.lines() {
			if l.Message == fmt.Sprintf("shared value: %d", n) {
				count++
			}
		}
		if count != 1 {
			s.t.Errorf("%d was counted %d times", n, count)
		}
	}
	h.sound()
}

// One VM sends, another, of another vm_id, receives.
func (s *sdkGo) sharedQueue() {
	h := s.serve(`
wasm:
  receiver: {$go, root_id: shared_queue_receiver, vm_id: receiver}
  sender: {$go, root_id: shared_queue_sender, vm_id: sender}
upstreams: {web: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {match: {path: /receiver}, auth: none, wasm: [receiver], respond: {status: 200}}
  - {match: {path: /*}, auth: none, wasm: [sender], upstream: web}
`, text("hello"))
	h.is("GET", "/a", "", 200, "hello")
	h.hears(
		`enqueued data: {"key": ":method","value": "GET"}`,
		`dequeued data from http_request_headers: {"key": ":method","value": "GET"}`,
		`dequeued data from http_request_headers: {"key": ":path","value": "/a"}`,
		`dequeued data from http_response_headers: {"key": ":status","value": "200"}`)
	h.await("everything to come out", func() bool { return h.said("enqueued data: ") == h.said("dequeued data from ") })
	h.sound()
}

func (s *sdkGo) vmPluginConfiguration() {
	h := s.serve(`
wasm: {configured: {$go, root_id: vm_plugin_configuration, vm_config: {name: vm configuration}, config: {name: plugin configuration}}}
routes: [{match: {path: /*}, auth: none, wasm: [configured], respond: {status: 200}}]
`, nil)
	h.is("GET", "/", "", 200, "")
	h.hears(`vm config: {"name":"vm configuration"}`, `plugin config: {"name":"plugin configuration"}`)
	h.sound()
}
