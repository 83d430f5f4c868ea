package proxyabi

import (
	"strconv"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// reply is an answer that a guest has given, until it is made the exchange's.
type reply struct {
	set     bool
	status  int
	grpc    int32 // below 0: none
	details []byte
	body    []byte
	head    []byte // pairs as the guest wrote them
}

func (r *reply) keep(code uint32, details, body, head []byte, grpc int32) {
	r.set, r.status, r.grpc = true, int(code), grpc
	r.details = append(r.details[:0], details...)
	r.body = append(r.body[:0], body...)
	r.head = append(r.head[:0], head...)
}

func small(b []byte) []byte {
	if cap(b) > pool.Large {
		return nil
	}
	return b[:0]
}

var (
	textPlain      = []byte("text/plain")
	applicationRPC = []byte("application/grpc")
	nameType       = []byte("content-type")
)

// make makes the reply x's answer. A client of gRPC gets its status in trailers only (the gRPC protocol, "Responses"), as Envoy
// has it.
func (st *stream) make(x *exchange.Exchange) {
	r := &st.reply
	x.ClearResponse()
	a := &x.Response
	a.Local, a.Status = true, r.status
	if len(r.details) > 0 {
		x.Record.Reason = string(r.details)
	}
	p := parsePairs(r.head)
	for name, value, ok := p.next(); ok; name, value, ok = p.next() {
		value = abi.Trim(value)
		if id := exchange.Identify(name); abi.Token(name) && exchange.CleanValue(value) && !abi.Framing(id) && id != exchange.Host {
			a.Header.Add(name, value)
		}
	}
	if speaksRPC(x.Request.Header.GetID(exchange.ContentType)) {
		code := r.grpc
		if code < 0 {
			code = grpcStatusOf(r.status)
		}
		a.Status = 200
		a.Header.DelID(exchange.ContentType)
		a.Header.AddString("content-type", applicationRPC)
		x.Scratch = strconv.AppendInt(x.Scratch[:0], int64(code), 10)
		a.Header.Set("grpc-status", x.Scratch)
		if len(r.body) > 0 {
			x.Scratch = appendPercent(x.Scratch[:0], r.body)
			a.Header.Set("grpc-message", x.Scratch)
		}
		return
	}
	if len(r.body) > 0 && a.Header.GetID(exchange.ContentType) == nil {
		a.Header.Append(nameType, textPlain, exchange.ContentType)
	}
	a.Body.Replace(r.body)
}

// speaksRPC reports whether a content type is that of gRPC, with or without a format and parameters. That of gRPC-Web, whose
// clients read no trailers, is none.
func speaksRPC(contentType []byte) bool {
	n := len(applicationRPC)
	if len(contentType) < n || !exchange.EqualFold(contentType[:n], string(applicationRPC)) {
		return false
	}
	rest := contentType[n:]
	return len(rest) == 0 || rest[0] == '+' || rest[0] == ';' || rest[0] == ' '
}

// grpcStatusOf maps an HTTP status (the gRPC documentation's http-grpc-status-mapping): what is not in it is unknown, 200 too.
func grpcStatusOf(status int) int32 {
	switch status {
	case 400:
		return 13
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 12
	case 429, 502, 503, 504:
		return 14
	}
	return 2
}

// appendPercent appends a grpc-message: what is not printable ASCII, and the percent sign, is written in hexadecimal.
func appendPercent(dst, text []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range text[:min(len(text), 1<<10)] {
		if c < ' ' || c > '~' || c == '%' {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}
