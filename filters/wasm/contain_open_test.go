package wasm_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// skipped: a filter that may fail, and does so in the midst of a body, is as if it were not there from then on: what has come
// and what comes goes on, in the framing that was promised, or is visibly cut where the filter had changed the length before.
func skipped(t *testing.T) {
	modules := map[string][]byte{}
	for _, way := range []string{"request", "response"} {
		kind := 0
		if way == "response" {
			kind = 1
		}
		for _, hold := range []int{0, 1} {
			for at := 1; at <= 3; at++ {
				for _, change := range []string{"", "same", "longer"} {
					w := proxyGuest()
					calls := w.global(0)
					code := [][]byte{asm.GlobalGet(calls), num(1), asm.Add32, asm.GlobalSet(calls)}
					switch change {
					case "same":
						code = append(code, asm.Get(1), asm.If(asm.None, w.host("proxy_set_buffer_bytes", num(kind), num(0), num(1), w.text("X"))))
					case "longer":
						code = append(code, w.host("proxy_set_buffer_bytes", num(kind), num(0), num(0), w.text("+")))
					}
					code = append(code, asm.GlobalGet(calls), num(at), asm.Sub32, asm.Eqz32, asm.If(asm.None, asm.Unreachable),
						asm.Get(2), asm.Eqz32, num(hold), asm.And32)
					w.on("proxy_on_request_headers", num(0), asm.GlobalSet(calls), num(0))
					modules[fmt.Sprintf("%s-%d-%d-%s", way, hold, at, change)] = w.on("proxy_on_"+way+"_body", code...).bytes()
				}
			}
		}
		modules[way+"-trailers"] = proxyGuest().on("proxy_on_"+way+"_trailers", asm.Unreachable, num(0)).
			on("proxy_on_"+way+"_body", asm.Get(2), asm.Eqz32).bytes()
	}
	h := guarded(t, modules, unhurried+", on_error: fail_open", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.URL.RawQuery == "sized" {
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		}
		for len(b) > 0 {
			n := min(3, len(b))
			_, _ = w.Write(b[:n])
			w.(http.Flusher).Flush()
			b = b[n:]
		}
	}))
	plain := func(s string) string { return strings.NewReplacer("+", "", "X", "").Replace(s) }
	for name := range modules {
		for _, query := range []string{"sized", "chunked"} {
			for _, kind := range []string{"sized", "chunked", "trailer"} {
				what := fmt.Sprintf("%s, %s answer, %s", name, query, kind)
				c := h.Client()
				head := "POST /" + name + "?" + query + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
				switch kind {
				case "sized":
					c.Send(head + "Content-Length: 9\r\n\r\nabc")
					c.Send("def")
					c.Send("ghi")
				default:
					c.Send(head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
					c.Send("3\r\ndef\r\n")
					c.Send("3\r\nghi\r\n")
					if kind == "trailer" {
						c.Send("0\r\nx-sum: 1\r\n\r\n")
					} else {
						c.Send("0\r\n\r\n")
					}
				}
				answer, body, err := coretest.ReadResponse(c.In, "POST")
				switch {
				case err != nil:
					if !strings.Contains(name, "longer") {
						t.Errorf("%s: %v %q", what, err, body)
					}
				case answer.StatusCode == 502 || answer.StatusCode == 503 || answer.StatusCode == 500:
					if !strings.Contains(name, "longer") {
						t.Errorf("%s: %d", what, answer.StatusCode)
					}
				case strings.Contains(name, "same") && (len(body) != 9 || strings.Trim(body, "abcdefghiX") != ""),
					strings.Contains(name, "longer") && plain(body) != "abcdefghi",
					!strings.Contains(name, "same") && !strings.Contains(name, "longer") && body != "abcdefghi":
					t.Errorf("%s: %d %q", what, answer.StatusCode, body)
				}
				c.Close()
			}
		}
		h.await(name+" to have no stream", func() bool { return h.told(name).Streams.Open == 0 })
	}
	h.is("POST", "/", "hello", 200, "hello")
}
