package wire

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
)

// forward reads in as a client's request, writes it for an upstream, reads that, and gives both meanings; ok is false if
// in is refused. What ends at this hop is left out of the first.
func forward(t testing.TB, in []byte) (first, second string, ok bool) {
	end, err := HeadEnd(in, 0)
	if err != nil || end == 0 {
		return "", "", false
	}
	x, y := exchange.Acquire(), exchange.Acquire()
	defer exchange.Release(x)
	defer exchange.Release(y)
	lim := Defaults
	lim.Underscores = PassUnderscores
	f, err := ParseRequest(in[:end:end], false, &lim, &x.Request)
	if err != nil {
		return "", "", false
	}
	r := &x.Request
	if len(r.Host) == 0 {
		r.Host = []byte("a")
	}
	r.Close, f.Close, r.Expect, r.Version = false, false, false, exchange.HTTP11
	length := f.Length
	if f.Mode == ChunkedBody {
		length = -1
	}
	out := AppendRequest(nil, r, r.Host, length)
	lim.Fields += 4 // ours
	end, err = HeadEnd(out, 0)
	if err != nil || end != len(out) {
		t.Fatalf("%q was written as %q, whose head ends at %d: %v", in, out, end, err)
	}
	g, err := ParseRequest(out, false, &lim, &y.Request)
	if err != nil {
		t.Fatalf("%q was written as %q: %v", in, out, err)
	}
	return show(r, f), show(&y.Request, g), true
}

func TestForwardedMeansTheSame(t *testing.T) {
	n := 0
	for _, c := range append(messages[:len(messages):len(messages)], targets...) {
		if first, second, ok := forward(t, []byte(c.in)); ok {
			n++
			if first != second {
				t.Errorf("%s: forwarded as\n%s, not as\n%s", c.name, second, first)
			}
		}
	}
	if n < 80 {
		t.Errorf("only %d requests were forwarded", n)
	}
}

func TestAppendRequest(t *testing.T) {
	f := func(length int64, change func(*exchange.Request), want string) {
		t.Helper()
		r := &exchange.Request{Method: []byte("GET"), Target: []byte("/a?b")}
		change(r)
		if got := string(AppendRequest([]byte("before|"), r, []byte("h"), length)); got != "before|"+want {
			t.Errorf("got  %q\nwant %q", got, "before|"+want)
		}
	}
	const start = "GET /a?b HTTP/1.1\r\nHost: h\r\n"
	method := func(m string) func(*exchange.Request) {
		return func(r *exchange.Request) { r.Method = []byte(m) }
	}
	f(0, method("GET"), start+"\r\n")
	f(5, method("GET"), start+"Content-Length: 5\r\n\r\n")
	f(-1, method("GET"), start+"Transfer-Encoding: chunked\r\n\r\n")
	for _, m := range []string{"POST", "PUT", "PATCH"} {
		f(0, method(m), m+start[3:]+"Content-Length: 0\r\n\r\n")
	}
	f(0, method("DELETE"), "DELETE"+start[3:]+"\r\n")
	f(0, func(r *exchange.Request) { r.Upgrade, r.Trailers = true, true }, start+"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	f(0, func(r *exchange.Request) { r.Trailers = true }, start+"TE: trailers\r\nConnection: TE\r\n\r\n")
	f(0, func(r *exchange.Request) { r.Method, r.Target = []byte("GET /x"), []byte("/a HTTP/1.1\r\nX:\ty\x7f") },
		"GET%20/x /a%20HTTP/1.1%0D%0AX:%09y%7F HTTP/1.1\r\nHost: h\r\n\r\n")
	// Framing is ours, whatever a filter wrote; a field can't make another.
	f(5, func(r *exchange.Request) { spoil(&r.Header) }, start+"A: 1\r\nZ: 2\r\nContent-Length: 5\r\n\r\n")
}

// spoil fills h with what must not be written, between A and Z.
func spoil(h *exchange.Header) {
	h.AddString("A", []byte("1"))
	for _, name := range []string{"Content-Length", "transfer-encoding", "CONNECTION", "Upgrade", "Host", "TE", "Trailer", "Keep-Alive",
		"Proxy-Connection", "HTTP2-Settings"} {
		h.AddString(name, []byte("7"))
	}
	h.AddString("", []byte("x"))
	h.AddString("X\r\nY", []byte("x"))
	h.Add([]byte("X: y"), []byte("x"))
	// A view that nobody checked.
	h.Append([]byte("X"), []byte("a\r\nContent-Length: 7"), exchange.Other)
	h.Append([]byte("X\r\nY"), []byte("a"), exchange.Other)
	h.Append([]byte("X"), []byte("a\x00"), exchange.Other)
	h.AddString("Z", []byte("2"))
}

func TestAppendResponse(t *testing.T) {
	f := func(length int64, close bool, change func(*exchange.Exchange), want string) {
		t.Helper()
		x := exchange.Acquire()
		defer exchange.Release(x)
		x.Request.Method, x.Request.Version = []byte("GET"), exchange.HTTP11
		x.Response.Status, x.Response.Declared = 200, -1
		change(x)
		x.Ask()
		if got := string(AppendResponse(nil, x, length, close)); got != "HTTP/1.1 "+want {
			t.Errorf("got  %q\nwant %q", got, "HTTP/1.1 "+want)
		}
	}
	answer := func(status int, declared int64, local bool, method string) func(*exchange.Exchange) {
		return func(x *exchange.Exchange) {
			x.Response.Status, x.Response.Declared, x.Response.Local, x.Request.Method = status, declared, local, []byte(method)
		}
	}
	old := func(x *exchange.Exchange) { x.Request.Version = exchange.HTTP10 }
	const length5 = "Content-Length: 5\r\n\r\n"
	f(5, false, func(*exchange.Exchange) {}, "200 OK\r\n"+length5)
	f(0, false, func(*exchange.Exchange) {}, "200 OK\r\nContent-Length: 0\r\n\r\n")
	f(-1, false, func(*exchange.Exchange) {}, "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	f(5, true, func(*exchange.Exchange) {}, "200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n")
	f(5, false, old, "200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n")
	f(-1, true, old, "200 OK\r\nConnection: close\r\n\r\n")
	f(5, false, func(x *exchange.Exchange) { x.Response.Reason = []byte("Fine") }, "200 Fine\r\n"+length5)
	f(5, false, func(x *exchange.Exchange) { x.Response.Reason = []byte("a\r\nX: y") }, "200 OK\r\n"+length5)
	f(5, false, func(x *exchange.Exchange) { x.Response.Status = 299 }, "299 Unknown Status Code\r\n"+length5)
	// Answers without a body. A length that an upstream declared for another one is passed on, none is made up.
	f(0, false, answer(204, -1, false, "GET"), "204 No Content\r\n\r\n")
	f(5, false, answer(204, 5, true, "GET"), "204 No Content\r\n\r\n")
	f(-1, false, answer(103, -1, false, "GET"), "103 Early Hints\r\n\r\n")
	f(0, false, answer(304, 5, false, "GET"), "304 Not Modified\r\n"+length5)
	f(0, false, answer(304, -1, false, "GET"), "304 Not Modified\r\n\r\n")
	f(0, false, answer(304, 0, true, "GET"), "304 Not Modified\r\n\r\n")
	f(0, false, answer(200, 5, false, "HEAD"), "200 OK\r\n"+length5)
	f(0, false, answer(200, -1, false, "HEAD"), "200 OK\r\n\r\n")
	f(5, false, answer(401, 0, true, "HEAD"), "401 Unauthorized\r\n"+length5)
	f(0, false, answer(101, -1, false, "GET"), "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	f(5, false, func(x *exchange.Exchange) { spoil(&x.Response.Header) }, "200 OK\r\nA: 1\r\nZ: 2\r\n"+length5)
}

// TestAnsweredMeansTheSame passes every good answer on and reads it as a client would.
func TestAnsweredMeansTheSame(t *testing.T) {
	for _, c := range answers {
		if c.want == "bad" {
			continue
		}
		x := exchange.Acquire()
		x.Request.Method, x.Request.Version = []byte("GET"), exchange.HTTP11
		lim := Defaults
		lim.Underscores = PassUnderscores
		x.Ask()
		f, err := ParseResponse([]byte(c.in), x.Request.Method, &lim, &x.Response)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		length := f.Length
		if f.Mode == ChunkedBody || f.Mode == CloseBody {
			length = -1
		}
		out := AppendResponse(nil, x, length, false)
		again, want := parseAnswer(string(out), "GET"), parseAnswer(c.in, "GET")
		for _, s := range []string{" 1.0", " close"} { // this hop's
			want = strings.ReplaceAll(want, s, "")
		}
		want = strings.ReplaceAll(want, " until,", " chunked") // framed anew
		again = strings.ReplaceAll(strings.ReplaceAll(again, "200 OK", "200 "), "200 ", "200 OK")
		want = strings.ReplaceAll(strings.ReplaceAll(want, "200 OK", "200 "), "200 ", "200 OK")
		if again != want {
			t.Errorf("%s: passed on as %q\n got %s\nwant %s", c.name, out, again, want)
		}
		exchange.Release(x)
	}
}

func TestAppendChunks(t *testing.T) {
	var h exchange.Header
	spoil(&h)
	out := AppendChunkSize(nil, 0xabc)
	out = AppendLastChunk(AppendLastChunk(out, nil), &h)
	if want := "abc\r\n0\r\n\r\n0\r\nA: 1\r\nZ: 2\r\n\r\n"; string(out) != want {
		t.Errorf("%q", out)
	}
}

func TestHeadEnd(t *testing.T) {
	f := func(in string, from, want int, bad bool) {
		t.Helper()
		if got, err := HeadEnd([]byte(in), from); got != want || (err != nil) != bad {
			t.Errorf("%q from %d: %d %v", in, from, got, err)
		}
	}
	f("", 0, 0, false)
	f("a\r\n\r\n", 0, 5, false)
	f("a\r\n\r\nb\n", 0, 5, false) // what comes behind is somebody else's
	f("a\r\n", 0, 0, false)
	f("a\r", 0, 0, false)
	f("\n", 0, 0, true)
	f("a\nb", 0, 0, true)
	f("a\r\nb\n", 3, 0, true)
	f("a\r\nb\r\n\n", 6, 0, true)
	// However the bytes come, the answer is the same.
	for _, c := range append(messages[:len(messages):len(messages)], targets...) {
		in := []byte(c.in)
		want, wantErr := HeadEnd(in, 0)
		for from := range len(in) {
			if got, err := HeadEnd(in[:from], 0); got != 0 || err != nil {
				// What is refused early is refused when it is whole, too.
				if err == nil && got != want || err != nil && parseShow(c.in, false, &Defaults) != bad {
					t.Errorf("%s: %d after %d bytes, else %d", c.name, got, from, want)
				}
				break
			}
			if got, err := HeadEnd(in, from); got != want || err != wantErr {
				t.Errorf("%s: from %d: %d %v, else %d %v", c.name, from, got, err, want, wantErr)
			}
		}
	}
	for c := range 256 {
		if want := c == '\r' || isToken([]byte{byte(c)}); MayBegin(byte(c)) != want {
			t.Errorf("may begin with %#x: %v", c, !want)
		}
	}
}

// TestDisguised compares with the plain definition: nothing that is let pass changes by removing dots after one more
// decoding or after parameters are cut.
func TestDisguised(t *testing.T) {
	parts := []string{"", "a", ".", "..", "%2e", "%2E", "%252e", "%2f", "%5C", "%252F", ";", "%3b", "/", "/.", "x"}
	n, passed := len(parts), 0
	for i := range n * n * n * n {
		path := "/b/" + parts[i%n] + parts[i/n%n] + parts[i/n/n%n] + parts[i/n/n/n] + "/c"
		r := exchange.Request{Target: []byte(path)}
		if Normalise(&r) != nil {
			continue
		}
		passed++
		got := string(r.Path)
		for _, reading := range []string{got, decodeAll(got), cutParameters(got), cutParameters(decodeAll(got))} {
			if hasDots(strings.ReplaceAll(reading, "\\", "/")) {
				t.Fatalf("%s became %s, which may be read as %s", path, got, reading)
			}
		}
		again := exchange.Request{Target: r.Target}
		if err := Normalise(&again); err != nil || !bytes.Equal(again.Path, r.Path) {
			t.Fatalf("%s became %s and then %s (%v)", path, got, again.Path, err)
		}
	}
	if passed < 5000 {
		t.Errorf("only %d paths passed", passed)
	}
}

func decodeAll(s string) string {
	var b strings.Builder
	r := strings.NewReader(s)
	for {
		c, err := r.ReadByte()
		if err == io.EOF {
			return b.String()
		}
		if c == '%' {
			hi, _ := r.ReadByte()
			lo, _ := r.ReadByte()
			c = hexDigit[hi]<<4 | hexDigit[lo]
		}
		b.WriteByte(c)
	}
}

func cutParameters(s string) string {
	segments := strings.FieldsFunc(strings.ReplaceAll(s, "\\", "/"), func(r rune) bool { return r == '/' })
	for i, seg := range segments {
		segments[i], _, _ = strings.Cut(seg, ";")
	}
	return "/" + strings.Join(segments, "/")
}

func hasDots(path string) bool {
	for seg := range strings.SplitSeq(path, "/") {
		if seg == "." || seg == ".." {
			return true
		}
	}
	return false
}
