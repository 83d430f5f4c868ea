package wire

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/netio"
)

// read is a message as one reader found it.
type read struct {
	start, body string
	close       bool
}

// readStream reads requests off in, one behind the other, as a connection would: to the first that is refused, cut, or the last
// for its connection.
func readStream(in []byte) (all []read) {
	lim := Limits{HeaderBytes: 1 << 20, Fields: 1 << 10, Target: 1 << 20}
	for len(all) < 20 {
		end, err := HeadEnd(in, 0)
		if err != nil || end == 0 {
			return all
		}
		x := exchange.Acquire()
		f, err := ParseRequest(append([]byte{}, in[:end]...), false, &lim, &x.Request)
		if err != nil {
			exchange.Release(x)
			return all
		}
		m := read{start: string(x.Request.Method) + " @" + string(x.Request.Host), close: f.Close}
		var b BodyReader
		s := &script{}
		b.Init(netio.New(s), FromClient, f, in[end:], 0, &x.Request.Trailer)
		body, err := readAll(&b)
		rest := append([]byte{}, b.Ahead()...)
		b.Release()
		exchange.Release(x)
		if err != nil {
			return all
		}
		m.body = body
		all = append(all, m)
		if in = rest; f.Close {
			return all
		}
	}
	return all
}

func readAll(b *BodyReader) (string, error) {
	var all strings.Builder
	var buf [512]byte
	for {
		n, err := b.Read(buf[:])
		all.Write(buf[:n])
		if err == io.EOF {
			return all.String(), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// readStreamStd is readStream by net/http.
func readStreamStd(in []byte) (all []read) {
	br := bufio.NewReader(bytes.NewReader(in))
	for len(all) < 20 {
		q, err := http.ReadRequest(br)
		if err != nil {
			return all
		}
		m := read{start: q.Method + " @" + q.Host, close: q.Close}
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return all
		}
		m.body = string(body)
		if all = append(all, m); m.close {
			return all
		}
	}
	return all
}

// FuzzStream: on a whole connection net/http finds the messages that are found here, each with the same body, in the same
// order; nothing that is a body here is a message there. Where reading stops here, because something is refused, nobody asks
// what net/http makes of the rest: the connection is closed.
func FuzzStream(f *testing.F) {
	const next = "GET /next HTTP/1.1\r\nHost: b\r\n\r\n"
	for _, c := range append(messages[:len(messages):len(messages)], targets...) {
		f.Add([]byte(c.in + "5\r\nhello\r\n0\r\n\r\n" + next))
		f.Add([]byte(c.in + "hello" + next))
	}
	for _, in := range []string{get("") + get(""), post("Content-Length: 5\r\n") + "hello" + next, post("Transfer-Encoding: chunked\r\n") + chunkedMessage + next,
		post("Content-Length: 0\r\n") + post("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n" + next} {
		f.Add([]byte(in))
	}
	f.Fuzz(compareStreams)
}

func compareStreams(t *testing.T, in []byte) {
	here := readStream(in)
	if len(here) == 0 {
		return
	}
	if bytes.IndexByte(in, '%') >= 0 {
		return // net/url refuses what we let pass in queries; it is compared by FuzzDifferential
	}
	if bytes.Contains(bytes.ToLower(in), []byte("\ntrailer:")) {
		return // net/http refuses what some announce; the field ends here, unread
	}
	there := readStreamStd(in)
	for i, m := range here {
		if i >= len(there) {
			t.Fatalf("%q: %d messages here, %d in net/http", in, len(here), len(there))
		}
		if n := there[i]; n.start != m.start || n.body != m.body || n.close && !m.close {
			t.Fatalf("%q: message %d is %+v, in net/http %+v", in, i, m, n)
		}
	}
}

// FuzzFragments is FuzzStream over connections put together of the parts that decide where a message ends: mutated bytes
// hardly ever make a whole message.
func FuzzFragments(f *testing.F) {
	f.Add([]byte{0, 10, 13, 23, 30, 31, 39, 0, 10, 23})
	for i := range fragments {
		f.Add([]byte{byte(i), 10, 13, 23, 30, 31, 39})
		f.Add([]byte{1, 10, byte(i), 23, 30, 31, 39, 0, 10, 23})
		f.Add([]byte{1, 10, 13, byte(i), 23, 30, 31, 39, 0, 10, 23})
		f.Add([]byte{1, 10, 13, 23, 30, 31, byte(i), 39, 0, 10, 23})
	}
	f.Fuzz(func(t *testing.T, picks []byte) {
		var in []byte
		for _, p := range picks[:min(len(picks), 60)] {
			in = append(in, fragments[int(p)%len(fragments)]...)
		}
		compareStreams(t, in)
	})
}

var fragments = []string{
	// Start lines.
	"GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "GET / HTTP/1.0\r\n", "POST / HTTP/1.0\r\n", "HEAD / HTTP/1.1\r\n", "OPTIONS * HTTP/1.1\r\n",
	"GET http://a/ HTTP/1.1\r\n", "DELETE /a?b HTTP/1.1\r\n", "GET / HTTP/1.1\n", "GET /\r\n",
	// Fields.
	"Host: a\r\n", "host:b:80\r\n", "Host: a\n", "Transfer-Encoding: chunked\r\n", "transfer-encoding:CHUNKED\r\n", "Transfer-Encoding: chunked, chunked\r\n",
	"Transfer-Encoding: identity\r\n", "Transfer-Encoding: \r\n", "Content-Length: 5\r\n", "Content-Length: 0\r\n", "Content-Length: 10\r\n", "content-length: 05\r\n",
	"Content-Length: 5, 5\r\n", "\r\n", "Connection: close\r\n", "Connection: keep-alive, x\r\n", "Connection: transfer-encoding\r\n", "X: y\r\n", " folded\r\n", "X : y\r\n",
	// Bodies.
	"5\r\nhello\r\n", "0\r\n\r\n", "0\r\n", "hello", "5\r\n", "\r\nhello", "5;a=b\r\nhello\r\n", "00\r\n\r\n", "a\r\n0123456789\r\n", "5 \r\nhello\r\n", "0\r\nX: y\r\n\r\n",
	"0\r\nContent-Length: 5\r\n\r\n", "5\nhello\n", "\n", "\r", "Expect: 100-continue\r\n", "Trailer: X\r\n", "Upgrade: websocket\r\nConnection: upgrade\r\n", "TE: trailers\r\n",
}

// FuzzForward: what is written for an upstream is clean. It is read by net/http, and has nothing in it that ends at this hop,
// that Connection named, or that frames the message a second time (RFC 9110 §7.6.1).
func FuzzForward(f *testing.F) {
	for _, c := range append(messages[:len(messages):len(messages)], targets...) {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		end, err := HeadEnd(in, 0)
		if err != nil || end == 0 {
			return
		}
		x := exchange.Acquire()
		defer exchange.Release(x)
		head := append([]byte{}, in[:end]...)
		fr, err := ParseRequest(head, false, &Defaults, &x.Request)
		if err != nil {
			return
		}
		host, length := x.Request.Host, fr.Length
		if len(host) == 0 {
			host = []byte("a")
		}
		if fr.Mode == ChunkedBody {
			length = -1
		}
		out := AppendRequest(nil, &x.Request, host, length)
		q, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(out)))
		if err != nil {
			if strings.Contains(err.Error(), "invalid URL escape") {
				return
			}
			t.Fatalf("%q was written as %q: %v", in, out, err)
		}
		for name, values := range q.Header {
			if exchange.Identify([]byte(name)).HopByHop() && !allowed(name, values, &x.Request) || strings.Contains(name, "_") {
				t.Fatalf("%q was written as %q, with %s", in, out, name)
			}
		}
		if q.Header.Get("Expect") != "" || len(q.Header["Content-Length"]) > 1 || len(q.TransferEncoding) > 0 != (fr.Mode == ChunkedBody) || q.Host != string(host) {
			t.Fatalf("%q was written as %q", in, out)
		}
		for option := range strings.SplitSeq(nominatedBy(head), ",") {
			if option = strings.TrimSpace(option); option != "" && q.Header.Get(option) != "" && !allowed(http.CanonicalHeaderKey(option), q.Header.Values(option), &x.Request) {
				t.Fatalf("%q was written as %q, with %s, which Connection named", in, out, option)
			}
		}
	})
}

// allowed names the hop-by-hop fields that weir itself writes.
func allowed(name string, values []string, r *exchange.Request) bool {
	value := strings.Join(values, "|")
	switch name {
	case "Te":
		return r.Trailers && !r.Upgrade && value == "trailers"
	case "Connection":
		return r.Upgrade && value == "Upgrade" || r.Trailers && value == "TE"
	case "Upgrade":
		return r.Upgrade && value == "websocket"
	case "Content-Length":
		return len(values) == 1
	}
	return false
}

// nominatedBy joins the Connection fields of a head, found without the reader under test.
func nominatedBy(head []byte) string {
	var all []string
	for line := range strings.SplitSeq(string(head), "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "connection") {
			all = append(all, value)
		}
	}
	return strings.Join(all, ",")
}

// FuzzResponseDifferential: what is accepted of an upstream here, net/http accepts, too, and finds the same status and the
// same end of the body. The exceptions are told where they are made.
func FuzzResponseDifferential(f *testing.F) {
	for _, c := range answers {
		f.Add([]byte(c.in), false)
		f.Add([]byte(c.in+"5\r\nhello\r\n0\r\n\r\n"), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, head bool) {
		end, err := HeadEnd(in, 0)
		if err != nil || end == 0 {
			return
		}
		method := "GET"
		if head {
			method = "HEAD"
		}
		x := exchange.Acquire()
		defer exchange.Release(x)
		lim := Limits{HeaderBytes: 1 << 20, Fields: 1 << 10, Underscores: PassUnderscores}
		fr, err := ParseResponse(append([]byte{}, in[:end]...), []byte(method), &lim, &x.Response)
		if err != nil {
			return
		}
		br := bufio.NewReader(bytes.NewReader(in))
		q, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%q: net/http: %v", in, err)
		}
		if q.StatusCode != x.Response.Status || q.ProtoMinor != x.Response.Version-10 {
			t.Fatalf("%q: %d, in net/http %d", in, x.Response.Status, q.StatusCode)
		}
		length := q.ContentLength
		if head || Bodiless(x.Response.Status) {
			length = 0 // net/http tells what the field said
		}
		chunked := len(q.TransferEncoding) > 0 && length != 0
		same := fr.Mode == ChunkedBody && chunked || fr.Mode == CloseBody && length < 0 && !chunked || (fr.Mode == FixedBody || fr.Mode == NoBody) && length == fr.Length && !chunked
		if !same || q.Close && !fr.Close {
			t.Fatalf("%q: %+v; in net/http length %d, %q, close %t", in, fr, length, q.TransferEncoding, q.Close)
		}
		if fr.Mode != ChunkedBody && fr.Mode != FixedBody {
			return
		}
		var b BodyReader
		b.Init(netio.New(&script{}), FromUpstream, fr, in[end:], 0, &x.Response.Trailer)
		defer b.Release()
		body, err := readAll(&b)
		if err != nil {
			return
		}
		theirs, err := io.ReadAll(q.Body)
		rest, _ := io.ReadAll(br)
		if err != nil || string(theirs) != body || !bytes.Equal(rest, b.Ahead()) {
			t.Fatalf("%q: body %q and %q left; in net/http %q, %q, %v", in, body, b.Ahead(), theirs, rest, err)
		}
	})
}
