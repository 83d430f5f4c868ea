package main

import (
	"strings"
	"testing"
)

// TestReader: the judge must not be fooled itself.
func TestReader(t *testing.T) {
	f := func(in string, want state, meaning string, faults int) {
		t.Helper()
		m, n, s := readRequest([]byte(in))
		if s != want || len(m.faults)+len(m.odd) != faults || s == whole && m.String() != meaning {
			t.Errorf("%q: state %d, %q, %d bytes, faults %q", in, s, m.String(), n, m.faults)
		}
		if s == whole && n != len(in) && !strings.HasPrefix(in[n:], "GET /next") {
			t.Errorf("%q: %d bytes of %d", in, n, len(in))
		}
	}
	const h = " HTTP/1.1\r\nHost: a\r\n"
	f("GET /"+h+"\r\n", whole, "GET / @a", 0)
	f("GET /"+h+"\r\nGET /next", whole, "GET / @a", 0)
	f("POST /"+h+"Content-Length: 3\r\n\r\nabc", whole, "POST / @a =abc", 0)
	f("POST /"+h+"Content-Length: 3\r\n\r\nab", partial, "", 0)
	f("POST /"+h+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", whole, "POST / @a =abc", 0)
	f("POST /"+h+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", whole, "POST / @a =abc", 0)
	f("POST /"+h+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", partial, "", 0)
	f("POST /"+h+"Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n", broken, "", 1)
	f("POST /"+h+"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", broken, "", 1)
	f("POST /"+h+"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", broken, "", 1)
	f("POST /"+h+"Transfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n", whole, "POST / @a", 1)
	f("POST /"+h+"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", whole, "POST / @a", 1)
	f("POST /"+h+"Transfer-Encoding: gzip\r\n\r\n", whole, "POST / @a", 1)
	f("POST /"+h+"Content-Length: 0\r\nContent-Length: 0\r\n\r\n", whole, "POST / @a", 1)
	f("POST /"+h+"Content-Length: 03\r\n\r\nabc", whole, "POST / @a =abc", 1)
	f("POST /"+h+"Content-Length: 00\r\n\r\n", whole, "POST / @a", 1)
	f("GET /"+h+"X : y\r\n\r\n", whole, "GET / @a", 1)
	f("GET /"+h+"X: y\rz\r\n\r\n", whole, "GET / @a", 1)
	f("GET /"+h+"X: y\nZ: z\r\n\r\n", whole, "GET / @a", 1)
	f("GET /"+h+"X: y\x00\r\n\r\n", whole, "GET / @a", 1)
	f("GET /"+h+"X: y\r\n z\r\n\r\n", whole, "GET / @a", 1)
	f("GET /"+h+"Host: b\r\n\r\n", whole, "GET / @a|b", 1)
	f("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", whole, "GET / @u@a", 1)
	f("GET / HTTP/1.1\r\nX: y\r\n\r\n", whole, "GET / @", 1)
	f("GET /#x"+h+"\r\n", whole, "GET /#x @a", 1)
	f("GET  /"+h+"\r\n", broken, "", 1)
	f("GET / HTTP/2.0\r\nHost: a\r\n\r\n", broken, "", 1)
	f("GET / HTTP/1.1\nHost: a\n\n", broken, "", 1)
	f("GET / HT", partial, "", 0)

	g := func(in, method string, ended bool, want state, body string, faults int) {
		t.Helper()
		m, _, s := readAnswer([]byte(in), method, ended)
		if s != want || m.body != body || len(m.faults) != faults {
			t.Errorf("%q: state %d, %q, faults %q", in, s, m.body, m.faults)
		}
	}
	g("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET", false, whole, "ok", 0)
	g("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "HEAD", false, whole, "", 0)
	g("HTTP/1.1 200 OK\r\n\r\nok", "GET", false, partial, "ok", 0)
	g("HTTP/1.1 200 OK\r\n\r\nok", "GET", true, whole, "ok", 0)
	g("HTTP/1.1 204 No\r\n\r\n", "GET", false, whole, "", 0)
	g("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "GET", true, partial, "ok", 0)
	g("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "GET", true, whole, "ok", 1)
	g("HTTP/1.1 2000 OK\r\n\r\n", "GET", true, broken, "", 1)
}
