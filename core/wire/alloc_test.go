package wire_test

import (
	"io"
	"testing"

	"github.com/weirproxy/weir/core/coretest/alloc"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wire"
)

// TestBodyUsedAgain reads two bodies by one reader, as a kept connection does, and allocates nothing.
func TestBodyUsedAgain(t *testing.T) {
	const in = "5;x=y\r\nhello\r\n5\r\nworld\r\n0\r\nX-A: b\r\n\r\n"
	s := &wire.Script{}
	c := netio.New(s)
	x := exchange.Acquire()
	defer exchange.Release(x)
	var b wire.BodyReader
	buf, pieces := make([]byte, 64), wire.Bytewise(in, 9)
	left := make([]string, len(pieces))
	alloc.Floor(t, func() {
		copy(left, pieces)
		s.Play(left)
		b.Init(c, wire.FromClient, wire.Framing{Mode: wire.ChunkedBody}, nil, 0, &x.Response.Trailer)
		x.ClearResponse()
		n := 0
		for {
			m, err := b.Read(buf)
			if n += m; err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if n != 10 {
			t.Fatal(n)
		}
		b.Release()
	})
}

const request = "GET /api/v1/things/42/parts%3a?page=2&sort=name HTTP/1.1\r\nHost: api.example.com\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36\r\n" +
	"Accept: application/json, text/plain, */*\r\nAccept-Language: en-GB,en;q=0.9\r\nAccept-Encoding: gzip, deflate, br\r\n" +
	"Connection: keep-alive, X-Gone\r\nTE: trailers\r\nX-Gone: 1\r\nCookie: session=0123456789abcdef\r\nX_Odd: 1\r\n\r\n"

// TestHeadsAllocateNothing reads a request and an answer and writes both again.
func TestHeadsAllocateNothing(t *testing.T) {
	head := []byte(request)
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nContent-Type: text/plain\r\n\r\n")
	buf := make([]byte, 0, 4096)
	alloc.Floor(t, func() {
		x := exchange.Acquire()
		if _, err := wire.ParseRequest(head, false, &wire.Defaults, &x.Request); err != nil {
			t.Fatal(err)
		}
		if _, err := wire.ParseResponse(answer, x.Request.Method, &wire.Defaults, &x.Response); err != nil {
			t.Fatal(err)
		}
		buf = wire.AppendRequest(buf[:0], &x.Request, x.Request.Host, 0)
		buf = wire.AppendResponse(buf[:0], x, 5, false)
		exchange.Release(x)
	})
}
