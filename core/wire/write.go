package wire

import (
	"bytes"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/weirproxy/weir/core/exchange"
)

// AppendRequest writes the head of r for an upstream, every byte of it ours (RFC 9112 §3, §6): host is what Host will say.
// length is the number of body bytes to come, -1 for a chunked body.
func AppendRequest(dst []byte, r *exchange.Request, host []byte, length int64) []byte {
	dst = appendVisible(dst, r.Method)
	dst = append(dst, ' ')
	dst = appendVisible(dst, r.Target)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = appendVisible(dst, host)
	dst = append(dst, "\r\n"...)
	dst = appendFields(dst, &r.Header)
	switch {
	case r.Upgrade:
		return append(dst, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"...)
	case r.Trailers:
		dst = append(dst, "TE: trailers\r\nConnection: TE\r\n"...)
	}
	switch {
	case length < 0:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case length > 0 || expectsBody(r.Method):
		dst = appendLength(dst, length)
	}
	return append(dst, "\r\n"...)
}

// expectsBody tells the methods for which no body is worth saying (RFC 9110 §8.6).
func expectsBody(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}

// AppendResponse writes the head of x's answer for a client that asked as x.Asked says. length is the number of body bytes to
// come; -1 makes the body chunked for HTTP/1.1 and ended by the connection's end for HTTP/1.0. close says that the connection
// ends after the answer.
func AppendResponse(dst []byte, x *exchange.Exchange, length int64, close bool) []byte {
	r := &x.Response
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, ' ')
	if len(r.Reason) > 0 && exchange.CleanValue(r.Reason) {
		dst = append(dst, r.Reason...)
	} else {
		dst = append(dst, fasthttp.StatusMessage(r.Status)...)
	}
	dst = append(dst, "\r\n"...)
	dst = appendFields(dst, &r.Header)
	head := x.Asked.Head
	switch {
	case r.Status == 101:
		return append(dst, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"...)
	case r.Status < 200 || r.Status == 204:
	case r.Status == 304 || head && !r.Local:
		if r.Declared >= 0 && !r.Local {
			dst = appendLength(dst, r.Declared)
		}
	case length >= 0:
		dst = appendLength(dst, length)
	case x.Asked.Version >= exchange.HTTP11:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	switch {
	case close:
		dst = append(dst, "Connection: close\r\n"...)
	case x.Asked.Version == exchange.HTTP10:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// appendVisible appends b without what would end a part of the request line early. What was read from a wire has none of
// it; this is for what a rewrite or a filter put there.
func appendVisible(dst, b []byte) []byte {
	if exchange.CleanValue(b) && bytes.IndexByte(b, ' ') < 0 && bytes.IndexByte(b, '\t') < 0 {
		return append(dst, b...)
	}
	for _, c := range b {
		if c <= ' ' || c == 0x7f {
			dst = append(dst, '%', capital[c>>4], capital[c&0xf])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// appendFields writes h. Whatever put a field there, what frames the message is not taken from it, and what would end a
// line early is not written.
func appendFields(dst []byte, h *exchange.Header) []byte {
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != exchange.Other && (f.ID.HopByHop() || f.ID == exchange.Host) || !exchange.CleanValue(f.Name) || !exchange.CleanValue(f.Value) {
			continue
		}
		dst = append(dst, f.Name...)
		dst = append(dst, ": "...)
		dst = append(dst, f.Value...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

func appendLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}

// AppendChunkSize writes the line before a chunk of n > 0 bytes; the chunk's bytes and a CRLF follow.
func AppendChunkSize(dst []byte, n int) []byte {
	dst = strconv.AppendInt(dst, int64(n), 16)
	return append(dst, "\r\n"...)
}

// AppendLastChunk writes the end of a chunked body with the trailer fields, nil for none.
func AppendLastChunk(dst []byte, trailer *exchange.Header) []byte {
	dst = append(dst, "0\r\n"...)
	if trailer != nil {
		dst = appendFields(dst, trailer)
	}
	return append(dst, "\r\n"...)
}

// AppendDate appends t as a Date field has it (RFC 9110 §5.6.7).
func AppendDate(dst []byte, t time.Time) []byte { return fasthttp.AppendHTTPDate(dst, t) }
