package wasm_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// wiretap is an upstream that keeps every byte of requests in chunks, and answers them in chunks with a trailer section.
func wiretap(t *testing.T) (address string, seen *coretest.Buffer) {
	seen = &coretest.Buffer{}
	return coretest.StartRaw(t, func(u *coretest.Client) {
		for {
			head := u.Head()
			if head == "" {
				return
			}
			io.WriteString(seen, head)
			if strings.Contains(strings.ToLower(head), "transfer-encoding: chunked") {
				io.WriteString(seen, u.Head()) // the chunks, and the trailer section to its empty line
			}
			u.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n")
		}
	}).Address(), seen
}

// evil are names and values that no client could have sent.
var evil = [][2]string{
	{"evil name", "v"}, {"evil\r\nname", "v"}, {"evil\x00", "v"}, {"evil:", "v"}, {"évil-evil", "v"}, {"evil\t", "v"}, {"(evil)", "v"},
	{"x-v", "evil\r\nx-injected: 1"}, {"x-v", "evil\nx-injected: 1"}, {"x-v", "evil\rx"}, {"x-v", "evil\x00x"}, {"x-v", "evil\x01x"}, {"x-v", "evil\x7fx"},
}

// namesAndValues: what a client may not send, a guest may not set. None of it reaches anybody; upper case is no fault.
func namesAndValues(t *testing.T) {
	modules := map[string][]byte{}
	p, q := proxyGuest(), proxyGuest()
	fill := func(maps ...int) (code []byte) {
		for _, kind := range maps {
			for _, e := range evil {
				code = asm.Cat(code, p.host("proxy_add_header_map_value", num(kind), p.text(e[0]), p.text(e[1])),
					p.host("proxy_replace_header_map_value", num(kind), p.text(e[0]), p.text(e[1])))
			}
			for _, name := range []string{":path", ":authority", ":method", ":scheme", ":status", "host"} {
				for _, v := range []string{"evil\r\nx", "evil x", "evil\x00"} {
					code = asm.Cat(code, p.host("proxy_replace_header_map_value", num(kind), p.text(name), p.text(v)))
				}
			}
			code = asm.Cat(code, p.host("proxy_add_header_map_value", num(kind), p.text("X-Upper"), p.text("fine")))
		}
		return code
	}
	p.on("proxy_on_request_headers", fill(0), num(0)).on("proxy_on_request_body", fill(1), num(0)).on("proxy_on_request_trailers", fill(1), num(0))
	p.on("proxy_on_response_headers", fill(2), num(0)).on("proxy_on_response_body", fill(3), num(0)).on("proxy_on_response_trailers", fill(3), num(0))
	modules["proxy"] = p.bytes()
	list := []string{"x-fine", "fine"}
	for _, e := range evil {
		list = append(list, e[0], e[1])
	}
	modules["reply"] = q.on("proxy_on_request_headers", ifBody(
		q.host("proxy_send_local_response", num(403), q.text("evil\r\ndetails"), q.text("no"), q.text(pairs(list...)), num(-1))), num(0)).bytes()
	q = proxyGuest()
	modules["pairs"] = q.on("proxy_on_response_headers", q.host("proxy_set_header_map_pairs", num(2), q.text(pairs(list...))), num(0)).
		on("proxy_on_request_headers", q.host("proxy_set_header_map_pairs", num(0), q.text(pairs(list...))), num(0)).bytes()
	for i, e := range evil {
		w := httpGuest()
		modules[fmt.Sprintf("http-request-%d", i)] = w.on("handle_request",
			w.ifField("armed", w.host("add_header_value", num(0), w.text(e[0]), w.text(e[1]))), asm.Const64(1)).bytes()
		w = httpGuest()
		g := w.global(0)
		modules[fmt.Sprintf("http-response-%d", i)] = w.on("handle_request", w.ifField("armed", num(1), asm.GlobalSet(g)), asm.Const64(1)).
			on("handle_response", asm.GlobalGet(g), asm.If(asm.None, w.host("set_header_value", num(1), w.text(e[0]), w.text(e[1])))).bytes()
	}
	address, seen := wiretap(t)
	h := guardedAt(t, modules, unhurried, address, nil)
	for name := range modules {
		raw := h.Raw(upload("/"+name), 10*time.Second)
		got, body := whole(t, name, "POST", raw)
		switch {
		case strings.Contains(strings.ToLower(raw), "evil") || strings.Contains(raw, "injected"):
			t.Errorf("%s: %q", name, raw)
		case name == "reply" && (got != 403 || body != "no" || !strings.Contains(raw, "x-fine: fine")),
			name == "pairs" && (got != 200 || body != "hello" || !strings.Contains(raw, "x-fine: fine")),
			name == "proxy" && (got != 200 || body != "hello" || !strings.Contains(raw, "X-Upper: fine")),
			strings.HasPrefix(name, "http") && got != 503:
			t.Errorf("%s: %d %q", name, got, raw)
		}
	}
	if all := strings.ToLower(seen.String()); strings.Contains(all, "evil") || strings.Contains(all, "injected") || !strings.Contains(all, "x-upper: fine") {
		t.Errorf("upstream: %q", seen)
	}
	h.fine()
}

// framing: how a message is framed, and whom it is for, is not a guest's to say but by the length of what it makes.
func framing(t *testing.T) {
	fields := [][2]string{
		{"content-length", "3"}, {"Content-Length", "5, 6"}, {"transfer-encoding", "gzip, chunked"}, {"transfer-encoding", "identity"}, {"connection", "close, x-kept"},
		{"upgrade", "websocket"}, {"te", "gzip"}, {"trailer", "x-other"}, {"keep-alive", "timeout=1"}, {"proxy-connection", "close"}, {"expect", "100-continue"},
	}
	modules := map[string][]byte{}
	p := proxyGuest()
	set := func(w *writing, kind int) (code []byte) {
		for _, f := range fields {
			code = asm.Cat(code, w.host("proxy_add_header_map_value", num(kind), w.text(f[0]), w.text(f[1])),
				w.host("proxy_replace_header_map_value", num(kind), w.text(f[0]), w.text(f[1])))
		}
		for _, f := range [][2]string{{":path", "/a b"}, {":path", "evil"}, {":path", ""}, {":authority", "evil host"}, {"host", "evil\thost"}, {":method", "CONNECT"},
			{":method", "TRACE"}, {":method", "A B"}, {":method", ""}, {":status", "101"}, {":status", "100"}, {":status", "99"}, {":status", "999"}, {":status", "20x"},
			{":status", ""}, {":evil", "x"}} {
			code = asm.Cat(code, w.host("proxy_replace_header_map_value", num(kind), w.text(f[0]), w.text(f[1])),
				w.host("proxy_add_header_map_value", num(kind), w.text(f[0]), w.text(f[1])))
		}
		for _, name := range []string{"transfer-encoding", "connection", ":path", "host", ":method", ":status"} {
			code = asm.Cat(code, w.host("proxy_remove_header_map_value", num(kind), w.text(name)))
		}
		return code
	}
	modules["proxy"] = p.on("proxy_on_request_headers", set(p, 0), num(0)).on("proxy_on_request_trailers", set(p, 1), num(0)).
		on("proxy_on_response_headers", set(p, 2), num(0)).on("proxy_on_response_trailers", set(p, 3), num(0)).bytes()
	w := httpGuest()
	var down, up []byte
	for _, f := range fields {
		down = asm.Cat(down, w.host("set_header_value", num(0), w.text(f[0]), w.text(f[1])), w.host("add_header_value", num(2), w.text(f[0]), w.text(f[1])))
		up = asm.Cat(up, w.host("set_header_value", num(1), w.text(f[0]), w.text(f[1])), w.host("add_header_value", num(3), w.text(f[0]), w.text(f[1])))
	}
	for _, name := range []string{"transfer-encoding", "connection", "content-length"} {
		down, up = asm.Cat(down, w.host("remove_header", num(0), w.text(name))), asm.Cat(up, w.host("remove_header", num(1), w.text(name)))
	}
	modules["http"] = w.on("handle_request", down, asm.Const64(1)).on("handle_response", up).bytes()
	for name, call := range map[string]func(w *writing) []byte{
		"space":   func(w *writing) []byte { return w.host("set_uri", w.text("/a b")) },
		"crlf":    func(w *writing) []byte { return w.host("set_uri", w.text("/a\r\nevil: 1")) },
		"far":     func(w *writing) []byte { return w.host("set_uri", w.text("http://evil/")) },
		"connect": func(w *writing) []byte { return w.host("set_method", w.text("CONNECT")) },
		"method":  func(w *writing) []byte { return w.host("set_method", w.text("A B")) },
		"host": func(w *writing) []byte {
			return w.host("set_header_value", num(0), w.text("host"), w.text("evil host"))
		},
		"101": func(w *writing) []byte { return w.host("set_status_code", num(101)) },
		"99":  func(w *writing) []byte { return w.host("set_status_code", num(99)) },
		"999": func(w *writing) []byte { return w.host("set_status_code", num(999)) },
	} {
		w := httpGuest()
		modules["http-"+name] = w.on("handle_request", w.ifField("armed", call(w)), asm.Const64(1)).bytes()
	}
	address, seen := wiretap(t)
	h := guardedAt(t, modules, unhurried, address, nil)
	for name := range modules {
		if strings.HasPrefix(name, "http-") {
			if got, _ := whole(t, name, "POST", h.Raw(upload("/"+name), 10*time.Second)); got != 503 {
				t.Errorf("%s: %d", name, got)
			}
			if seen.String() != "" {
				t.Fatalf("%s: upstream: %q", name, seen)
			}
		}
	}
	for _, name := range []string{"proxy", "http"} {
		before := len(seen.String())
		c := h.Client()
		for range 3 {
			c.Send(strings.Replace(upload("/"+name), "Connection: close, TE", "Connection: TE", 1))
			answer, body := c.Answer("POST")
			if answer.StatusCode != 200 || body != "hello" || answer.Close || answer.Trailer.Get("X-Sum") != "1" {
				t.Errorf("%s: %+v %q", name, answer, body)
			}
			for _, f := range []string{"Upgrade", "Te", "Keep-Alive", "Expect", "Proxy-Connection", "Content-Length"} {
				if answer.Header.Get(f) != "" {
					t.Errorf("%s: %s", name, f)
				}
			}
		}
		all := seen.String()[before:]
		in := bufio.NewReader(strings.NewReader(all))
		for i := range 3 {
			r, err := http.ReadRequest(in)
			if err != nil {
				t.Fatalf("%s %d: %v in %q", name, i, err, all)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil || string(body) != "hello" || r.Method != "POST" || r.URL.Path != "/"+name || r.Host != "a" || r.Trailer.Get("X-Sum") != "1" {
				t.Errorf("%s: %v %q %+v in %q", name, err, body, r, all)
			}
			for _, f := range []string{"Content-Length", "Upgrade", "Keep-Alive", "Proxy-Connection", "Expect"} {
				if r.Header.Get(f) != "" {
					t.Errorf("%s: %s in %q", name, f, all)
				}
			}
		}
	}
	h.fine()
}

// statuses and methods that leave a message no body, or give it one: what the client gets stays one answer, and the next on the
// connection is its own.
func bodiless(t *testing.T) {
	modules := map[string][]byte{}
	for _, status := range []int{200, 204, 205, 304} {
		p := proxyGuest()
		modules[fmt.Sprint("proxy-", status)] = p.on("proxy_on_response_headers",
			p.host("proxy_replace_header_map_value", num(2), p.text(":status"), p.text(fmt.Sprint(status))), num(0)).bytes()
		p = proxyGuest()
		modules[fmt.Sprint("seen-", status)] = p.on("proxy_on_response_headers",
			p.host("proxy_replace_header_map_value", num(2), p.text(":status"), p.text(fmt.Sprint(status))), num(0)).
			on("proxy_on_response_body", p.host("proxy_set_buffer_bytes", num(1), num(1<<20), num(0), p.text("-more")), num(0)).bytes()
		p = proxyGuest()
		modules[fmt.Sprint("reply-", status)] = p.on("proxy_on_request_headers",
			p.host("proxy_send_local_response", num(status), num(0), num(0), p.text("body"), num(0), num(0), num(-1)), num(1)).bytes()
		w := httpGuest()
		modules[fmt.Sprint("http-", status)] = w.on("handle_request", w.host("enable_features", num(2)), asm.Const64(1)).
			on("handle_response", w.host("set_status_code", num(status)), w.host("write_body", num(1), w.text("body"))).bytes()
		w = httpGuest()
		modules[fmt.Sprint("http-reply-", status)] = w.on("handle_request", w.host("set_status_code", num(status)),
			w.host("write_body", num(1), w.text("body")), asm.Const64(0)).bytes()
	}
	for _, method := range []string{"HEAD", "GET", "POST", "OPTIONS"} {
		p := proxyGuest()
		modules["proxy-"+strings.ToLower(method)] = p.on("proxy_on_request_headers",
			p.host("proxy_replace_header_map_value", num(0), p.text(":method"), p.text(method)), num(0)).bytes()
		w := httpGuest()
		modules["http-"+strings.ToLower(method)] = w.on("handle_request", w.host("set_method", w.text(method)), asm.Const64(1)).bytes()
	}
	for kind, handler := range map[string]http.HandlerFunc{
		"sized": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, "hello")
		},
		"chunked": hello,
		"none":    func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) },
		"304":     func(w http.ResponseWriter, r *http.Request) { w.Header().Set("ETag", `"a"`); w.WriteHeader(304) },
	} {
		t.Run(kind, func(t *testing.T) {
			h := guarded(t, modules, unhurried, handler)
			for name := range modules {
				for _, method := range []string{"GET", "HEAD", "POST"} {
					what := method + " /" + name
					c := h.Client()
					for range 2 {
						body := "\r\n"
						if method == "POST" {
							body = "Content-Length: 3\r\n\r\nabc"
						}
						c.Send(what + " HTTP/1.1\r\nHost: a\r\n" + body)
						answer, text, err := coretest.ReadResponse(c.In, method)
						if err != nil {
							t.Errorf("%s: %v %q", what, err, text)
							break
						}
						if s := answer.StatusCode; (s == 204 || s == 304 || method == "HEAD") && text != "" || s == 204 && answer.Header.Get("Content-Length") != "" || s == 503 || s == 502 {
							t.Errorf("%s: %d %q %v", what, s, text, answer.Header)
						}
						if answer.Close {
							break
						}
					}
					c.Close()
				}
			}
		})
	}
}
