package node_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
)

// TestFiltersCannotBreakTheFrame: whatever a filter writes into method, target and host, an upstream is sent one request
// that means one thing, or none.
func TestFiltersCannotBreakTheFrame(t *testing.T) {
	var change atomic.Pointer[func(*exchange.Request)]
	ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		(*change.Load())(&x.Request)
		return filter.Continue, nil
	}}
	up := coretest.StartRaw(t, mirror)
	r := coretest.Start(t, logged, nil, coretest.Options{Kinds: ff.kinds(true), Env: map[string]string{"UPSTREAM": up.Address()}})
	f := func(what, want string, to func(q *exchange.Request)) {
		t.Helper()
		change.Store(&to)
		c := r.Client()
		c.Send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
		answer, body := c.Answer("GET")
		if want == "" {
			wantError(t, r, answer, body, fault.GuestFailed)
			return
		}
		if line, _, _ := strings.Cut(body, "\r\n"); answer.StatusCode != 200 || line != want || strings.Contains(body, "Upgrade") {
			t.Errorf("%s: %d %q", what, answer.StatusCode, body)
		}
	}
	b := func(s string) []byte { return []byte(s) }
	f("good", "BREW /b?c HTTP/1.1", func(q *exchange.Request) { q.Method, q.Target, q.Host = b("BREW"), b("/b?c"), b("x.example:81") })
	f("options", "OPTIONS * HTTP/1.1", func(q *exchange.Request) { q.Method, q.Target = b("OPTIONS"), b("*") })
	for _, m := range []string{"", "GET /x HTTP/1.1\r\nX:", "G T", "G\x00", "CONNECT", "TRACE", "GÉT", strings.Repeat("A", 33)} {
		f("method "+m, "", func(q *exchange.Request) { q.Method = b(m) })
	}
	for _, target := range []string{"", "a", "*", "http://x/", "/a b", "/a\r\nX: y", "/a\x00", "/a\x7f", "/a#b", "?x"} {
		f("target "+target, "", func(q *exchange.Request) { q.Target = b(target) })
	}
	for _, host := range []string{"a b", "a\r\nX: y", "a/b", "a@b", "a:b", "[::1", "a,b"} {
		f("host "+host, "", func(q *exchange.Request) { q.Host = b(host) })
	}
	// A handshake is the client's to make.
	f("upgrade", "", func(q *exchange.Request) { q.Upgrade = true })
}

func TestUpgradeIsNoOtherMethods(t *testing.T) {
	ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		x.Request.Method = []byte("POST")
		return filter.Continue, nil
	}}
	up := coretest.StartRaw(t, mirror)
	r := coretest.Start(t, logged, nil, coretest.Options{Kinds: ff.kinds(false), Env: map[string]string{"UPSTREAM": up.Address()}})
	c := r.Client()
	c.Send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if answer, head := c.Answer("GET"); answer.StatusCode != 200 || !strings.HasPrefix(head, "POST /a ") || strings.Contains(head, "Upgrade") {
		t.Errorf("%d %q", answer.StatusCode, head)
	}
}

// TestFailuresCarryTheRoutesFields: also the answer to a failure of filters on a failure.
func TestFailuresCarryTheRoutesFields(t *testing.T) {
	broken := fault.New(fault.GuestFailed, "trap")
	ff := &fake{response: func(*exchange.Exchange, bool) (filter.Verdict, error) { return 0, broken }}
	panics := &fake{request: func(*exchange.Exchange) (filter.Verdict, error) { panic("boom") }}
	for _, k := range []*fake{ff, panics} {
		kinds := append(k.kinds(false), ff.kinds(false)...)
		kinds = append(kinds, filter.Kind{Name: "fields", Build: addField})
		r := coretest.Start(t, logged, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }), coretest.Options{Kinds: kinds})
		if status, h, _ := r.Get("/"); status < 500 || h.Get("X-Route") != "all" {
			t.Errorf("%d %v", status, h)
		}
	}
}
