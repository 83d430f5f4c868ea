package httpabi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/asm"
	"github.com/weirproxy/weir/core/wire"
)

// program is a guest built by hand: both handlers as code, and texts in its memory.
type program struct {
	asm.Module
	host map[string]uint32
	heap int32
}

// buffer is where guests read to; it has 16 KiB.
const buffer = 32 << 10

func newProgram() *program {
	p := &program{host: map[string]uint32{}, heap: 16}
	p.Memory(2, -1)
	for _, f := range functions {
		p.host[f.Name] = p.Import(HostModule, f.Name, f.Params, f.Results)
	}
	return p
}

// text puts a string into memory and gives the instructions for its pointer and length.
func (p *program) text(s string) []byte {
	at := p.heap
	p.Data(at, []byte(s))
	p.heap += int32(len(s)) + 8
	return asm.Cat(asm.Const32(at), asm.Const32(int32(len(s))))
}

// call calls a host function.
func (p *program) call(name string, args ...[]byte) []byte {
	return asm.Cat(asm.Cat(args...), asm.Call(p.host[name]))
}

func num(v int32) []byte { return asm.Const32(v) }

var (
	wrap  = asm.Op(0xa7)                                                                   // the low half of an i64
	upper = asm.Cat(asm.Const64(32), asm.Op(0x88), asm.Op(0xa7))                           // the high half
	into  = asm.Cat(asm.Const32(buffer), asm.Const32(16<<10))                              // the buffer as pointer and limit
	next  = asm.Const64(1)                                                                 // ctx_next
	stop  = asm.Const64(0)                                                                 // ctx_next
	spin  = asm.Loop(asm.None, asm.Br(0))                                                  // for ever
	grow  = asm.Loop(asm.None, num(1), asm.MemoryGrow, num(-1), asm.Op(0x47), asm.BrIf(0)) // memory to its cap
)

// set sets a header to a fixed text.
func (p *program) set(kind int32, name, value string) []byte {
	return p.call("set_header_value", num(kind), p.text(name), p.text(value))
}

// say makes what the guest read into the buffer the answer's body: n gives its length.
func (p *program) say(n []byte) []byte {
	return p.call("write_body", num(responseBody), num(buffer), n)
}

// build gives the module. request ends with a ctx_next on the stack.
func (p *program) build(request, response []byte) []byte {
	p.Export("memory", 2, 0)
	p.Export(exportRequest, 0, p.Func(nil, asm.T(asm.I64), nil, request))
	p.Export(exportResponse, 0, p.Func(asm.T(asm.I32, asm.I32), nil, nil, response))
	return p.Bytes()
}

var engine = sync.OnceValue(func() *wasm.Engine {
	e, err := wasm.OpenEngine(wasm.Options{})
	if err != nil {
		panic(err)
	}
	return e
})

// open makes a filter that is closed with the test.
func open(t testing.TB, code []byte, change ...func(*Options)) *Filter {
	t.Helper()
	o := Options{Name: "test", Log: zerolog.Nop(), Instances: 4}
	for _, c := range change {
		c(&o)
	}
	f, err := Open(context.Background(), engine(), code, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if in := f.stock.Stats().InUse; in != 0 {
			t.Errorf("%d instances still out", in)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// source is a body in pieces, and how it ends.
type source struct {
	pieces []string
	end    error
	read   int
}

func (s *source) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, s.end
	}
	n := copy(p, s.pieces[0])
	if s.read++; n < len(s.pieces[0]) {
		s.pieces[0] = s.pieces[0][n:]
		return n, nil
	}
	s.pieces = s.pieces[1:]
	return n, nil
}

func (s *source) Whole() bool { return len(s.pieces) == 0 && s.end == io.EOF }

// ask makes an exchange as a client's request begins one. Fields are "name: value".
func ask(t testing.TB, method, target string, fields ...string) *exchange.Exchange {
	t.Helper()
	x := exchange.Acquire()
	t.Cleanup(func() { exchange.Release(x) })
	r := &x.Request
	r.Method, r.Target, r.Version, r.Host = []byte(method), []byte(target), exchange.HTTP11, []byte("example.com")
	if err := wire.Normalise(r); err != nil {
		t.Fatal(err)
	}
	addFields(&r.Header, fields)
	r.Body.Init(0, nil)
	x.Client.Peer = netip.MustParseAddrPort("192.0.2.7:4711")
	x.RequestID = []byte("id-1")
	return x
}

func addFields(h *exchange.Header, fields []string) {
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.Add([]byte(name), []byte(value))
	}
}

// withBody gives a request a body; length -1 is a chunked one.
func withBody(x *exchange.Exchange, length int64, end error, pieces ...string) *source {
	s := &source{pieces: slices.Clone(pieces), end: end}
	x.Request.Body.Init(length, s)
	return s
}

// reply makes the upstream's answer.
func reply(x *exchange.Exchange, status int, body string, fields ...string) {
	r := &x.Response
	r.Status, r.Version, r.Declared = status, exchange.HTTP11, -1
	addFields(&r.Header, fields)
	r.Body.Init(int64(len(body)), nil)
	if body != "" {
		r.Body.Init(int64(len(body)), &source{pieces: []string{body}, end: io.EOF})
	}
}

func content(t testing.TB, b *exchange.Body) string {
	t.Helper()
	var out []byte
	buf := make([]byte, 100)
	for {
		p, err := b.Next(buf)
		if err == io.EOF {
			return string(out)
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p...)
	}
}

// list writes a header section as one text.
func list(h *exchange.Header) string {
	var out []string
	for i := range h.Len() {
		out = append(out, string(h.At(i).Name)+": "+string(h.At(i).Value))
	}
	return strings.Join(out, ", ")
}

// request runs handle_request and fails on an error.
func request(t testing.TB, f *Filter, x *exchange.Exchange, want filter.Verdict) {
	t.Helper()
	v, err := f.Request(x, 0)
	if err != nil {
		t.Fatal(err)
	}
	if v != want {
		t.Fatalf("verdict %d, want %d", v, want)
	}
}

func response(t testing.TB, f *Filter, x *exchange.Exchange, failed bool) {
	t.Helper()
	if v, err := f.Response(x, 0, failed); err != nil || v != filter.Continue {
		t.Fatal(v, err)
	}
}

// said runs a guest that answers by itself, and gives the answer's body.
func said(t testing.TB, f *Filter, x *exchange.Exchange) string {
	t.Helper()
	request(t, f, x, filter.Respond)
	return content(t, &x.Response.Body)
}

// logged makes a logger that writes to a buffer.
func logged(b *bytes.Buffer) func(*Options) {
	return func(o *Options) { o.Log = zerolog.New(b).Level(zerolog.InfoLevel) }
}

func trapOf(t testing.TB, err error) error {
	t.Helper()
	var trap *wasm.Trap
	if !errors.As(err, &trap) {
		t.Fatalf("%v is no trap", err)
	}
	return trap.Err
}

func eq(t testing.TB, what, have, want string) {
	t.Helper()
	if have != want {
		t.Errorf("%s\nhave %q\nwant %q", what, have, want)
	}
}
