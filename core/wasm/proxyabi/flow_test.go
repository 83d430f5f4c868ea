package proxyabi

import (
	"context"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// tiny is a guest with every callback of a stream, each of which answers Continue.
func tiny() *asm.Module {
	m := &asm.Module{}
	m.Memory(1, 4)
	m.Export("memory", 2, 0)
	i := asm.I32
	m.Export("proxy_abi_version_0_2_1", 0, m.Func(asm.T(), asm.T(), asm.T()))
	m.Export("proxy_on_memory_allocate", 0, m.Func(asm.T(i), asm.T(i), asm.T(), asm.Const32(1024)))
	m.Export("proxy_on_context_create", 0, m.Func(asm.T(i, i), asm.T(), asm.T()))
	m.Export("proxy_on_vm_start", 0, m.Func(asm.T(i, i), asm.T(i), asm.T(), asm.Const32(1)))
	m.Export("proxy_on_configure", 0, m.Func(asm.T(i, i), asm.T(i), asm.T(), asm.Const32(1)))
	for _, name := range []string{"proxy_on_request_headers", "proxy_on_response_headers", "proxy_on_request_body", "proxy_on_response_body"} {
		m.Export(name, 0, m.Func(asm.T(i, i, i), asm.T(i), asm.T(), asm.Const32(0)))
	}
	m.Export("proxy_on_done", 0, m.Func(asm.T(i), asm.T(i), asm.T(), asm.Const32(1)))
	m.Export("proxy_on_log", 0, m.Func(asm.T(i), asm.T(), asm.T()))
	m.Export("proxy_on_delete", 0, m.Func(asm.T(i), asm.T(), asm.T()))
	return m
}

func TestPasses(t *testing.T) {
	e, err := wasm.OpenEngine(wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	vm, p, err := Open(context.Background(), e, tiny().Bytes(), Options{Name: "tiny"}, PluginOptions{Name: "tiny"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.At(Site{})
	if err != nil {
		t.Fatal(err)
	}
	x := exchange.Acquire()
	x.Request.Body.Init(0, nil)
	if v, err := f.Request(x, 0); v != filter.Continue || err != nil {
		t.Error(v, err)
	}
	x.Response.Status = 200
	x.Response.Body.Replace([]byte("hello"))
	if v, err := f.Response(x, 0, false); v != filter.Continue || err != nil {
		t.Error(v, err)
	}
	buf := make([]byte, 100)
	if p, err := x.Response.Body.Next(buf); string(p) != "hello" || err != nil || x.Response.Body.Length != 5 {
		t.Errorf("%q %v %d", p, err, x.Response.Body.Length)
	}
	exchange.Release(x)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := vm.Close(); err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// In a stream's last calls the guest sees all of that stream, and no more of others than ever: they are under way elsewhere.
func TestLastCallsSeeTheirOwn(t *testing.T) {
	p := newProgram()
	get := func(where string, name []byte) []byte {
		return asm.Cat(name, num(outAt), num(outAt+4), asm.Call(p.at[where]))
	}
	field := func() []byte { return get("proxy_get_header_map_value", asm.Cat(num(mapResponseHeaders), p.text("x"))) }
	p.on("proxy_on_log",
		num(2), asm.Get(0), asm.LtU32, asm.If(asm.None, // the second stream's
			field(), asm.If(asm.None, asm.Unreachable),
			asm.Get(0), num(1), asm.Sub32, asm.Call(p.at["proxy_set_effective_context"]), asm.If(asm.None, asm.Unreachable),
			field(), asm.Eqz32, asm.If(asm.None, asm.Unreachable),
			get("proxy_get_property", p.text("response\x00code")), asm.Eqz32, asm.If(asm.None, asm.Unreachable),
			get("proxy_get_property", p.text("request\x00total_size")), asm.Eqz32, asm.If(asm.None, asm.Unreachable)))
	_, pl := open(t, p, Options{}, PluginOptions{})
	f := at(t, pl, Site{})
	var all [2]*exchange.Exchange
	for i := range all {
		all[i] = ask(t, 0)
		request(t, f, all[i], filter.Continue)
		answer(all[i], 0)
		all[i].Response.Header.AddString("x", []byte("1"))
	}
	exchange.Release(all[1])
	if s := pl.Status(); len(s.Failures) != 0 {
		t.Errorf("%+v", s.Last)
	}
	exchange.Release(all[0])
}
