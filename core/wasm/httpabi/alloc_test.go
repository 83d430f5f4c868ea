//go:build !race

package httpabi

import (
	"io"
	"testing"

	"github.com/weirproxy/weir/core/coretest/alloc"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// tag reads one header and sets another to what it was.
func tag(p *program) []byte {
	n := p.Global(asm.I32, true, num(0))
	return asm.Cat(p.call("get_header_values", num(0), p.text("x-one"), into), wrap, asm.GlobalSet(n), asm.GlobalGet(n), asm.If(asm.None,
		p.call("set_header_value", num(0), p.text("x-tag"), num(buffer), asm.Cat(asm.GlobalGet(n), num(1), asm.Sub32))))
}

func TestAllocationFloors(t *testing.T) {
	f := func(name string, request, response func(*program) []byte) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			flt := both(t, request, response)
			c := newClient()
			alloc.Floor(t, func() { c.exchange(flt) })
			if c.failed != nil {
				t.Fatal(c.failed)
			}
		})
	}
	f("read one header, set one", func(p *program) []byte { return asm.Cat(tag(p), next) }, nothing)
	f("on both sides", func(p *program) []byte { return asm.Cat(tag(p), next) }, func(p *program) []byte { return p.set(1, "x-tag", "1") })
	f("preset", func(p *program) []byte { return asm.Cat(p.set(1, "x-tag", "1"), next) }, nothing)
	f("answer", func(p *program) []byte {
		return asm.Cat(p.call("set_status_code", num(403)), p.call("write_body", num(1), p.text("no")), stop)
	}, nothing)
	f("everything that reads", func(p *program) []byte {
		drop := asm.Drop
		return asm.Cat(p.call("get_method", into), drop, p.call("get_uri", into), drop, p.call("get_source_addr", into), drop,
			p.call("get_protocol_version", into), drop, p.call("get_config", into), drop, p.call("get_header_names", num(0), into), drop,
			p.call("get_header_values", num(0), p.text("HOST"), into), drop, p.call("log_enabled", num(0)), drop,
			p.call("log", num(2), p.text("line")), enable(p, 4), p.call("set_uri", p.text("/a/../b")),
			p.call("set_method", p.text("PUT")), p.call("remove_header", num(0), p.text("X-One")), next)
	}, nothing)
}

// client makes one exchange after another, with nothing made anew.
type client struct {
	body   source
	failed error
}

func newClient() *client { return &client{} }

var method, target, host1, id1, one1 = []byte("GET"), []byte("/path?x=1"), []byte("example.com"), []byte("id-1"), []byte("a value")

func (c *client) exchange(f *Filter) {
	x := exchange.Acquire()
	r := &x.Request
	r.Method, r.Target, r.Path, r.Host, r.Version = method, target, target[:5], host1, exchange.HTTP11
	x.RequestID = id1
	r.Header.AddString("accept", one1)
	r.Header.AddString("user-agent", one1)
	r.Header.AddString("x-forwarded-for", one1)
	r.Header.AddString("x-one", one1)
	r.Body.Init(0, nil)
	_, err := f.Request(x, 0)
	if err == nil {
		x.Response.Status = 200
		c.body.end = io.EOF
		x.Response.Body.Init(-1, &c.body)
		_, err = f.Response(x, 0, false)
	}
	if err != nil {
		c.failed = err
	}
	exchange.Release(x)
}

// BenchmarkFilter is a whole exchange with a filter that reads one header and sets one, the exchange's own making included.
func BenchmarkFilter(b *testing.B) {
	run := func(name string, f *Filter) {
		b.Run(name, func(b *testing.B) {
			c := newClient()
			b.ReportAllocs()
			for b.Loop() {
				c.exchange(f)
			}
			if c.failed != nil {
				b.Fatal(c.failed)
			}
		})
	}
	tagAndPass := func(p *program) []byte { return asm.Cat(tag(p), next) }
	run("both handlers", both(b, tagAndPass, nothing))
	p := newProgram()
	run("empty handle_response", open(b, p.build(tagAndPass(p), nil)))
	b.Run("both handlers, parallel", func(b *testing.B) {
		f := both(b, tagAndPass, nothing)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			c := newClient()
			for pb.Next() {
				c.exchange(f)
			}
		})
	})
	b.Run("without a filter", func(b *testing.B) {
		for b.Loop() {
			x := exchange.Acquire()
			r := &x.Request
			r.Header.AddString("accept", one1)
			r.Header.AddString("user-agent", one1)
			r.Header.AddString("x-forwarded-for", one1)
			r.Header.AddString("x-one", one1)
			r.Body.Init(0, nil)
			exchange.Release(x)
		}
	})
}
