package wasm_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/asm"
)

const untouched = 0xaa // what the guests below fill memory with before they ask the host for something

// memoryOfOthers: what a request has left in a guest's memory is found by later requests of the same instance, as documented,
// and by nobody else: not by another filter of the same module, nor by the instance that takes the place of one that has died.
// And what the host gives is exactly the bytes that were asked for.
func memoryOfOthers(t *testing.T) {
	keep := func() []byte {
		w := proxyGuest()
		w.on("proxy_on_request_headers",
			w.host("proxy_get_header_map_value", num(0), w.text("secret"), num(outAt), num(outAt+4)),
			w.ask("proxy_get_header_map_value", num(0), w.text("die"), num(outAt), num(outAt+4)), asm.Eqz32, asm.If(asm.None, asm.Unreachable),
			w.ask("proxy_get_header_map_value", num(0), w.text("dump"), num(outAt), num(outAt+4)), asm.Eqz32, asm.If(asm.None,
				w.host("proxy_send_local_response", num(200), num(0), num(0), num(0), asm.MemorySize, num(16), asm.Op(0x74), num(0), num(0), num(-1))), num(0))
		w.alloc = [][]byte{asm.Get(0), num(8), asm.LtU32, asm.IfElse(asm.I32, num(heapAt+4096), num(heapAt))} // what is short does not lie over the secret
		return w.bytes()
	}
	httpKeep := func() []byte {
		w := httpGuest()
		w.on("handle_request", w.host("get_header_values", num(0), w.text("secret"), num(heapAt), num(4096)),
			w.ifField("die", asm.Unreachable),
			w.ifField("dump", w.host("write_body", num(1), num(0), num(pages<<16)), asm.Const64(0), asm.Return), asm.Const64(1))
		return w.bytes()
	}
	h := guarded(t, map[string][]byte{
		"one": keep(), "two": keep(), "http-one": httpKeep(), "http-two": httpKeep(),
		"give": givers(), "http-give": httpGivers(),
	}, unhurried+`, config: "some configuration"`, nil)
	leaks := 0
	dump := func(name, secret string) bool {
		t.Helper()
		status, _, all := h.Get("/"+name, "dump", "1")
		for status == 503 { // the instance that is to take a dead one's place is being made
			h.await(name+" to be ready", func() bool { return h.told(name).State == filter.StateServing && h.told(name).Instances.Live > 0 })
			status, _, all = h.Get("/"+name, "dump", "1")
		}
		if status != 200 || len(all) < pages<<16 {
			t.Fatalf("%s: %d, %d bytes", name, status, len(all))
		}
		return strings.Contains(all, secret)
	}
	for _, abi := range []string{"", "http-"} {
		for i := range 5 {
			secret := fmt.Sprintf("s3cret-of-%s%d", abi, i)
			h.is("GET", "/"+abi+"one", "", 200, "hello", "secret", secret)
			if !dump(abi+"one", secret) {
				t.Errorf("%sone: the same instance begins anew with every request: this test shows nothing", abi)
			}
			if dump(abi+"two", secret) {
				t.Errorf("%stwo has read what was another filter's", abi)
				leaks++
			}
			if i == 3 { // more traps would have the filter stopped
				break
			}
			before := h.told(abi + "one").Failures["trap"]
			if status, _, _ := h.Get("/"+abi+"one", "die", "1"); status != 503 {
				t.Errorf("%sone: %d", abi, status)
			}
			h.await("the trap to be counted", func() bool { return h.told(abi + "one").Failures["trap"] > before })
			if dump(abi+"one", secret) {
				t.Errorf("%sone has read what was another instance's", abi)
				leaks++
			}
		}
	}
	for name, want := range map[string][]string{
		"give":      {"a value", "some configuration", "", "give"},
		"http-give": {"a value\x00", "some configuration", "/http-give?q=1", "GET"},
	} {
		_, _, got := h.Get("/"+name+"?q=1", "dump", "1", "given", "a value")
		for i, part := range bytes.SplitAfter([]byte(got), []byte("|END|")) {
			rest := bytes.ReplaceAll(bytes.TrimSuffix(part, []byte("|END|")), []byte{untouched}, nil)
			if i < len(want) && want[i] != "" && string(rest) != want[i] {
				t.Errorf("%s %d: have %q, want %q and nothing beside it", name, i, rest, want[i])
				leaks++
			}
		}
		if strings.Count(got, "|END|") != 4 {
			t.Errorf("%s: %d parts", name, strings.Count(got, "|END|"))
		}
	}
	coretest.Score(t, "F5", "leaks", float64(leaks))
	h.fine()
}

// window is how much of its memory a guest shows after the host has given it something.
const window = 4096

// givers shows what the host has written, for several functions: each is called with memory filled anew.
func givers() []byte {
	w := proxyGuest()
	var code []byte
	room := w.global(0)
	for i, call := range [][]byte{
		w.host("proxy_get_header_map_value", num(0), w.text("given"), num(outAt), num(outAt+4)),
		w.host("proxy_get_buffer_bytes", num(7), num(0), num(-1), num(outAt), num(outAt+4)),
		w.host("proxy_get_header_map_pairs", num(0), num(outAt), num(outAt+4)),
		w.host("proxy_get_property", w.text("plugin_name"), num(outAt), num(outAt+4)),
	} {
		at := heapAt + i*(window+5)
		code = asm.Cat(code, num(at), num(untouched), num(window), asm.MemoryFill, num(at+64), asm.GlobalSet(room), call)
		for j, c := range []byte("|END|") {
			code = asm.Cat(code, num(at+window+j), num(int(c)), asm.Load(0x3a, 0, 0))
		}
	}
	w.alloc = [][]byte{asm.GlobalGet(room)}
	return w.on("proxy_on_request_headers", code,
		w.host("proxy_send_local_response", num(200), num(0), num(0), num(heapAt), num(4*(window+5)), num(0), num(0), num(-1)), num(0)).bytes()
}

func httpGivers() []byte {
	w := httpGuest()
	var code []byte
	for i, call := range []func(at int) []byte{
		func(at int) []byte {
			return w.host("get_header_values", num(0), w.text("given"), num(at), num(window-64))
		},
		func(at int) []byte { return w.host("get_config", num(at), num(window-64)) },
		func(at int) []byte { return w.host("get_uri", num(at), num(window-64)) },
		func(at int) []byte { return w.host("get_method", num(at), num(window-64)) },
	} {
		at := heapAt + i*(window+5)
		code = asm.Cat(code, num(at), num(untouched), num(window), asm.MemoryFill, call(at+64))
		for j, c := range []byte("|END|") {
			code = asm.Cat(code, num(at+window+j), num(int(c)), asm.Load(0x3a, 0, 0))
		}
	}
	return w.on("handle_request", code, w.host("write_body", num(1), num(heapAt), num(4*(window+5))), asm.Const64(0)).bytes()
}

// answers: a guest answers in each phase, to clients of HTTP/1.1 and HTTP/2, with and without bodies and trailer sections on
// both sides. What a client gets is one whole answer, or one that is visibly cut.
func answers(t *testing.T) {
	modules := map[string][]byte{}
	phases := []string{"request_headers", "request_body", "request_trailers", "response_headers", "response_body", "response_trailers"}
	for _, phase := range phases {
		for _, pause := range []int{0, 1} {
			w := proxyGuest()
			w.on("proxy_on_"+phase, w.host("proxy_send_local_response", num(403), num(0), num(0), w.text("refused"), num(0), num(0), num(-1)), num(pause))
			modules[fmt.Sprintf("%s-%d", strings.ReplaceAll(phase, "_", "-"), pause)] = w.bytes()
		}
	}
	w := httpGuest()
	modules["http-request"] = w.on("handle_request", w.host("set_status_code", num(403)), w.host("write_body", num(1), w.text("refused")), asm.Const64(0)).bytes()
	w = httpGuest()
	modules["http-read"] = w.on("handle_request", w.host("read_body", num(0), num(heapAt), num(2)),
		w.host("set_status_code", num(403)), w.host("write_body", num(1), w.text("refused")), asm.Const64(0)).bytes()
	w = httpGuest()
	modules["http-response"] = w.on("handle_request", w.host("enable_features", num(2)), asm.Const64(1)).
		on("handle_response", w.host("set_status_code", num(403)), w.host("write_body", num(1), w.text("refused"))).bytes()
	h := guarded(t, modules, unhurried, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "early" { // that answers before it has read what is sent
			_, _ = io.Copy(io.Discard, r.Body)
		}
		if r.URL.RawQuery == "chunked" {
			hello(w, r)
			return
		}
		fmt.Fprint(w, "hello")
	}))
	two := &http.Transport{Protocols: &http.Protocols{}, TLSClientConfig: &tls.Config{}}
	two.Protocols.SetUnencryptedHTTP2(true)
	defer two.CloseIdleConnections()
	one := &http.Transport{}
	defer one.CloseIdleConnections()
	replied := map[string]int{}
	for name := range modules {
		for version, transport := range map[string]*http.Transport{"HTTP/1.1": one, "HTTP/2": two} {
			for _, query := range []string{"sized", "chunked", "early"} {
				for _, send := range []string{"GET", "HEAD", "POST none", "POST sized", "POST large", "POST chunked", "POST trailer", "PUT chunked"} {
					method, kind, _ := strings.Cut(send, " ")
					what := fmt.Sprintf("%s %s /%s?%s", version, send, name, query)
					r, err := http.NewRequest(method, h.URL+"/"+name+"?"+query, sending(kind))
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("TE", "trailers")
					if kind == "trailer" {
						r.Trailer = http.Header{"X-Sum": {"1"}}
					}
					status, body, err := roundTrip(transport, r)
					want := map[int]string{200: "hello", 403: "refused"}[status]
					if method == "HEAD" {
						want = ""
					}
					switch {
					case err != nil: // a visible cut
						replied[name+" cut"]++
					case status != 200 && status != 403 || body != want:
						t.Errorf("%s: %d %q", what, status, body)
					case status == 403:
						replied[name]++
					case strings.HasPrefix(name, "request-headers") || strings.HasPrefix(name, "response-headers") || strings.HasPrefix(name, "http"),
						strings.HasPrefix(name, "request-body") && query != "early" && kind != "" && kind != "none":
						t.Errorf("%s: the answer of the guest is not there", what)
					}
				}
			}
		}
	}
	for name := range modules {
		if replied[name]+replied[name+" cut"] == 0 {
			t.Errorf("%s has answered nobody", name)
		}
		if s := h.told(name); len(s.Failures) != 0 {
			t.Errorf("%s: %+v", name, s.Failures)
		}
		h.await(name+" to have no stream", func() bool { s := h.told(name).Streams; return s == nil || s.Open == 0 })
	}
	t.Log(replied)
	h.fine()
}

// sending is a body of a kind; nil is none.
func sending(kind string) io.Reader {
	switch kind {
	case "sized":
		return strings.NewReader("a body")
	case "large":
		return bytes.NewReader(make([]byte, 300<<10))
	case "chunked", "trailer":
		return struct{ io.Reader }{strings.NewReader("a body")}
	}
	return nil
}

func roundTrip(transport *http.Transport, r *http.Request) (status int, body string, err error) {
	timeout := time.AfterFunc(20*time.Second, transport.CloseIdleConnections)
	defer timeout.Stop()
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(b), err
}
