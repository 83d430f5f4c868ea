package proxyabi

import (
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest/alloc"
	"github.com/weirproxy/weir/core/exchange"
)

// again gives the probe's stream another exchange.
func (p *probe) again() {
	exchange.Release(p.x)
	x := exchange.Acquire()
	p.x, p.st.x = x, x
	x.Request.Method, x.Request.Target, x.Request.Path, x.Request.Host = verbPost, slashPath, slashPath, one
	x.Request.Header.AddString("accept", one)
	x.Request.Header.AddString("X-One", one)
	p.st.request.written, p.st.response.written, p.st.rerouted = 0, 0, false
}

var one = []byte("a value")

func TestFieldAllocations(t *testing.T) {
	f := func(name string, run func(p *probe) func()) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			p := newProbe(t)
			step := run(p)
			alloc.Floor(t, func() {
				p.again()
				step()
			})
		})
	}
	do := func(p *probe, fn string, args ...uint64) func() {
		call := p.fns[fn]
		return func() {
			clear(p.stack[:])
			copy(p.stack[:], args)
			if err := p.sh.in.Call(call, time.Second, p.stack[:]); err != nil || p.stack[0] != 0 {
				p.t.Error(fn, err, p.stack[0])
			}
		}
	}
	f("pairs", func(p *probe) func() { return do(p, "proxy_get_header_map_pairs", 0, probeOut, probeOut+4) })
	f("size", func(p *probe) func() { return do(p, "proxy_get_header_map_size", 0, probeOut) })
	f("set pairs", func(p *probe) func() {
		at, n := p.text(probeMap("X-A", "1", ":path", "/new", ":method", "PUT", "x-b", "2"))
		return do(p, "proxy_set_header_map_pairs", 0, at, n)
	})
	for _, name := range []string{"x-one", "X-ONE", ":path", ":authority", "host", ":scheme", "content-length"} {
		f("get "+name, func(p *probe) func() {
			at, n := p.text(name)
			get := do(p, "proxy_get_header_map_value", 0, at, n, probeOut, probeOut+4)
			return func() { p.x.Request.Body.Init(9, (*silence)(nil)); get() }
		})
	}
	for _, pair := range [][2]string{{"x-one", "new"}, {"X-New", "new"}, {":path", "/a/../b"}, {":authority", "example.org"},
		{":scheme", "https"}, {"connection", "close"}, {"bad name", "x"}} {
		for _, fn := range []string{"proxy_add_header_map_value", "proxy_replace_header_map_value"} {
			f(fn+" "+pair[0], func(p *probe) func() {
				at, n := p.text(pair[0])
				vp, vn := p.text(pair[1])
				return do(p, fn, 0, at, n, vp, vn)
			})
		}
	}
	f("remove", func(p *probe) func() {
		at, n := p.text("Accept")
		return do(p, "proxy_remove_header_map_value", 0, at, n)
	})
	f("count", func(p *probe) func() {
		return func() {
			if f, _ := p.sh.fieldsOf(0); f.count() < 6 {
				p.t.Error(f.count())
			}
		}
	})
}

var verbPost, slashPath = []byte("POST"), []byte("/path")

// floor checks that a call allocates nothing; again makes what it works on anew.
func (p *probe) floor(t *testing.T, again func(), fn string, args ...uint64) {
	t.Helper()
	call := p.fns[fn]
	alloc.Floor(t, func() {
		again()
		clear(p.stack[:])
		copy(p.stack[:], args)
		if err := p.sh.in.Call(call, time.Second, p.stack[:]); err != nil || p.stack[0] > uint64(statusNotFound) {
			t.Fatal(fn, err, p.stack[0])
		}
	})
}
