package main

import (
	"fmt"
	"slices"
	"strings"
)

// kase is one request case: what a client sends, and what a proxy has to make of it. The rules are those of RFC 9110, 9112 and
// of weir's own list; rule names where they stand.
type kase struct {
	name, rule string
	pieces     []string // sent one by one before in; a proxy must wait and say nothing
	in         string
	fin        bool // the client ends its side behind in

	forward []string // what must reach the upstream, message by message: METHOD target @host =body
	refuse  bool     // what comes after forward must be refused: nothing complete of it reaches the upstream
	either  bool     // with refuse: to forward it instead is as good
	status  int      // of the refusal, as weir has it; 0: closed without an answer
	mayStay bool     // the refusal is no reason to close: where the next request begins is known
	cut     bool     // an incomplete message: a complete one at the upstream is an invention
	hidden  bool     // one reading has smug in a body: to run it as a request is to be smuggled past
	mild    bool     // another spelling at the upstream is not what was asked for, and no danger

	never []string // no byte of it may reach the upstream: there it would be believed, or read in another way
	not   []string // should not reach it
	has   []string // should reach it
}

// requests is the whole corpus.
func requests() []kase {
	return slices.Concat(lineCases(), nameCases(), lengthCases(), codingCases(), chunkCases(), bodyCases(), hostCases(), targetCases(),
		pathCases(), hopCases(), expectCases(), pipelineCases(), fragmentCases())
}

const (
	host  = "Host: a.example\r\n"
	plain = "GET /x @a.example"
	smug  = "GET /smuggled HTTP/1.1\r\n" + host + "\r\n"
)

func get(fields string) string        { return "GET /x HTTP/1.1\r\n" + host + fields + "\r\n" }
func post(fields, body string) string { return "POST /x HTTP/1.1\r\n" + host + fields + "\r\n" + body }
func start(line string) string        { return line + "\r\n" + host + "\r\n" }
func to(target string) string         { return start("GET " + target + " HTTP/1.1") }

// no is a case that must be refused with the status.
func no(rule, name, in string, status int) kase {
	return kase{rule: rule, name: name, in: in, refuse: true, status: status}
}

// yes is a legal case with what must reach the upstream.
func yes(rule, name, in string, forward ...string) kase {
	return kase{rule: rule, name: name, in: in, forward: forward}
}

// hides marks a case whose length covers smug.
func hides(k kase) kase {
	k.hidden = true
	return k
}

// behind is the length of a last chunk and smug.
var behind = fmt.Sprintf("Content-Length: %d\r\n", 5+len(smug))

// stays marks refusals after which the connection may go on.
func stays(all ...kase) []kase {
	for i := range all {
		all[i].mayStay = true
	}
	return all
}

func lineCases() []kase {
	const lines, first, version = "§1 lines", "§1 request line", "§1 version"
	all := []kase{
		no(lines, "bare LF everywhere", strings.ReplaceAll(get(""), "\r\n", "\n"), 400),
		no(lines, "bare LF after the request line", "GET /x HTTP/1.1\n"+host+"\r\n", 400),
		no(lines, "bare LF after a field", get("X: a\n"), 400),
		no(lines, "bare LF between fields", get("X: a\nY: b\r\n"), 400),
		no(lines, "bare LF before a smuggled field", get("X: a\nTransfer-Encoding: chunked\r\n")+"0\r\n\r\n"+smug, 400),
		no(lines, "bare LF ends the head", "GET /x HTTP/1.1\r\n"+host+"\n", 400),
		no(lines, "LF CR LF ends the head", "GET /x HTTP/1.1\r\nHost: a.example\n\r\n", 400),
		no(lines, "CR CR LF after the request line", "GET /x HTTP/1.1\r\r\n"+host+"\r\n", 400),
		no(lines, "CR CR LF after a field", get("X: a\r\r\n"), 400),
		no(lines, "bare CR in a value", get("X: a\rb\r\n"), 400),
		no(lines, "bare CR as a line's end", get("X: a\rTransfer-Encoding: chunked\r\n"), 400),
		no(lines, "bare CR in a name", get("X\rY: b\r\n"), 400),
		no(lines, "bare CR first on a line", get("\rX: a\r\n"), 400),
		no(lines, "bare CR in the target", to("/a\rb"), 400),
		no(lines, "bare CR between method and target", start("GET\r/x HTTP/1.1"), 400),
		no(lines, "NUL in a value", get("X: a\x00b\r\n"), 400),
		no(lines, "NUL in a name", get("X\x00: b\r\n"), 400),
		no(lines, "NUL in the target", to("/a\x00b"), 400),
		no(lines, "NUL first", "\x00"+get(""), 400),
		no(lines, "space first", " "+get(""), 400),
		no(lines, "tab first", "\t"+get(""), 400),
		no(lines, "bare LF first", "\n"+get(""), 400),
		no(lines, "three empty lines first", "\r\n\r\n\r\n"+get(""), 400),
		no(lines, "three hundred empty lines first", strings.Repeat("\r\n", 300)+get(""), 400),
		{name: "three empty lines, one by one", rule: lines, pieces: []string{"\r\n", "\r\n"}, in: "\r\n" + get(""), refuse: true, status: 400},
		yes(lines, "one empty line first", "\r\n"+get(""), plain),
		yes(lines, "two empty lines first", "\r\n\r\n"+get(""), plain),
		no(lines, "TLS on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"+strings.Repeat("\x41", 500), 0),
		no(lines, "what is no HTTP", "\xff\xfe\xfd\xfc\r\n\r\n", 400),

		no(lines, "folded field", get("X: a\r\n b\r\n"), 400),
		no(lines, "field folded by a tab", get("X: a\r\n\tb\r\n"), 400),
		no(lines, "folded first field", "GET /x HTTP/1.1\r\n Host: a.example\r\n\r\n", 400),
		no(lines, "folded Host", "GET /x HTTP/1.1\r\nHost:\r\n a.example\r\n\r\n", 400),
		no(lines, "folded Transfer-Encoding", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"+smug), 400),
		no(lines, "folded Transfer-Encoding beside a length", post("Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400),
		no(lines, "folded Content-Length", post("Content-Length: 5\r\n 0\r\n", "hello"), 400),
		no(lines, "folded Connection", get("Connection: close,\r\n X-A\r\nX-A: 1\r\n"), 400),

		no(first, "two spaces", start("GET  /x HTTP/1.1"), 400),
		no(first, "two spaces before the version", start("GET /x  HTTP/1.1"), 400),
		no(first, "tab", start("GET\t/x HTTP/1.1"), 400),
		no(first, "tab before the version", start("GET /x\tHTTP/1.1"), 400),
		no(first, "VT", start("GET\v/x HTTP/1.1"), 400),
		no(first, "FF before the version", start("GET /x\fHTTP/1.1"), 400),
		no(first, "trailing space", start("GET /x HTTP/1.1 "), 400),
		no(first, "trailing tab", start("GET /x HTTP/1.1\t"), 400),
		no(first, "space in the target", to("/a b"), 400),
		no(first, "a second version in the target", to("/a HTTP/1.1 HTTP/1.1"), 400),
		no(first, "method alone", "GET\r\n\r\n", 400),
		no(first, "no target", start("GET HTTP/1.1"), 400),
		no(first, "text before the method", "Extra lineGET / HTTP/1.1\r\n"+host+"\r\n", 400),
		no(first, "method with a bracket", start("G(T /x HTTP/1.1"), 400),
		no(first, "method with a quote", start("G\"T /x HTTP/1.1"), 400),
		no(first, "8-bit method", start("G\xc9T /x HTTP/1.1"), 400),
		no(first, "method of 33 bytes", start(strings.Repeat("M", 33)+" /x HTTP/1.1"), 400),
		yes(first, "unknown method", start("BREW /x HTTP/1.1"), "BREW /x @a.example"),
		yes(first, "method with a dash", start("M-SEARCH /x HTTP/1.1"), "M-SEARCH /x @a.example"),
		yes(first, "PATCH", start("PATCH /x HTTP/1.1"), "PATCH /x @a.example"),
		yes(first, "DELETE", start("DELETE /x HTTP/1.1"), "DELETE /x @a.example"),
		yes(first, "HEAD", start("HEAD /x HTTP/1.1"), "HEAD /x @a.example"),
		yes(first, "OPTIONS", start("OPTIONS /x HTTP/1.1"), "OPTIONS /x @a.example"),

		no(version, "HTTP/2.0", start("GET /x HTTP/2.0"), 505),
		no(version, "HTTP/1.2", start("GET /x HTTP/1.2"), 505),
		no(version, "HTTP/3.0", start("GET /x HTTP/3.0"), 505),
		no(version, "HTTP/9.9", start("GET /x HTTP/9.9"), 505),
		no(version, "HTTP/0.0", start("GET /x HTTP/0.0"), 505),
		no(version, "HTTP/0.9", start("GET /x HTTP/0.9"), 505),
		no(version, "http/1.1", start("GET /x http/1.1"), 400),
		no(version, "HTTP/1", start("GET /x HTTP/1"), 400),
		no(version, "HTTP/1.", start("GET /x HTTP/1."), 400),
		no(version, "HTTP/1.10", start("GET /x HTTP/1.10"), 400),
		no(version, "HTTP/01.1", start("GET /x HTTP/01.1"), 400),
		no(version, "HTTP/11", start("GET /x HTTP/11"), 400),
		no(version, "HTTP/1,1", start("GET /x HTTP/1,1"), 400),
		no(version, "HTTPS/1.1", start("GET /x HTTPS/1.1"), 400),
		no(version, "HTTP /1.1", start("GET /x HTTP /1.1"), 400),
		no(version, "HTTP/1.1x", start("GET /x HTTP/1.1x"), 400),
		no(version, "no version", "GET /x\r\n\r\n", 400),
		no(version, "no version, with fields", "GET /x\r\n"+host+"\r\n", 400),
		no(version, "no version, a space", "GET /x \r\n"+host+"\r\n", 400),
		no(version, "HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
		yes(version, "HTTP/1.0", start("GET /x HTTP/1.0"), plain),
		yes(version, "HTTP/1.0 without Host", "GET /x HTTP/1.0\r\n\r\n", "GET /x @*"),
		yes(version, "HTTP/1.0 kept alive", "GET /x HTTP/1.0\r\n"+host+"Connection: keep-alive\r\n\r\n", plain),
		yes(version, "HTTP/1.0 with a length", "POST /x HTTP/1.0\r\n"+host+"Content-Length: 5\r\n\r\nhello", "POST /x @a.example =hello"),
	}
	all = append(all, stays(
		no("§1 method", "CONNECT", start("CONNECT a.example:443 HTTP/1.1"), 405),
		no("§1 method", "CONNECT of a path", start("CONNECT /x HTTP/1.1"), 405),
		no("§1 method", "TRACE", start("TRACE /x HTTP/1.1"), 405),
		no("§1 method", "TRACE with Max-Forwards", "TRACE /x HTTP/1.1\r\n"+host+"Max-Forwards: 0\r\n\r\n", 405),
		no("§1 limits", "target of 9,000 bytes", to("/"+strings.Repeat("a", 8999)), 414),
		no("§1 limits", "a hundred fields and one", get(strings.Repeat("A: b\r\n", 100)), 431),
		no("§1 limits", "two thousand fields", get(strings.Repeat("A: b\r\n", 2000)), 431),
		no("§1 limits", "field of 40,000 bytes", get("X: "+strings.Repeat("a", 40000)+"\r\n"), 431),
		no("§1 limits", "name of 40,000 bytes", get(strings.Repeat("a", 40000)+": x\r\n"), 431),
	)...)
	return all
}

func nameCases() []kase {
	const names, values, under = "§1 field names", "§1 field values", "§1 underscores"
	all := []kase{
		no(names, "space before the colon", get("X : a\r\n"), 400),
		no(names, "tab before the colon", get("X\t: a\r\n"), 400),
		no(names, "space in a name", get("X A: b\r\n"), 400),
		hides(no(names, "Transfer-Encoding with a space", post("Transfer-Encoding : chunked\r\n"+behind, "0\r\n\r\n"+smug), 400)),
		no(names, "Transfer-Encoding with a word", post("Transfer-Encoding x: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400),
		no(names, "Transfer Encoding", post("Transfer Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400),
		no(names, "Content-Length with a space", post("Content-Length : 5\r\n", "hello"), 400),
		no(names, "Content-Length with a tab", post("Content-Length\t: 5\r\n", "hello"), 400),
		no(names, "Content-Length with a NUL", post("Content-Length\x00: 5\r\n", "hello"), 400),
		no(names, "Host with a space", "GET /x HTTP/1.1\r\nHost : a.example\r\n\r\n", 400),
		no(names, "space before a name", "GET /x HTTP/1.1\r\n"+host+"A: b\r\n X: a\r\n\r\n", 400),
		no(names, "empty name", get(": a\r\n"), 400),
		no(names, "no colon", get("Xa\r\n"), 400),
		no(names, "no colon, last line", get("A: b\r\nXa\r\n"), 400),
		no(names, "request line as a field", get("GET /smuggled HTTP/1.1\r\n"), 400),
		no(names, "brackets", get("X-Invalid[]: test\r\n"), 400),
		no(names, "round brackets", get("X(a): b\r\n"), 400),
		no(names, "quote", get("X\"a: b\r\n"), 400),
		no(names, "slash", get("X/a: b\r\n"), 400),
		no(names, "at sign", get("X@a: b\r\n"), 400),
		no(names, "8-bit", get("X\xe4: b\r\n"), 400),
		no(names, "8-bit Transfer-Encoding", post("Transfer-Encod\xefng: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400),
		no(names, "DEL", get("X\x7f: b\r\n"), 400),
		no(names, "VT", get("X\v: b\r\n"), 400),
		{name: "every token byte", rule: names, in: get("!#$%&'*+-.^`|~09azAZ: b\r\n"), forward: []string{plain}, has: []string{"!#$%&'*+-.^`|~09azaz: b"}},
		{name: "odd case", rule: names, in: get("x-ODD: b\r\n"), forward: []string{plain}, has: []string{"x-odd: b"}},

		no(values, "control", get("X: a\x01b\r\n"), 400),
		no(values, "bell", get("X-Bad: test\x07\r\n"), 400),
		no(values, "escape", get("X: \x1b[31m\r\n"), 400),
		no(values, "backspace", get("X: a\bb\r\n"), 400),
		no(values, "VT", get("X: a\vb\r\n"), 400),
		no(values, "DEL", get("X: a\x7f\r\n"), 400),
		{name: "tab", rule: values, in: get("X: a\tb\r\n"), forward: []string{plain}, has: []string{"x: a\tb"}},
		{name: "obs-text", rule: values, in: get("X: a\xff\x80b\r\n"), forward: []string{plain}, has: []string{"x: a\xff\x80b"}},
		{name: "empty", rule: values, in: get("X-Empty:\r\n"), forward: []string{plain}},
		{name: "space only", rule: values, in: get("X-Empty: \t \r\n"), forward: []string{plain}},
		{name: "space around", rule: values, in: get("X: \t a b\t \r\n"), forward: []string{plain}, has: []string{"x: a b\r\n"}},
		{name: "no space", rule: values, in: get("X:a\r\n"), forward: []string{plain}, has: []string{"x: a\r\n"}},
		{name: "the same field twice", rule: values, in: get("X: a\r\nY: b\r\nX: c\r\n"), forward: []string{plain}, has: []string{"x: a\r\n", "x: c\r\n"}},
		{name: "tab before Host's value, empty field", rule: values, in: "GET /x HTTP/1.1\r\nhoSt:\ta.example\r\nempty:\r\n\r\n", forward: []string{plain}},
		{name: "8 KiB of cookie", rule: values, in: get("Cookie: " + strings.Repeat("c", 8000) + "\r\n"), forward: []string{plain}, has: []string{strings.Repeat("c", 8000)}},
		{name: "ninety-nine fields", rule: values, in: get(strings.Repeat("A: b\r\n", 80)), forward: []string{plain}},
	}
	for _, name := range []string{"X_Forwarded_For", "Content_Length", "Transfer_Encoding", "X_Real_IP", "X-Forwarded_For"} {
		all = append(all, kase{name: name, rule: under, in: get(name + ": 5\r\n"), refuse: true, either: true, forward: []string{plain}, never: []string{name}})
	}
	return all
}
