package filters_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/wasm/asm"
	"github.com/weirproxy/weir/filters"
)

// rewriter is a Proxy-Wasm guest that sets a field of the request, and one of the answer.
func rewriter(pairs ...string) []byte {
	var m asm.Module
	m.Memory(1, 1)
	i32s := func(n int) []byte { return bytes.Repeat(asm.T(asm.I32), n) }
	set := m.Import("env", "proxy_replace_header_map_value", i32s(5), i32s(1))
	heap := int32(16)
	text := func(s string) []byte {
		at := heap
		m.Data(at, []byte(s))
		heap += int32(len(s)) + 8
		return asm.Cat(asm.Const32(at), asm.Const32(int32(len(s))))
	}
	code := [2][]byte{}
	for i := 0; i+2 < len(pairs); i += 3 {
		k, n := 0, int32(0)
		if pairs[i] == "answer" {
			k, n = 1, 2
		}
		code[k] = asm.Cat(code[k], asm.Const32(n), text(pairs[i+1]), text(pairs[i+2]), asm.Call(set), asm.Drop)
	}
	m.Export("memory", 2, 0)
	m.Export("proxy_abi_version_0_2_1", 0, m.Func(nil, nil, nil))
	m.Export("proxy_on_context_create", 0, m.Func(i32s(2), nil, nil))
	m.Export("proxy_on_request_headers", 0, m.Func(i32s(3), i32s(1), nil, code[0], asm.Const32(0)))
	m.Export("proxy_on_response_headers", 0, m.Func(i32s(3), i32s(1), nil, code[1], asm.Const32(0)))
	m.Export("proxy_on_response_body", 0, m.Func(i32s(3), i32s(1), nil, asm.Const32(0)))
	return m.Bytes()
}

// TestFramedAsAsked: whatever a filter makes of a request's method and an answer's status, the client can tell where the answer ends.
func TestFramedAsAsked(t *testing.T) {
	guests := map[string][]byte{
		"head": rewriter("request", ":method", "HEAD"), "get": rewriter("request", ":method", "GET"),
		"204": rewriter("answer", ":status", "204"), "304": rewriter("answer", ":status", "304"), "205": rewriter("answer", ":status", "205"),
		"101": rewriter("answer", ":status", "101"), "200": rewriter("answer", ":status", "200"),
		"star": rewriter("request", ":method", "OPTIONS", "request", ":path", "*", "request", ":method", "GET"), // which is no request
		"split": rewriter("request", ":path", "/a HTTP/1.1\r\nx: y", "request", ":authority", "a\r\nx: y", "request", "x", "a\r\nb: c",
			"request", "content-length", "7", "request", "transfer-encoding", "chunked", "answer", "content-length", "1",
			"answer", "transfer-encoding", "chunked", "answer", "x", "a\r\n\r\nHTTP/1.1 200 OK", "answer", "x-b\r\ny", "1"),
	}
	var routes, wasm strings.Builder
	for name := range guests {
		fmt.Fprintf(&wasm, "  g%s: {file: %s.wasm, instances: 2}\n", name, name)
		fmt.Fprintf(&routes, "  - {match: {path: /%s/*}, auth: none, wasm: [g%s], upstream: api}\n", name, name)
	}
	set := open(t, filters.Options{Open: func(file string) ([]byte, error) {
		return guests[strings.TrimSuffix(filepath.Base(file), ".wasm")], nil
	}})
	r := coretest.Start(t, "version: 1\naccess_log: {output: \"off\"}\nlisteners: [{address: \"127.0.0.1:0\"}]\nwasm:\n"+wasm.String()+
		"upstreams: {api: {endpoints: [\"http://${UPSTREAM}\"]}}\nroutes:\n"+routes.String(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", fmt.Sprintf("%s %s %s %d %q", r.Method, r.RequestURI, r.Host, len(b), r.Header["X"]))
		if strings.HasSuffix(r.URL.Path, "chunked") {
			_, _ = io.WriteString(w, "hello")
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, " world")
			return
		}
		if strings.HasSuffix(r.URL.Path, "unchanged") {
			w.WriteHeader(304)
			return
		}
		_, _ = io.WriteString(w, "hello world")
	}), coretest.Options{Kinds: set.Standard()})
	f := func(name, kind, method string) {
		t.Helper()
		c := r.Dial()
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		from := bufio.NewReader(c)
		sent := "\r\n"
		if method == "POST" {
			sent = "Content-Length: 2\r\n\r\nab"
		}
		for range 3 { // on one connection: who has lost the border reads nonsense
			_, _ = io.WriteString(c, method+" /"+name+"/"+kind+" HTTP/1.1\r\nHost: a\r\n"+sent)
			a, err := http.ReadResponse(from, &http.Request{Method: method})
			if err != nil {
				t.Errorf("%s %s %s: %v", name, kind, method, err)
				return
			}
			b, err := io.ReadAll(a.Body)
			status, body := 200, "hello world"
			if kind == "unchanged" {
				status, body = 304, ""
			}
			switch name {
			case "204", "205", "304":
				status, _ = strconv.Atoi(name)
			case "200":
				status = 200
			case "star":
				status = 503
			}
			if name == "head" || method == "HEAD" || status == 204 || status == 304 {
				body = ""
			}
			if err != nil || a.StatusCode != status || status != 503 && string(b) != body {
				t.Errorf("%s %s %s: %d %q, %v", name, kind, method, a.StatusCode, b, err)
			}
			want := fmt.Sprintf("%s /split/%s a %d []", method, kind, strings.Count(sent, "ab")*2)
			if name == "split" && (a.Header.Get("X-Seen") != want || a.Header["X"] != nil) {
				t.Errorf("%s %s: %v", kind, method, a.Header)
			}
		}
	}
	for name := range guests {
		for _, kind := range []string{"plain", "chunked", "unchanged"} {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				f(name, kind, method)
			}
		}
	}
}
