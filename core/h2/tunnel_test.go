package h2

import (
	"crypto/sha1"
	"encoding/base64"
	"io"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/pool"
)

// TestTunnel: an extended CONNECT is seen as the handshake of HTTP/1.1, and its 101 as the 200 that it wants (RFC 8441).
func TestTunnel(t *testing.T) {
	r := startServer(t, Settings{Tunnels: true}, func(x *exchange.Exchange, err error) {
		if err != nil || !x.Request.Upgrade || string(x.Request.Path) != "/chat" {
			reply(x, 400, "")
			return
		}
		h := &x.Request.Header
		if string(x.Request.Method) != "GET" || len(h.Get("sec-websocket-key")) != 24 || string(h.Get("sec-websocket-protocol")) != "v1" {
			t.Errorf("%s %q", x.Request.Method, h.Get("sec-websocket-key"))
		}
		x.Response.Status = 101
		sum := sha1.Sum([]byte(string(h.Get("sec-websocket-key")) + acceptGUID))
		x.Response.Header.AddString("Sec-WebSocket-Accept", []byte(base64.StdEncoding.EncodeToString(sum[:])))
		x.Response.Header.AddString("Sec-WebSocket-Protocol", []byte("v1"))
		if err := x.Down.WriteHead(x, 0); err != nil {
			t.Error(err)
		}
		p, _, err := x.Down.Tunnel()
		if err != nil {
			t.Error(err)
			return
		}
		p.ReadBy(clock.Nano(), time.Millisecond)
		if _, _, err := p.ReadPooled(pool.Small); !netio.IsTimeout(err) {
			t.Errorf("idle: %v", err)
		}
		p.ReadBy(clock.Nano(), 10*time.Second)
		if _, err := p.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
		for {
			buf, n, err := p.ReadPooled(pool.Small)
			if n > 0 {
				_, _ = p.Write(buf[:n])
			}
			pool.Release(buf)
			if err != nil {
				if err != io.EOF {
					t.Error(err)
				}
				break
			}
		}
		_ = p.CloseWrite()
	})
	c := r.dial()
	connect := func(id uint32, protocol, version, path string) {
		c.ask(id, false, ":method", "CONNECT", ":protocol", protocol, ":scheme", "http", ":authority", "a", ":path", path,
			"sec-websocket-version", version, "sec-websocket-protocol", "v1")
	}
	connect(1, "websocket", "13", "/chat")
	h := c.until(http2.FrameHeaders, 1)
	if h.fields[":status"] != "200" || h.fields["sec-websocket-accept"] != "" || h.fields["sec-websocket-protocol"] != "v1" ||
		h.fields["content-length"] != "" || h.Flags.Has(http2.FlagHeadersEndStream) {
		t.Errorf("%v", h)
	}
	if d := c.until(http2.FrameData, 1); d.data != "hello" {
		t.Errorf("%q", d.data)
	}
	c.WriteData(1, false, []byte("ping"))
	if d := c.until(http2.FrameData, 1); d.data != "ping" {
		t.Errorf("%q", d.data)
	}
	c.WriteData(1, true, nil)
	if d := c.until(http2.FrameData, 1); !d.Flags.Has(http2.FlagDataEndStream) {
		t.Errorf("%v", d)
	}
	for i, bad := range []struct{ protocol, version string }{{"other", "13"}, {"websocket", "8"}} {
		connect(uint32(3+2*i), bad.protocol, bad.version, "/chat")
		if h, _ := c.answer(uint32(3 + 2*i)); h[":status"] != "400" {
			t.Errorf("%v: %v", bad, h)
		}
	}
	connect(7, "websocket", "13", "/refused")
	if h, _ := c.answer(7); h[":status"] != "400" {
		t.Errorf("%v", h)
	}
	c.ask(9, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "a", ":path", "/chat",
		"sec-websocket-version", "13", "sec-websocket-version", "8")
	if h, _ := c.answer(9); h[":status"] != "400" {
		t.Errorf("two versions: %v", h)
	}
}

// TestTunnelAccept: an upstream that says 101 and has not understood the handshake gets no tunnel.
func TestTunnelAccept(t *testing.T) {
	errs := make(chan error, 1)
	r := startServer(t, Settings{Tunnels: true}, func(x *exchange.Exchange, _ error) {
		x.Response.Status = 101
		if string(x.Request.Path) == "/wrong" {
			x.Response.Header.AddString("Sec-WebSocket-Accept", []byte("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
		}
		errs <- x.Down.WriteHead(x, 0)
		x.Down.Abort()
	})
	c := r.dial()
	for i, path := range []string{"/none", "/wrong"} {
		id := uint32(2*i + 1)
		c.ask(id, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "a", ":path", path,
			"sec-websocket-version", "13")
		if err := <-errs; fault.KindOf(err) != fault.BadResponse {
			t.Errorf("%s: %v", path, err)
		}
		c.until(http2.FrameRSTStream, id)
	}
}
