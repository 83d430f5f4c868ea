package wire_test

import (
	"io"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/wire"
)

// typical is a request of 500 bytes and ten fields.
const typical = "GET /api/v1/things/42/parts?page=2&sort=name HTTP/1.1\r\nHost: api.example.com\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36\r\n" +
	"Accept: application/json, text/plain, */*\r\nAccept-Language: en-GB,en;q=0.9\r\nAccept-Encoding: gzip, deflate, br\r\n" +
	"Referer: https://www.example.com/things\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef\r\n" +
	"Cookie: session=0123456789abcdef; theme=dark\r\nCache-Control: no-cache\r\nX-Trace: 0af7651916cd43dd8448eb211c80319c\r\n\r\n"

func BenchmarkParseRequest(b *testing.B) {
	head := []byte(typical)
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	var r exchange.Request
	for b.Loop() {
		r.Header.Truncate(0)
		if _, err := wire.ParseRequest(head, false, &wire.Defaults, &r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHeadEnd(b *testing.B) {
	head := []byte(typical)
	for b.Loop() {
		if n, _ := wire.HeadEnd(head, 0); n != len(head) {
			b.Fatal(n)
		}
	}
}

func BenchmarkParseResponse(b *testing.B) {
	head := []byte("HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 10:00:00 GMT\r\nServer: nginx/1.22.1\r\nContent-Type: application/json; charset=utf-8\r\n" +
		"Content-Length: 1234\r\nConnection: keep-alive\r\nCache-Control: no-store\r\nVary: Accept-Encoding\r\n\r\n")
	b.ReportAllocs()
	var r exchange.Response
	method := []byte("GET")
	for b.Loop() {
		r.Header.Truncate(0)
		if _, err := wire.ParseResponse(head, method, &wire.Defaults, &r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	var r exchange.Request
	if _, err := wire.ParseRequest([]byte(typical), false, &wire.Defaults, &r); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	buf := make([]byte, 0, 4096)
	for b.Loop() {
		buf = wire.AppendRequest(buf[:0], &r, r.Host, 0)
	}
}

func BenchmarkCleanValue(b *testing.B) {
	v := []byte("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36")
	b.SetBytes(int64(len(v)))
	for b.Loop() {
		if !exchange.CleanValue(v) {
			b.Fatal(v)
		}
	}
}

// BenchmarkChunks reads 64 chunks of 1 KiB.
func BenchmarkChunks(b *testing.B) {
	in := strings.Repeat("400\r\n"+strings.Repeat("x", 1024)+"\r\n", 64) + "0\r\n\r\n"
	b.SetBytes(64 << 10)
	b.ReportAllocs()
	s := &wire.Script{}
	c := netio.New(s)
	var body wire.BodyReader
	var trailer exchange.Header
	buf := make([]byte, 16<<10)
	piece := []string{in}
	for b.Loop() {
		piece[0] = in
		s.Play(piece)
		body.Init(c, wire.FromClient, wire.Framing{Mode: wire.ChunkedBody}, nil, 0, &trailer)
		for {
			_, err := body.Read(buf)
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		body.Release()
	}
}
