package wire

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

func ok(fields string) string { return "HTTP/1.1 200 OK\r\n" + fields + "\r\n" }

func status(line string) string { return line + "\r\nContent-Length: 5\r\n\r\n" }

// answers are what upstreams send to a GET, and what it means: "bad", or show's text.
var answers = []example{
	{"plain", ok("Content-Length: 5\r\n"), "200 OK fixed=5"},
	{"empty", ok("Content-Length: 0\r\n"), "200 OK"},
	{"chunked", ok("Transfer-Encoding: chunked\r\n"), "200 OK chunked"},
	{"until close", ok(""), "200 OK until close, close"},
	{"closes", ok("Connection: close\r\nContent-Length: 5\r\n"), "200 OK fixed=5 close"},
	{"HTTP/1.0", status("HTTP/1.0 200 OK"), "200 OK 1.0 fixed=5 close"},
	{"HTTP/1.0 keep-alive", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\n", "200 OK 1.0 fixed=5"},
	{"HTTP/1.0 keep-alive without length", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", "200 OK 1.0 until close, close"},

	// Status lines.
	{"no reason", status("HTTP/1.1 200 "), "200  fixed=5"},
	{"no space and no reason", status("HTTP/1.1 200"), "200  fixed=5"},
	{"reason of obs-text", status("HTTP/1.1 200 \xc3\xa9\tx"), "200 \xc3\xa9\tx fixed=5"},
	{"reason with control", status("HTTP/1.1 200 a\x01b"), "bad"},
	{"reason with NUL", status("HTTP/1.1 200 a\x00b"), "bad"},
	{"reason with bare CR", status("HTTP/1.1 200 a\rb"), "bad"},
	{"reason with bare LF", status("HTTP/1.1 200 a\nb"), "bad"},
	{"CR before CRLF", status("HTTP/1.1 200 OK\r"), "bad"},
	{"two digits", status("HTTP/1.1 20 OK"), "bad"},
	{"four digits", status("HTTP/1.1 2000 OK"), "bad"},
	{"signed", status("HTTP/1.1 +20 OK"), "bad"},
	{"hex", status("HTTP/1.1 0x2 OK"), "bad"},
	{"status 099", status("HTTP/1.1 099 OK"), "bad"},
	{"status 600", status("HTTP/1.1 600 OK"), "bad"},
	{"status 999", status("HTTP/1.1 999 OK"), "bad"},
	{"two spaces", status("HTTP/1.1  200 OK"), "bad"},
	{"tab", status("HTTP/1.1\t200 OK"), "bad"},
	{"tab after status", status("HTTP/1.1 200\tOK"), "bad"},
	{"HTTP/2.0", status("HTTP/2.0 200 OK"), "bad"},
	{"HTTP/1.2", status("HTTP/1.2 200 OK"), "bad"},
	{"HTTP/0.9", "hello\r\n\r\n", "bad"},
	{"http/1.1", status("http/1.1 200 OK"), "bad"},
	{"ICY", status("ICY 200 OK"), "bad"},
	{"leading space", status(" HTTP/1.1 200 OK"), "bad"},
	{"empty line first", "\r\n" + ok(""), "bad"},
	{"empty", "\r\n\r\n", "bad"},
	{"short", "HTTP/1.1\r\n\r\n", "bad"},

	// Framing.
	{"length twice, equal", ok("Content-Length: 5\r\nContent-Length: 5\r\n"), "bad"},
	{"length thrice, equal", ok("Content-Length: 0\r\nContent-Length: 0\r\nContent-Length: 0\r\n"), "bad"},
	{"length with leading zeros", ok("Content-Length: 005\r\n"), "200 OK fixed=5 close"},
	{"length twice, differing", ok("Content-Length: 5\r\nContent-Length: 6\r\n"), "bad"},
	{"length list", ok("Content-Length: 5, 5\r\n"), "bad"},
	{"length negative", ok("Content-Length: -5\r\n"), "bad"},
	{"length signed", ok("Content-Length: +5\r\n"), "bad"},
	{"length empty", ok("Content-Length:\r\n"), "bad"},
	{"length overflow", ok("Content-Length: 18446744073709551621\r\n"), "bad"},
	{"TE and CL", ok("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), "bad"},
	{"CL and TE", ok("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), "bad"},
	{"TE on HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "bad"},
	{"TE twice", ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), "bad"},
	{"TE gzip", ok("Transfer-Encoding: gzip\r\n"), "bad"},
	{"TE identity", ok("Transfer-Encoding: identity\r\nContent-Length: 5\r\n"), "bad"},
	{"TE xchunked", ok("Transfer-Encoding: xchunked\r\n"), "bad"},
	{"TE after tab", ok("Transfer-Encoding:\tchunked\r\n"), "bad"},
	{"TE nominated", ok("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n"), "bad"},

	// Bodies that are none.
	{"204", "HTTP/1.1 204 No Content\r\n\r\n", "204 No Content"},
	{"204 with length 0", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "204 No Content"},
	{"204 with a body", status("HTTP/1.1 204 No Content"), "204 No Content close"},
	{"204 chunked", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "204 No Content close"},
	{"304 with a length", status("HTTP/1.1 304 Not Modified"), "304 Not Modified"},
	{"304 without", "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", "304 Not Modified {ETag: x}"},
	{"103", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", "103 Early Hints {Link: x}"},
	{"100 with a length", status("HTTP/1.1 100 Continue"), "bad"},
	{"100 chunked", "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n", "bad"},
	{"101", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
		"101 Switching Protocols {Sec-WebSocket-Accept: x}"},
	{"101 to nothing", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "bad"},
	{"101 to h2c", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "bad"},
	{"101 without Connection", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "bad"},
	{"101 twice", "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n\r\n", "bad"},
	{"205", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", "205 Reset Content"},

	// Fields.
	{"hop-by-hop fields go", ok("Content-Length: 5\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nUpgrade: h2,h2c\r\nTrailer: X\r\n" +
		"Connection: Upgrade, X-A\r\nX-A: 1\r\nDate: now\r\nServer: s\r\n"), "200 OK fixed=5 {Date: now, Server: s}"},
	{"cookies stay apart", ok("Set-Cookie: a\r\nset-cookie: b\r\nContent-Length: 5\r\n"), "200 OK fixed=5 {Set-Cookie: a, set-cookie: b}"},
	{"bare LF", ok("X: a\nContent-Length: 5\r\n"), "bad"},
	{"bare CR", ok("X: a\rY: b\r\n"), "bad"},
	{"NUL", ok("X: a\x00\r\n"), "bad"},
	{"obs-fold", ok("X: a\r\n b\r\n"), "bad"},
	{"space before colon", ok("Content-Length : 5\r\n"), "bad"},
	{"space in name", ok("X Y: 5\r\n"), "bad"},
	{"8-bit name", ok("X\xe4: 5\r\n"), "bad"},
	{"no colon", ok("X\r\n"), "bad"},
	{"no name", ok(": x\r\n"), "bad"},
	{"underscore", ok("X_Y: 5\r\nContent-Length: 0\r\n"), "200 OK {X_Y: 5}"},
	{"too many fields", ok(strings.Repeat("A: b\r\n", 101)), "bad"},
	{"too many options", ok("Connection: " + strings.Repeat("a,", 11) + "\r\n"), "bad"},
}

func parseAnswer(in, method string) string {
	end, err := HeadEnd([]byte(in), 0)
	x := exchange.Acquire()
	defer exchange.Release(x)
	r := &x.Response
	lim := Defaults
	lim.Underscores = PassUnderscores
	var f Framing
	if err == nil {
		if f, err = ParseResponse([]byte(in)[:end:end], []byte(method), &lim, r); err != nil && fault.KindOf(err) != fault.BadResponse {
			return "fault " + fault.KindOf(err).String()
		}
	}
	if err != nil {
		return "bad"
	}
	s := fmt.Sprintf("%d %s", r.Status, r.Reason)
	if r.Version == exchange.HTTP10 {
		s += " 1.0"
	}
	switch f.Mode {
	case FixedBody:
		s += fmt.Sprintf(" fixed=%d", f.Length)
	case ChunkedBody:
		s += " chunked"
	case CloseBody:
		s += " until close,"
	}
	if f.Close {
		s += " close"
	}
	if r.Header.Len() > 0 {
		s += " {" + showFields(&r.Header) + "}"
	}
	return s
}

func TestAnswers(t *testing.T) {
	for _, c := range answers {
		if got := parseAnswer(c.in, "GET"); got != c.want {
			t.Errorf("%s\n%q\n got %s\nwant %s", c.name, c.in, got, c.want)
		}
	}
	f := func(in, want string) {
		t.Helper()
		if got := parseAnswer(in, "HEAD"); got != want {
			t.Errorf("to HEAD: %q: %s", in, got)
		}
	}
	f(ok("Content-Length: 5\r\n"), "200 OK")
	f(ok("Transfer-Encoding: chunked\r\n"), "200 OK")
	f(ok(""), "200 OK")
	f(ok("Connection: close\r\n"), "200 OK close")
	f(ok("Content-Length: 5\r\nContent-Length: 6\r\n"), "bad")
}

func TestDeclared(t *testing.T) {
	f := func(in, method string, want int64) {
		t.Helper()
		var r exchange.Response
		if _, err := ParseResponse([]byte(in), []byte(method), &Defaults, &r); err != nil || r.Declared != want {
			t.Errorf("%q: %d %v", in, r.Declared, err)
		}
	}
	f(ok("Content-Length: 5\r\n"), "HEAD", 5)
	f(ok(""), "HEAD", -1)
	f(status("HTTP/1.1 304 X"), "GET", 5)
}
