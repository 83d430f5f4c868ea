package proxyabi

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// program is a guest being written. Every function of the ABI is imported; a callback that is not given answers what lets
// things go on.
type program struct {
	m     asm.Module
	at    map[string]uint32 // imports by name
	data  []byte            // texts, from dataAt on
	given map[string]bool
}

const (
	dataAt = 4 << 10
	outAt  = 1 << 10 // where host functions leave results
	heapAt = 64 << 10
)

// callbacks are what a guest may export for streams and roots, with the number of parameters and whether they give a result.
var callbacks = []struct {
	name   string
	params int
	result int32 // that lets things go on; −1: none
}{
	{"proxy_on_context_create", 2, -1}, {"proxy_on_vm_start", 2, 1}, {"proxy_on_configure", 2, 1}, {"proxy_on_tick", 1, -1},
	{"proxy_on_queue_ready", 2, -1}, {"proxy_on_request_headers", 3, 0}, {"proxy_on_request_body", 3, 0},
	{"proxy_on_request_trailers", 2, 0}, {"proxy_on_response_headers", 3, 0}, {"proxy_on_response_body", 3, 0},
	{"proxy_on_response_trailers", 2, 0}, {"proxy_on_http_call_response", 5, -1}, {"proxy_on_done", 1, 1}, {"proxy_on_log", 1, -1},
	{"proxy_on_delete", 1, -1},
}

func newProgram() *program {
	p := &program{at: map[string]uint32{}, given: map[string]bool{}}
	for _, h := range functions {
		p.at[h.Name] = p.m.Import(h.Module, h.Name, h.Params, h.Results)
	}
	p.m.Memory(4, 64)
	p.m.Export("memory", 2, 0)
	p.m.Export("proxy_abi_version_0_2_1", 0, p.m.Func(asm.T(), asm.T(), asm.T()))
	return p
}

// text puts s into memory and gives its place and length, as arguments.
func (p *program) text(s string) []byte {
	at := dataAt + len(p.data)
	p.data = append(p.data, s...)
	return asm.Cat(asm.Const32(int32(at)), asm.Const32(int32(len(s))))
}

// host calls a host function and drops its status.
func (p *program) host(name string, args ...[]byte) []byte {
	return asm.Cat(asm.Cat(args...), asm.Call(p.at[name]), asm.Drop)
}

func num(v int32) []byte { return asm.Const32(v) }

// on gives a callback. Its code leaves the result, if it has one.
func (p *program) on(name string, code ...[]byte) *program {
	for _, c := range callbacks {
		if c.name == name {
			p.callback(name, c.params, c.result >= 0, asm.Cat(code...))
		}
	}
	return p
}

func (p *program) callback(name string, params int, result bool, code []byte) {
	p.given[name] = true
	var results []byte
	if result {
		results = asm.T(asm.I32)
	}
	p.m.Export(name, 0, p.m.Func([]byte(strings.Repeat(string(asm.I32), params)), results, asm.T(asm.I32), code))
}

// without leaves callbacks out.
func (p *program) without(names ...string) *program {
	for _, n := range names {
		p.given[n] = true
	}
	return p
}

// build ends the program with an allocator that gives what lies at a place, in turns, and lets a page be.
func (p *program) build() []byte {
	for _, c := range callbacks {
		if !p.given[c.name] {
			var code []byte
			if c.result >= 0 {
				code = num(c.result)
			}
			p.callback(c.name, c.params, c.result >= 0, code)
		}
	}
	next := p.m.Global(asm.I32, true, num(heapAt))
	// At a page's end it begins anew: nothing is kept that long.
	p.m.Export("proxy_on_memory_allocate", 0, p.m.Func(asm.T(asm.I32), asm.T(asm.I32), asm.T(asm.I32),
		asm.GlobalGet(next), asm.Get(0), asm.Add32, num(3*64<<10), asm.LtU32,
		asm.IfElse(asm.I32, asm.GlobalGet(next), num(heapAt)), asm.Tee(1), asm.Get(0), asm.Add32, asm.GlobalSet(next), asm.Get(1)))
	if len(p.data) > 0 {
		p.m.Data(dataAt, p.data)
	}
	return p.m.Bytes()
}

var engine = func() *wasm.Engine {
	e, err := wasm.OpenEngine(wasm.Options{Rate: 1000})
	if err != nil {
		panic(err)
	}
	return e
}()

// open starts a program.
func open(t testing.TB, p *program, o Options, po PluginOptions) (*VM, *Plugin) {
	t.Helper()
	if o.Name == "" {
		o.Name = "guest"
	}
	po.Name = o.Name
	if o.Shards == 0 {
		o.Shards = 1
	}
	vm, pl, err := Open(context.Background(), engine, p.build(), o, po)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pl.Close(); err != nil {
			t.Error(err)
		}
		if err := vm.Close(); err != nil {
			t.Error(err)
		}
		if n := vm.open.Load(); n != 0 {
			t.Errorf("%d streams are open", n)
		}
	})
	return vm, pl
}

func at(t testing.TB, p *Plugin, s Site) *Filter {
	t.Helper()
	f, err := p.At(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// chunks is a body that comes piece by piece.
type chunks struct {
	list []string
	err  error // in place of io.EOF
	last func()
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.list) == 0 {
		if c.last != nil {
			c.last()
		}
		if c.err != nil {
			return 0, c.err
		}
		return 0, io.EOF
	}
	n := copy(p, c.list[0])
	if c.list[0] = c.list[0][n:]; c.list[0] == "" {
		c.list = c.list[1:]
	}
	return n, nil
}

func (c *chunks) Whole() bool { return false }

// ask makes an exchange with a body in pieces; length −1 is one that says none. Without pieces there is no body.
func ask(t testing.TB, length int64, pieces ...string) *exchange.Exchange {
	x := exchange.Acquire()
	r := &x.Request
	r.Method, r.Target, r.Path, r.Host, r.Version = []byte("POST"), []byte("/a"), []byte("/a"), []byte("example.com"), exchange.HTTP11
	x.NewRequestID()
	if len(pieces) == 0 {
		length = 0
	}
	r.Body.Init(length, &chunks{list: pieces})
	return x
}

// answer makes x's answer.
func answer(x *exchange.Exchange, length int64, pieces ...string) {
	x.Response.Status = 200
	if len(pieces) == 0 {
		length = 0
	}
	x.Response.Body.Init(length, &chunks{list: pieces})
}

// pull reads a body to its end.
func pull(b *exchange.Body) (string, error) {
	var all strings.Builder
	buf := make([]byte, 512)
	for {
		p, err := b.Next(buf)
		all.Write(p)
		if err == io.EOF {
			return all.String(), nil
		}
		if err != nil {
			return all.String(), err
		}
	}
}

func request(t testing.TB, f *Filter, x *exchange.Exchange, want filter.Verdict) {
	t.Helper()
	if v, err := f.Request(x, 0); v != want || err != nil {
		t.Fatalf("request: %v %v, want %v", v, err, want)
	}
}

func response(t testing.TB, f *Filter, x *exchange.Exchange, want filter.Verdict) {
	t.Helper()
	if v, err := f.Response(x, 0, false); v != want || err != nil {
		t.Fatalf("response: %v %v, want %v", v, err, want)
	}
}
