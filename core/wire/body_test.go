package wire

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
)

// outcome is what reading a body came to.
type outcome struct {
	body, trailer, rest string
	err                 string // a fault's name, "" for a whole body
}

func (o outcome) String() string {
	return fmt.Sprintf("%q {%s} rest %q %s", o.body, o.trailer, o.rest, o.err)
}

// readBody reads a body of which the first ahead bytes came with the head, the rest in pieces, into a buffer of size bytes.
func readBody(side Side, f Framing, in string, ahead, piece, size int) (o outcome) {
	s := &script{pieces: bytewise(in[ahead:], piece)}
	var b BodyReader
	var trailer exchange.Header
	b.Init(netio.New(s), side, f, []byte(in[:ahead]), 0, &trailer)
	defer b.Release()
	buf := make([]byte, size)
	for {
		n, err := b.Read(buf)
		o.body += string(buf[:n])
		if err == nil {
			continue
		}
		if err != io.EOF {
			o.err = fault.KindOf(err).String()
			if _, again := b.Read(buf); again != err {
				o.err += " and then " + fmt.Sprint(again)
			}
		}
		if b.Done() != (err == io.EOF) {
			o.err += " but Done differs"
		}
		break
	}
	o.trailer = showFields(&trailer)
	if o.err == "" {
		o.rest = string(b.Ahead()) + strings.Join(s.pieces, "")
	}
	return o
}

var chunked = Framing{Mode: ChunkedBody}

const chunkedMessage = "5\r\nhello\r\n0a;x=y;z=\"q\"\r\n0123456789\r\n1\r\n!\r\n0\r\nX-Sum: abc\r\nX-B:  d \r\n\r\n"

var wantMessage = outcome{body: "hello0123456789!", trailer: "X-Sum: abc, X-B: d"}

// TestCuts cuts a body at every byte: it is never complete, whichever side sends it and however the bytes come.
func TestCuts(t *testing.T) {
	for side, want := range []string{FromClient: "body_truncated", FromUpstream: "response_truncated"} {
		for cut := range len(chunkedMessage) {
			for _, ahead := range []int{0, cut / 2, cut} {
				for _, size := range []int{1, 7, 4096} {
					got := readBody(Side(side), chunked, chunkedMessage[:cut], ahead, 3, size)
					if got.err != want || !strings.HasPrefix(wantMessage.body, got.body) {
						t.Fatalf("side %d cut at %d, %d ahead: %v", side, cut, ahead, got)
					}
				}
			}
		}
		for cut := range 10 {
			got := readBody(Side(side), Framing{Mode: FixedBody, Length: 10}, "0123456789"[:cut], cut/2, 3, 4)
			if got.err != want || got.body != "0123456789"[:cut] {
				t.Fatalf("side %d fixed cut at %d: %v", side, cut, got)
			}
		}
	}
}

// TestPieces reads the same message however it comes and into buffers of any size, and hands back what lies behind it.
func TestPieces(t *testing.T) {
	const next = "GET / HTTP/1.1\r\nHost: b\r\n\r\n"
	for _, in := range []string{chunkedMessage, chunkedMessage + next, "0\r\n\r\n" + next, "0;x\r\n\r\n",
		strings.Repeat("3\r\nabc\r\n", 3000) + "0\r\n\r\n" + next} {
		want := readBody(FromClient, chunked, in, len(in), 1, 1<<20)
		if want.err != "" {
			t.Fatal(want)
		}
		if strings.HasPrefix(in, chunkedMessage) && (want.body != wantMessage.body || want.trailer != wantMessage.trailer) {
			t.Fatal(want)
		}
		if strings.HasSuffix(in, next) != (want.rest == next) {
			t.Fatalf("rest %q", want.rest)
		}
		for _, piece := range []int{1, 2, 3, 17, 4096, len(in)} {
			for _, size := range []int{1, 2, 5, 4096} {
				for _, ahead := range []int{0, 1, min(9, len(in)), len(in) / 2} {
					if got := readBody(FromClient, chunked, in, ahead, piece, size); got != want {
						t.Fatalf("%.60q in pieces of %d, %d ahead, into %d:\n got %.200v\nwant %.200v", in, piece, ahead, size, got, want)
					}
				}
			}
		}
	}
}

func TestChunks(t *testing.T) {
	const end = "0\r\n\r\n"
	f := func(in, want string) {
		t.Helper()
		var got string
		for i, piece := range []int{1, 5, 1 << 20} {
			o := readBody(FromClient, chunked, in, 0, piece, 100)
			all := readBody(FromUpstream, chunked, in, len(in), 1, 100)
			if (o.err == "bad_request") != (all.err == "bad_response") || (o.err == "") != (all.err == "") {
				t.Errorf("%.60q: client's %v, upstream's %v", in, o, all)
			}
			if s := fmt.Sprintf("%s {%s} %s", o.body, o.trailer, o.err); i == 0 {
				got = s
			} else if s != got {
				t.Errorf("%.60q: in pieces %s, then %s", in, got, s)
			}
		}
		if got != want {
			t.Errorf("%.60q\n got %.100s\nwant %.100s", in, got, want)
		}
	}
	const refused = " {} bad_request"
	// Sizes: hex digits and nothing else.
	f("A\r\n0123456789\r\n"+end, "0123456789 {} ")
	f("00000000000000aA\r\n"+strings.Repeat("x", 0xaa)+"\r\n"+end, strings.Repeat("x", 0xaa)+" {} ")
	f("000000000000000001\r\nx\r\n"+end, refused)
	f("7fffffffffffffff\r\nx", "x {} body_truncated")
	f("8000000000000000\r\nx\r\n"+end, refused)
	f("ffffffffffffffff\r\nx\r\n"+end, refused)
	f("10000000000000001\r\nx\r\n"+end, refused)
	for _, size := range []string{"", " ", "+1", "-1", "0x1", "1h", "1_0", " 1", "1 ", "1\t", "1 ;x", "\x00", "1\x00", "1,", "1\r", "g", "\xd9\xa1"} {
		f(size+"\r\nx\r\n"+end, refused)
	}
	// Lines end in CRLF only.
	f("1\nx\r\n"+end, refused)
	f("1\r\nx\n"+end, "x"+refused)
	f("1\r\nx\r\r\n"+end, "x"+refused)
	f("1\r\nxy\r\n"+end, "x"+refused)
	f("2\r\nx\r\n"+end, "x\r"+refused)
	f("1\r\nx"+end, "x"+refused)
	f("1\r\nx\r\n0\n\n", "x"+refused)
	f("1\r\nx\r\n0\r\n\n", "x"+refused)
	f("1\r\nx\r\n0\r\n\rX", "x"+refused)
	f("\r\n1\r\nx\r\n"+end, refused)
	// Extensions are dropped and bounded, a chunk's and all together.
	f("1;a=b;c=\"d\"\r\nx\r\n"+end, "x {} ")
	f("1;\r\nx\r\n"+end, "x {} ")
	f("1;"+strings.Repeat("a", 255)+"\r\nx\r\n"+end, "x {} ")
	f("1;"+strings.Repeat("a", 256)+"\r\nx\r\n"+end, refused)
	f("1;"+strings.Repeat("a", 70000), refused)
	f(strings.Repeat("1", 5000), refused)
	f(strings.Repeat("1;"+strings.Repeat("a", 255)+"\r\nx\r\n", 16)+end, "xxxxxxxxxxxxxxxx {} ")
	f(strings.Repeat("1;"+strings.Repeat("a", 255)+"\r\nx\r\n", 17)+end, "xxxxxxxxxxxxxxxx {} bad_request")
	for _, ext := range []string{"a\rb", "a\nb", "a\x00b", "\n", "a\x7f", "a\x1b"} {
		f("1;"+ext+"\r\nx\r\n"+end, refused)
	}
	// A bad chunk after good ones: what came before was passed on, the message never ends.
	f("1\r\nx\r\nzz\r\nx\r\n"+end, "x"+refused)
	// Trailers.
	f("0\r\nX-A: b\r\n\r\n", " {X-A: b} ")
	f("0\r\nx a: b\r\n\r\n", refused)
	f("0\r\nx: b\nc: d\r\n\r\n", refused)
	f("0\r\nx: b\r\n c\r\n\r\n", refused)
	f("0\r\nx: \x00\r\n\r\n", refused)
	f("0\r\nx\r\n\r\n", refused)
	f("0\r\n"+strings.Repeat("A: b\r\n", 32)+"\r\n", " {"+strings.TrimSuffix(strings.Repeat("A: b, ", 32), ", ")+"} ")
	f("0\r\n"+strings.Repeat("A: b\r\n", 33)+"\r\n", refused)
	f("0\r\nA: "+strings.Repeat("b", 4096-6)+"\r\n\r\n", refused)
	f("0\r\nA: "+strings.Repeat("b", 4096-7)+"\r\n\r\n", " {A: "+strings.Repeat("b", 4096-7)+"} ")
	for _, name := range strings.Fields(`Content-Length Transfer-Encoding Host Authorization Cookie Set-Cookie Content-Type
		content-encoding CONTENT-RANGE Content-Whatever X-Forwarded-For X-Forwarded-Host x-forwarded-prefix Forwarded
		X-Real-IP X-Request-Id Connection Keep-Alive Proxy-Authorization Proxy-Authenticate Proxy-X TE Trailer Upgrade Expect
		Max-Forwards Cache-Control Range If-Match If-None-Match Age Expires Date Location Retry-After Vary Warning
		WWW-Authenticate Origin Via Server User-Agent Accept Accept-Encoding Sec-WebSocket-Key X-Original-URL X-Rewrite-URL
		X-HTTP-Method-Override X_Forwarded_For Content_Length HTTP2-Settings`) {
		f("0\r\n"+name+": chunked\r\nX: y\r\n\r\n", " {X: y} ")
	}
	f("0\r\nTest: 1\r\nAgent: 2\r\nSecond: 3\r\nLocations: 4\r\nGrpc-Status: 0\r\n\r\n",
		" {Test: 1, Agent: 2, Second: 3, Locations: 4, Grpc-Status: 0} ")
}

func TestBodies(t *testing.T) {
	f := func(fr Framing, in string, want outcome) {
		t.Helper()
		for ahead := range len(in) + 1 {
			for _, piece := range []int{1, 100} {
				if got := readBody(FromUpstream, fr, in, ahead, piece, 4); got != want {
					t.Errorf("%v %q, %d ahead: %v, want %v", fr, in, ahead, got, want)
				}
			}
		}
	}
	f(Framing{Mode: FixedBody, Length: 5}, "hello", outcome{body: "hello"})
	f(Framing{Mode: FixedBody, Length: 5}, "hello, you", outcome{body: "hello", rest: ", you"})
	f(Framing{Mode: CloseBody}, "hello", outcome{body: "hello"})
	f(Framing{Mode: CloseBody}, "", outcome{})
	f(Framing{}, "surplus", outcome{rest: "surplus"})
}

func TestBodyWhole(t *testing.T) {
	var b BodyReader
	f := func(fr Framing, ahead string, want bool) {
		t.Helper()
		b.Init(nil, FromClient, fr, []byte(ahead), 0, nil)
		if b.Whole() != want {
			t.Errorf("%v with %q ahead: %v", fr, ahead, !want)
		}
	}
	f(Framing{}, "", true)
	f(Framing{Mode: FixedBody, Length: 3}, "ab", false)
	f(Framing{Mode: FixedBody, Length: 3}, "abc", true)
	f(Framing{Mode: FixedBody, Length: 3}, "abcd", true)
	f(chunked, "0\r\n\r\n", false)
	f(Framing{Mode: CloseBody}, "abc", false)
}

func TestBlame(t *testing.T) {
	f := func(err error, client, upstream fault.Kind) {
		t.Helper()
		if k := fault.KindOf(Blame(FromClient, err)); k != client {
			t.Errorf("client's %v: %v", err, k)
		}
		if k := fault.KindOf(Blame(FromUpstream, err)); k != upstream {
			t.Errorf("upstream's %v: %v", err, k)
		}
	}
	f(io.EOF, fault.BodyTruncated, fault.ResponseTruncated)
	f(os.ErrDeadlineExceeded, fault.RequestTimeout, fault.UpstreamTimeout)
	f(syscall.ECONNRESET, fault.ClientGone, fault.UpstreamReset)
	f(io.ErrUnexpectedEOF, fault.ClientGone, fault.UpstreamReset)
	f(netio.ErrAborted, fault.Internal, fault.Internal)
	if !errors.Is(Blame(FromClient, netio.ErrAborted), netio.ErrAborted) {
		t.Error("an abort is nobody's fault: who aborted knows why")
	}
	// In the middle of each kind of body.
	for _, fr := range []Framing{chunked, {Mode: FixedBody, Length: 5}, {Mode: CloseBody}} {
		var b BodyReader
		b.Init(netio.New(&script{end: syscall.ECONNRESET}), FromUpstream, fr, nil, 0, nil)
		if _, err := b.Read(make([]byte, 9)); fault.KindOf(err) != fault.UpstreamReset {
			t.Errorf("%v: %v", fr, err)
		}
	}
	var b BodyReader
	b.Init(netio.New(&script{end: syscall.ECONNRESET}), FromUpstream, chunked, []byte("5\r\nhel"), 0, nil)
	buf := make([]byte, 9)
	if n, err := b.Read(buf); n != 3 || err != nil {
		t.Errorf("what came before the reset: %d %v", n, err)
	}
	if n, err := b.Read(buf); n != 0 || fault.KindOf(err) != fault.UpstreamReset {
		t.Errorf("the reset: %d %v", n, err)
	}
}

// TestBodyRandom reads random bodies back, chunked and cut at random.
func TestBodyRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var body strings.Builder
		var in []byte
		for range r.IntN(20) {
			p := strings.Repeat(string(rune('a'+r.IntN(26))), 1+r.IntN(300))
			body.WriteString(p)
			in = append(append(AppendChunkSize(in, len(p)), p...), "\r\n"...)
		}
		in = append(AppendLastChunk(in, nil), "rest"...)
		got := readBody(FromClient, chunked, string(in), r.IntN(len(in)), 1+r.IntN(100), 1+r.IntN(1000))
		if want := (outcome{body: body.String(), rest: "rest"}); got != want {
			t.Fatalf("got %v\nwant %v", got, want)
		}
	}
}
