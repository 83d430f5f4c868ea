package main

import (
	"fmt"
	"io"
	"net"
	"strings"
)

// answer is one that the origin gives in place of the ordinary one, and what a client must get of it.
type answer struct {
	name, rule string
	method     string // of the request; "" is GET
	raw        string
	end        end
	late       string // sent unasked, after the client has its answer

	want  string   // the body that must arrive, with status; else the answer is bad, and nothing complete of it may arrive
	fine  int      // the status that must arrive; 0: the answer is bad
	worse bool     // a bad one that passes for a complete one is an invention, and not only repaired
	never []string // should not arrive
}

// end is what becomes of the connection behind an answer.
type end int

const (
	keep end = iota
	fin
	rst
)

// send writes a, and reports whether the connection goes on.
func (a *answer) send(v *visit) bool {
	_, err := io.WriteString(v, a.raw)
	switch {
	case err != nil:
		return false
	case a.end == fin:
		_ = v.Conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, v)
		return false
	case a.end == rst:
		_ = v.Conn.(*net.TCPConn).SetLinger(0)
		return false
	}
	return true
}

func ok(fields, body string) string { return "HTTP/1.1 200 OK\r\n" + fields + "\r\n" + body }
func fixed(body string) string      { return ok(fmt.Sprintf("Content-Length: %d\r\n", len(body)), body) }
func parts(body string) string      { return ok("Transfer-Encoding: chunked\r\n", body) }

// evil is an answer that would be taken for another request's.
var evil = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"

func bad(rule, name, raw string, e end) answer {
	return answer{rule: rule, name: name, raw: raw, end: e}
}

// worst is a bad answer that has no good reading.
func worst(rule, name, raw string, e end) answer {
	return answer{rule: rule, name: name, raw: raw, end: e, worse: true}
}

func good(rule, name, raw string, e end, status int, body string) answer {
	return answer{rule: rule, name: name, raw: raw, end: e, fine: status, want: body}
}

func headers() (all []answer) {
	const line, fields, framing = "§6 status line", "§6 fields", "§6 framing"
	for _, v := range []struct{ name, line string }{
		{"two digits", "HTTP/1.1 20 OK"}, {"four digits", "HTTP/1.1 2000 OK"}, {"letters", "HTTP/1.1 2xx OK"}, {"signed", "HTTP/1.1 +20 OK"}, {"status 000", "HTTP/1.1 000 OK"}, {"HTTP/2.0", "HTTP/2.0 200 OK"}, {"HTTP/1.2", "HTTP/1.2 200 OK"},
		{"http/1.1", "http/1.1 200 OK"}, {"ICY", "ICY 200 OK"}, {"space first", " HTTP/1.1 200 OK"}, {"two spaces", "HTTP/1.1  200 OK"}, {"tab", "HTTP/1.1\t200 OK"},
		{"control in the reason", "HTTP/1.1 200 O\x01K"}, {"NUL in the reason", "HTTP/1.1 200 O\x00K"}, {"bare CR in the reason", "HTTP/1.1 200 O\rK"},
	} {
		all = append(all, bad(line, v.name, v.line+"\r\nContent-Length: 5\r\n\r\nhello", fin))
	}
	for _, v := range []struct{ name, fields string }{
		{"bare LF", "X: a\nY: b\r\n"}, {"bare CR", "X: a\rSet-Cookie: b=c\r\n"}, {"NUL", "X: a\x00b\r\n"}, {"control", "X: a\x01b\r\n"}, {"DEL", "X: a\x7f\r\n"}, {"folded", "X: a\r\n b\r\n"}, {"space before the colon", "X : a\r\n"},
		{"space in a name", "X Y: a\r\n"}, {"8-bit name", "X\xe4: a\r\n"}, {"no colon", "Xa\r\n"}, {"no name", ": a\r\n"}, {"five hundred fields", strings.Repeat("X: a\r\n", 500)}, {"100 KiB of fields", strings.Repeat("X: "+strings.Repeat("a", 990)+"\r\n", 100)},
	} {
		all = append(all, bad(fields, v.name, ok(v.fields+"Content-Length: 5\r\n", "hello"), fin))
	}
	for _, v := range []struct{ name, fields string }{
		{"two lengths that differ", "Content-Length: 5\r\nContent-Length: 50\r\n"}, {"two lengths that differ, the smaller last", "Content-Length: 50\r\nContent-Length: 5\r\n"}, {"list of lengths", "Content-Length: 5, 50\r\n"},
		{"negative length", "Content-Length: -5\r\n"}, {"signed length", "Content-Length: +5\r\n"}, {"hex length", "Content-Length: 0x5\r\n"}, {"empty length", "Content-Length:\r\n"}, {"length that wraps to 5", "Content-Length: 18446744073709551621\r\n"},
		{"length with a word", "Content-Length: 5 hello\r\n"}, {"length with a space before the colon", "Content-Length : 5\r\n"},
		{"chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"}, {"xchunked", "Transfer-Encoding: xchunked\r\n"}, {"identity", "Transfer-Encoding: identity\r\nContent-Length: 5\r\n"}, {"gzip", "Transfer-Encoding: gzip\r\n"},
	} {
		all = append(all, worst(framing, v.name, ok(v.fields, "5\r\nhello\r\n0\r\n\r\n"), fin))
	}
	for _, v := range []struct{ name, fields string }{
		{"chunked and a length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"}, {"a length and chunked", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"},
		{"chunked after a tab", "Transfer-Encoding:\tchunked\r\n"}, {"chunked named by Connection", "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n"},
	} {
		all = append(all, bad(framing, v.name, ok(v.fields, "5\r\nhello\r\n0\r\n\r\n"), fin))
	}
	all = append(all,
		bad(framing, "chunked on HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", fin),
		worst(line, "no HTTP at all", "hello\r\n\r\n", fin),
		worst(line, "nothing", "", fin),
		worst(line, "a reset", "", rst),
		worst(line, "half a head", "HTTP/1.1 200 OK\r\nContent-Le", fin),
		bad(line, "bare LF everywhere", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", fin),
		worst(line, "the request echoed", "GET /hostile HTTP/1.1\r\nHost: a.example\r\n\r\n", fin),
		worst(line, "switches without being asked", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello", fin),
		worst(line, "switches to h2c", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nhello", fin),
		bad(line, "two hundred interim answers", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 200)+fixed("hello"), fin),
		bad(line, "interim answer with a body", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello"+fixed("hello"), fin),
		good(line, "interim answers first", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+fixed("hello"), keep, 200, "hello"),
		good(line, "no reason", "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", keep, 200, "hello"),
		good(line, "unknown status", "HTTP/1.1 299 Odd\r\nContent-Length: 5\r\n\r\nhello", keep, 299, "hello"),
		good(line, "status 404", "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello", keep, 404, "hello"),
		good(fields, "obs-text, tab, empty", ok("X: a\xff\tb\r\nY:\r\nContent-Length: 5\r\n", "hello"), keep, 200, "hello"),
		good(framing, "a length", fixed("hello"), keep, 200, "hello"),
		good(framing, "a length of 0", fixed(""), keep, 200, ""),
		good(framing, "HTTP/1.0 with a length", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", fin, 200, "hello"),
	)
	hop := good(fields, "hop-by-hop", ok("Connection: close, X-A\r\nX-A: one\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nContent-Length: 5\r\n", "hello"), fin, 200, "hello")
	hop.never = []string{"x-a: one", "proxy-connection", "h2c", "timeout=5"}
	return append(all, hop)
}

func bodies() (all []answer) {
	const chunks, cut, surplus = "§6 chunks", "§6 ends early", "§6 surplus"
	for _, v := range []struct{ name, body string }{
		{"empty size", "\r\nhello\r\n0\r\n\r\n"}, {"signed size", "+5\r\nhello\r\n0\r\n\r\n"}, {"0x", "0x5\r\nhello\r\n0\r\n\r\n"}, {"size with a space", "5 \r\nhello\r\n0\r\n\r\n"}, {"size that overflows", "10000000000000005\r\nhello\r\n0\r\n\r\n"},
		{"bare LF behind a size", "5\nhello\r\n0\r\n\r\n"}, {"bare LF behind data", "5\r\nhello\n0\r\n\r\n"}, {"data longer than its size", "5\r\nhellohello\r\n0\r\n\r\n"}, {"data shorter than its size", "7\r\nhello\r\n0\r\n\r\n"},
		{"bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"}, {"extension of 64 KiB", "5;" + strings.Repeat("a", 64<<10) + "\r\nhello\r\n0\r\n\r\n"}, {"bad after good ones", "5\r\nhello\r\n5\r\nhello\r\nzz\r\n"},
		{"bad trailer", "5\r\nhello\r\n0\r\nX Y: a\r\n\r\n"}, {"NUL in a trailer", "5\r\nhello\r\n0\r\nX: \x00\r\n\r\n"}, {"bare LF behind the end", "5\r\nhello\r\n0\r\n\n"},
	} {
		all = append(all, bad(chunks, v.name, parts(v.body), fin))
	}
	for _, e := range []end{fin, rst} {
		by := [...]string{fin: "", rst: ", reset"}[e]
		all = append(all,
			worst(cut, "fixed, nothing"+by, ok("Content-Length: 5\r\n", ""), e),
			worst(cut, "fixed, part"+by, ok("Content-Length: 5\r\n", "hel"), e),
			worst(cut, "chunked, nothing"+by, parts(""), e),
			worst(cut, "chunked, half a chunk"+by, parts("5\r\nhel"), e),
			worst(cut, "chunked, at a boundary"+by, parts("5\r\nhello\r\n"), e),
			worst(cut, "chunked, the last chunk"+by, parts("5\r\nhello\r\n0\r\n"), e),
			worst(cut, "chunked, a trailer field"+by, parts("5\r\nhello\r\n0\r\nX: y\r\n"), e),
		)
	}
	all = append(all,
		worst(cut, "until the end, reset", ok("", "hello"), rst),
		good(chunks, "plain", parts("5\r\nhello\r\n0\r\n\r\n"), keep, 200, "hello"),
		good(chunks, "extensions and trailers", parts("5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), keep, 200, "hello"),
		good(cut, "until the end", ok("", "hello"), fin, 200, "hello"),
		good(cut, "HTTP/1.0 until the end", "HTTP/1.0 200 OK\r\n\r\nhello", fin, 200, "hello"),
		good(surplus, "an answer behind the answer", fixed("hello")+evil, keep, 200, "hello"),
		good(surplus, "bytes behind the answer", fixed("hello")+"more", keep, 200, "hello"),
		good(surplus, "an answer behind the last chunk", parts("5\r\nhello\r\n0\r\n\r\n")+evil, keep, 200, "hello"),
		good(surplus, "an answer behind an empty one", fixed("")+evil, keep, 200, ""),
		good(surplus, "204 with a body", "HTTP/1.1 204 No Content\r\n\r\n"+evil, keep, 204, ""),
		good(surplus, "204 with a length and a body", "HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n\r\n"+evil, keep, 204, ""),
		good(surplus, "204 chunked", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", keep, 204, ""),
		good(surplus, "304 with a body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n"+evil, keep, 304, ""),
	)
	for _, fields := range []string{"Content-Length: 44\r\n", "Transfer-Encoding: chunked\r\n", ""} {
		a := good(surplus, "HEAD with a body, "+strings.TrimSpace(fields), ok(fields, evil), keep, 200, "")
		a.method = "HEAD"
		all = append(all, a)
	}
	for _, raw := range []string{fixed("hello"), parts("5\r\nhello\r\n0\r\n\r\n")} {
		name := "behind a length"
		if strings.Contains(raw, "chunked") {
			name = "behind chunks"
		}
		a := good(surplus, "an answer later, "+name, raw, keep, 200, "hello")
		a.late = evil
		b := good(surplus, "a byte later, "+name, raw, keep, 200, "hello")
		b.late = "H"
		c := good(surplus, "a thousand answers later, "+name, raw, keep, 200, "hello")
		c.late = strings.Repeat(evil, 1000)
		all = append(all, a, b, c)
	}
	twice := answer{rule: "§6 framing", name: "two lengths that are equal", raw: ok("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), end: keep, fine: 502}
	return append(all, twice)
}

// hostile is the whole corpus of answers.
func hostile() []answer { return append(headers(), bodies()...) }

// playAnswer plays an answer and then ordinary requests that may come over the same upstream connection. poisoned counts those
// that got another's answer.
func (s *stage) playAnswer(a *answer, n int) (r result, poisoned int) {
	r = result{name: a.name, rule: a.rule}
	target := fmt.Sprintf("/hostile/%d", n)
	s.origin.plan(target, a)
	defer s.origin.plan(target, nil)
	c, err := dial(s.address)
	if err != nil {
		r.be(unsafe, "%v", err)
		return r, 0
	}
	defer c.Close()
	method := "GET"
	if a.method != "" {
		method = a.method
	}
	c.send(method + " " + target + " HTTP/1.1\r\nHost: a.example\r\n\r\n")
	m, how := c.answer(method, s.patience)
	a.check(&m, how, &r)
	s.origin.surprise()
	open := how == complete && !m.close
	for i := range 5 {
		if !open || i == 3 { // the last two over connections of their own
			_ = c.Close()
			if c, err = dial(s.address); err != nil {
				r.be(unsafe, "%v", err)
				return r, poisoned
			}
		}
		target := fmt.Sprintf("/after/%d/%d", n, i)
		c.send("GET " + target + " HTTP/1.1\r\nHost: a.example\r\n\r\n")
		m, how := c.answer("GET", s.patience)
		if want := "GET " + target + " @a.example"; how != complete || m.body != want {
			if how == complete && m.status < 500 {
				poisoned++
			}
			r.be(unsafe, "a later request got %d %.60q", m.status, m.body)
		}
		open = i < 2 && how == complete && !m.close
	}
	s.origin.take()
	return r, poisoned
}

// check judges what the client got of a.
func (a *answer) check(m *message, how ending, r *result) {
	raw := strings.ToLower(fmt.Sprint(m.fields))
	for _, never := range a.never {
		if name, value, ok := strings.Cut(never, ": "); ok && strings.Contains(raw, "{"+name+" "+value) || !ok && strings.Contains(raw, never) {
			r.be(lenient, "client got %q", never)
		}
	}
	passed := lenient
	if a.worse {
		passed = unsafe
	}
	if len(m.odd) > 0 {
		r.be(lenient, "client got %q", m.odd)
	}
	switch {
	case how == garbled || how == complete && len(m.faults) > 0:
		r.be(unsafe, "client got %q", m.faults)
	case how == silent && a.fine == 0:
		r.be(lenient, "client got no end")
	case a.fine == 0:
		if how == complete && m.status < 500 {
			r.be(passed, "client got %d %.40q as a complete answer", m.status, m.body)
		}
	case how != complete:
		r.be(refused, "client got no complete answer")
	case m.status != a.fine && m.status >= 500:
		r.be(refused, "client got %d", m.status)
	case a.fine < 500 && (m.status != a.fine || m.body != a.want):
		r.be(unsafe, "client got %d %.60q", m.status, m.body)
	}
}
