package httpabi

import (
	"context"
	"errors"
	"strconv"

	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wire"
)

// What host functions trap a guest with.
var (
	errMemory     = errors.New("pointer outside of memory")
	errOutside    = errors.New("host function called outside of a request")
	errKind       = errors.New("no such kind of header or body")
	errAfterNext  = errors.New("request changed after it was passed on")
	errUnbuffered = errors.New("response is not buffered: enable_features was not called with buffer_response")
	errEmptyName  = errors.New("header name is empty")
	errName       = errors.New("header name is no token")
	errValue      = errors.New("control character in header value")
	errHost       = errors.New("malformed host")
	errMethod     = errors.New("method is no token")
	errTarget     = errors.New("malformed uri")
	errStatus     = errors.New("status code is not between 200 and 599")
	errNoRoom     = errors.New("buffer of no bytes")
	errTooMuch    = errors.New("too many header bytes or fields")
)

// current finds the guest that calls a host function.
func current(ctx context.Context) *guest { return (*guest)(wasm.FromContext(ctx).Host) }

// visiting is current for functions that need an exchange.
func visiting(ctx context.Context) *guest {
	g := current(ctx)
	if g.x == nil {
		panic(errOutside)
	}
	return g
}

// read gives a view of guest memory. A length of 0 needs no valid pointer.
func (g *guest) read(ptr, n uint64) []byte {
	if uint32(n) == 0 {
		return nil
	}
	p, ok := g.in.Memory().Read(uint32(ptr), uint32(n))
	if !ok {
		panic(errMemory)
	}
	return p
}

// give writes v to a buffer of the guest unless it is longer than the buffer, and answers its length either way.
func (g *guest) give(ptr, limit uint64, v []byte) uint64 {
	if len(v) > 0 && uint64(len(v)) <= uint64(uint32(limit)) && !g.in.Memory().Write(uint32(ptr), v) {
		panic(errMemory)
	}
	return uint64(len(v))
}

// charge counts bytes that the host will keep.
func (g *guest) charge(n int) {
	if g.written += n; g.written > maxWritten {
		panic(errTooMuch)
	}
}

// beforeNext traps what may not be done once the request has been passed on.
func (g *guest) beforeNext() {
	if g.next {
		panic(errAfterNext)
	}
}

func enableFeatures(ctx context.Context, _ api.Module, s []uint64) {
	g := current(ctx)
	want := uint32(s[0]) & features
	switch {
	case g.x == nil:
		g.always |= want
		s[0] = uint64(g.always)
	default:
		if !g.next { // after it, it is too late
			g.enable(want)
		}
		s[0] = uint64(g.features)
	}
}

func (g *guest) enable(want uint32) {
	if want&^g.features&featureBufferRequest != 0 {
		g.stage.kept = append(g.stage.kept, g.stage.rest...)
	}
	g.features |= want
}

func getConfig(ctx context.Context, _ api.Module, s []uint64) {
	g := current(ctx)
	s[0] = g.give(s[0], s[1], g.f.o.Config)
}

func getMethod(ctx context.Context, _ api.Module, s []uint64) {
	g := visiting(ctx)
	s[0] = g.give(s[0], s[1], g.x.Request.Method)
}

func setMethod(ctx context.Context, _ api.Module, s []uint64) {
	g := visiting(ctx)
	g.beforeNext()
	m := g.read(s[0], s[1])
	if len(m) == 0 || len(m) > maxMethod || !abi.Token(m) || string(m) == "CONNECT" {
		panic(errMethod)
	}
	r := &g.x.Request
	if len(g.method) == 0 {
		g.method = append(g.method, r.Method...)
	}
	g.charge(len(m))
	r.Method = r.Header.Keep(m)
}

func getURI(ctx context.Context, _ api.Module, s []uint64) {
	g := visiting(ctx)
	t := g.x.Request.Target
	if len(t) == 0 {
		t = slash
	}
	s[0] = g.give(s[0], s[1], t)
}

var slash = []byte("/")

// setURI normalises as the target of a client is; the route stays the one that was found before.
func setURI(ctx context.Context, _ api.Module, s []uint64) {
	g := visiting(ctx)
	g.beforeNext()
	t := g.read(s[0], s[1])
	if len(t) == 0 {
		t = slash
	}
	if t[0] != '/' || len(t) > maxTarget || !abi.Visible(t) {
		panic(errTarget)
	}
	// Twice: normalising keeps a copy of its own.
	g.charge(2 * len(t))
	r := &g.x.Request
	target, path, query := r.Target, r.Path, r.Query
	r.Target = r.Header.Keep(t)
	if err := wire.Normalise(r); err != nil {
		r.Target, r.Path, r.Query = target, path, query
		panic(errTarget)
	}
}

func getProtocolVersion(ctx context.Context, _ api.Module, s []uint64) {
	g := visiting(ctx)
	v := http11
	switch g.x.Request.Version {
	case exchange.HTTP10:
		v = http10
	case exchange.HTTP20:
		v = http20
	}
	s[0] = g.give(s[0], s[1], v)
}

var http10, http11, http20 = []byte("HTTP/1.0"), []byte("HTTP/1.1"), []byte("HTTP/2.0")

// getSourceAddr tells the other end of the connection; behind a trusted proxy the client is what x-real-ip says.
func getSourceAddr(ctx context.Context, _ api.Module, s []uint64) {
	g := visiting(ctx)
	g.scratch = g.x.Client.Peer.AppendTo(g.scratch[:0])
	s[0] = g.give(s[0], s[1], g.scratch)
}

func getStatusCode(ctx context.Context, _ api.Module, s []uint64) {
	g := visiting(ctx)
	s[0] = 200
	if st := g.x.Response.Status; st != 0 {
		s[0] = uint64(st)
	}
}

func setStatusCode(ctx context.Context, _ api.Module, s []uint64) {
	g := visiting(ctx)
	if g.next && g.features&featureBufferResponse == 0 {
		panic(errUnbuffered)
	}
	status := uint32(s[0])
	if status < 200 || status > 599 {
		panic(errStatus)
	}
	if g.frozen {
		return
	}
	g.x.Response.Status, g.x.Response.Reason = int(status), nil
}

// functions is the ABI. One slice for all modules, because compiled code is shared by it.
var functions = []wasm.HostFunc{
	abi.Abort,
	function("enable_features", "i:i", enableFeatures),
	function("get_config", "ii:i", getConfig),
	function("log", "iii:", logMessage),
	function("log_enabled", "i:i", logEnabled),
	function("get_method", "ii:i", getMethod),
	function("set_method", "ii:", setMethod),
	function("get_uri", "ii:i", getURI),
	function("set_uri", "ii:", setURI),
	function("get_protocol_version", "ii:i", getProtocolVersion),
	function("get_source_addr", "ii:i", getSourceAddr),
	function("get_header_names", "iii:I", getHeaderNames),
	function("get_header_values", "iiiii:I", getHeaderValues),
	function("set_header_value", "iiiii:", setHeaderValue),
	function("add_header_value", "iiiii:", addHeaderValue),
	function("remove_header", "iii:", removeHeader),
	function("read_body", "iii:I", readBody),
	function("write_body", "iii:", writeBody),
	function("get_status_code", ":i", getStatusCode),
	function("set_status_code", "i:", setStatusCode),
}

// function reads a signature: parameters, a colon, results; i is an i32 and I an i64.
func function(name, signature string, fn api.GoModuleFunc) wasm.HostFunc {
	h := wasm.HostFunc{Module: HostModule, Name: name, Fn: fn}
	into := &h.Params
	for _, c := range signature {
		switch c {
		case ':':
			into = &h.Results
		case 'i':
			*into = append(*into, i32)
		case 'I':
			*into = append(*into, i64)
		default:
			panic("signature of " + name + ": " + strconv.QuoteRune(c))
		}
	}
	return h
}
