package wire

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/weirproxy/weir/core/exchange"
)

// FuzzParseRequest: nothing panics, what is accepted is clean, and what is forwarded means the same to the next hop.
func FuzzParseRequest(f *testing.F) {
	for _, c := range append(messages[:len(messages):len(messages)], targets...) {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if first, second, ok := forward(t, in); ok && first != second {
			t.Fatalf("%q forwarded as\n%s, not as\n%s", in, second, first)
		}
	})
}

// FuzzParseResponse: nothing panics, and an accepted answer is passed on as one that is accepted again.
func FuzzParseResponse(f *testing.F) {
	for _, c := range answers {
		f.Add([]byte(c.in), false)
		f.Add([]byte(c.in), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, head bool) {
		end, err := HeadEnd(in, 0)
		if err != nil || end == 0 {
			return
		}
		x := exchange.Acquire()
		defer exchange.Release(x)
		x.Request.Method, x.Request.Version = []byte("GET"), exchange.HTTP11
		if head {
			x.Request.Method = []byte("HEAD")
		}
		x.Ask()
		lim := Limits{HeaderBytes: 1 << 20, Fields: 1000, Underscores: PassUnderscores}
		fr, err := ParseResponse(in[:end:end], x.Request.Method, &lim, &x.Response)
		if err != nil {
			return
		}
		length := fr.Length
		if fr.Mode == ChunkedBody || fr.Mode == CloseBody {
			length = -1
		}
		out := AppendResponse(nil, x, length, false)
		if n, err := HeadEnd(out, 0); n != len(out) || err != nil {
			t.Fatalf("%q passed on as %q, whose head ends at %d: %v", in, out, n, err)
		}
		var r exchange.Response
		lim.Fields += 4
		again, err := ParseResponse(out, x.Request.Method, &lim, &r)
		if err != nil {
			t.Fatalf("%q passed on as %q: %v", in, out, err)
		}
		if again.Mode != fr.Mode && !(fr.Mode == CloseBody && again.Mode == ChunkedBody) || again.Length != fr.Length {
			t.Fatalf("%q passed on as %q: %v, then %v", in, out, fr, again)
		}
		if r.Status != x.Response.Status || showFields(&r.Header) != showFields(&x.Response.Header) {
			t.Fatalf("%q passed on as %q", in, out)
		}
	})
}

// FuzzBodyReader: however a chunked body comes, it means the same; its length and its end are those that net/http finds,
// if it finds any.
func FuzzBodyReader(f *testing.F) {
	for _, in := range []string{chunkedMessage, chunkedMessage + "rest", "0\r\n\r\n", "5\r\nhel", "1;x\r\na\r\n0\r\nA: b\r\n\r\n", "ffffffffffffffff\r\n",
		"1\r\na\r\n0\r\nContent-Length: 5\r\n\r\n", "1\na\n0\n\n", "1 \r\na\r\n0\r\n\r\n", "0\r\nA\r\n\r\n", "0\r\nA: b\r\n c\r\n\r\n"} {
		f.Add([]byte(in), uint16(3), uint8(1), uint8(5))
	}
	f.Fuzz(func(t *testing.T, in []byte, ahead uint16, piece, size uint8) {
		s := string(in)
		whole := readBody(FromClient, chunked, s, len(s), 1, 4096)
		pieces := readBody(FromClient, chunked, s, min(int(ahead), len(s)), 1+int(piece), 1+int(size))
		if whole != pieces {
			t.Fatalf("%q\nat once    %v\nin pieces  %v", in, whole, pieces)
		}
		if whole.err != "" {
			return
		}
		used := len(s) - len(whole.rest)
		for cut := max(0, used-5); cut < used; cut++ {
			if o := readBody(FromClient, chunked, s[:cut], cut/2, 7, 100); o.err == "" {
				t.Fatalf("%q is complete when cut at %d of %d", in, cut, used)
			}
		}
		br := bufio.NewReaderSize(strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+s), 8192)
		req, err := http.ReadRequest(br)
		if err != nil {
			t.Fatal(err)
		}
		// net/http stops at a trailer section over its limit only when it reads one; ours is smaller.
		theirs, err := io.ReadAll(req.Body)
		if err != nil {
			t.Fatalf("%q: net/http: %v", in, err)
		}
		rest, _ := io.ReadAll(br)
		if string(theirs) != whole.body || string(rest) != whole.rest {
			t.Fatalf("%q: body %q rest %q; net/http %q %q", in, whole.body, whole.rest, theirs, rest)
		}
	})
}

// FuzzNormalise: a normalised path is normal, has no dots, and its query is as it was.
func FuzzNormalise(f *testing.F) {
	for _, c := range targets {
		if _, rest, ok := strings.Cut(c.in, " "); ok {
			target, _, _ := strings.Cut(rest, " ")
			f.Add([]byte(target))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, c := range in {
			if !targetByte[c] {
				return
			}
		}
		if len(in) == 0 || in[0] != '/' {
			return
		}
		r := exchange.Request{Target: in}
		if Normalise(&r) != nil {
			return
		}
		_, query, _ := bytes.Cut(in, []byte("?"))
		whole := append([]byte{}, r.Path...)
		if bytes.IndexByte(in, '?') >= 0 {
			whole = append(append(whole, '?'), r.Query...)
		}
		if !bytes.Equal(query, r.Query) || !bytes.Equal(whole, r.Target) || len(r.Path) == 0 || r.Path[0] != '/' {
			t.Fatalf("%q: path %q query %q target %q", in, r.Path, r.Query, r.Target)
		}
		path := string(r.Path)
		for _, reading := range []string{path, decodeAll(path), cutParameters(path), cutParameters(decodeAll(path))} {
			if hasDots(strings.ReplaceAll(reading, "\\", "/")) {
				t.Fatalf("%q became %q, which may be read as %q", in, path, reading)
			}
		}
		again := exchange.Request{Target: append([]byte{}, r.Target...)}
		if err := Normalise(&again); err != nil || !bytes.Equal(again.Target, r.Target) {
			t.Fatalf("%q became %q and then %q (%v)", in, r.Target, again.Target, err)
		}
	})
}

// FuzzDifferential: what is accepted here, net/http and fasthttp accept too, and find the same method, host and framing.
// The exceptions are those that the functions below name.
func FuzzDifferential(f *testing.F) {
	for _, c := range append(messages[:len(messages):len(messages)], targets...) {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		end, err := HeadEnd(in, 0)
		if err != nil || end == 0 {
			return
		}
		head := in[:end:end]
		x := exchange.Acquire()
		defer exchange.Release(x)
		raw := append([]byte{}, head...)
		fr, err := ParseRequest(raw, false, &Limits{HeaderBytes: 1 << 20, Fields: 1 << 10, Target: 1 << 20}, &x.Request)
		if err != nil {
			return
		}
		compareStd(t, head, &x.Request, fr)
		compareFast(t, head, &x.Request, fr)
	})
}

func compareStd(t *testing.T, head []byte, r *exchange.Request, fr Framing) {
	q, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		// A "%" in a query that begins no encoding is no error to us: nobody routes on it, and it is forwarded as it is.
		// net/url wants the target's host to be an address by its own reading of ports and brackets, as we do of Host.
		// What Trailer announces is no matter: the field ends here, and the trailer section is read by its own rules.
		if s := err.Error(); strings.Contains(s, "invalid URL escape") || strings.Contains(s, "bad trailer key") {
			return
		}
		t.Fatalf("%q: net/http: %v", head, err)
	}
	length := fr.Length
	if fr.Mode == ChunkedBody {
		length = -1
	}
	if q.Method != string(r.Method) || q.Host != string(r.Host) || q.ContentLength != length || q.ProtoMinor != r.Version-10 {
		t.Fatalf("%q: net/http: %s host %q length %d; here %s host %q %v", head, q.Method, q.Host, q.ContentLength, r.Method, r.Host, fr)
	}
	// Both keep the connection, or we close: after a repair we do not trust the sender with another request.
	if q.Close && !fr.Close {
		t.Fatalf("%q: net/http closes", head)
	}
}

func compareFast(t *testing.T, head []byte, r *exchange.Request, fr Framing) {
	var q fasthttp.RequestHeader
	q.DisableNormalizing()
	if err := q.Read(bufio.NewReaderSize(bytes.NewReader(head), len(head)+64)); err != nil {
		// fasthttp refuses repeated lengths, also equal ones, and some of what a Trailer field may announce.
		if strings.Contains(err.Error(), "forbidden trailer") || fr.Close && bytes.Count(bytes.ToLower(head), []byte("\ncontent-length:")) > 1 {
			return
		}
		t.Fatalf("%q: fasthttp: %v", head, err)
	}
	length := int(fr.Length)
	if fr.Mode == ChunkedBody {
		length = -1
	}
	// What has no body and names no length is -2 there.
	if got := q.ContentLength(); string(q.Method()) != string(r.Method) || got != length && !(got == -2 && length == 0) {
		t.Fatalf("%q: fasthttp: %s length %d; here %s %v", head, q.Method(), got, r.Method, fr)
	}
	target := q.RequestURI()
	if len(target) > 0 && target[0] == '/' && string(target) != string(r.Target) {
		// Ours is normalised; without anything to normalise it is the same.
		n := exchange.Request{Target: append([]byte{}, target...)}
		if err := Normalise(&n); err != nil || !bytes.Equal(n.Target, r.Target) {
			t.Fatalf("%q: fasthttp: target %q; here %q", head, target, r.Target)
		}
	}
	if len(target) > 0 && target[0] == '/' && string(q.Host()) != string(r.Host) {
		t.Fatalf("%q: fasthttp: host %q; here %q", head, q.Host(), r.Host)
	}
}
