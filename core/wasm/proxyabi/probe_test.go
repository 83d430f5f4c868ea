package proxyabi

import (
	"context"
	"encoding/binary"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/asm"
	"github.com/weirproxy/weir/core/wire"
)

// probe is a guest that does nothing of its own: for every host function it exports one that calls it.
type probe struct {
	t   testing.TB
	vm  *VM
	sh  *shard
	x   *exchange.Exchange
	st  *stream
	fns map[string]*wasm.Func

	stack [16]uint64
	heap  uint32
}

// Where a probe puts arguments, results and what its allocator gives.
const (
	probeArgs  = 1 << 10
	probeOut   = 512
	probeGiven = 2 << 20
	probePages = 128
)

var probeEngine = sync.OnceValue(func() *wasm.Engine {
	e, err := wasm.OpenEngine(wasm.Options{})
	if err != nil {
		panic(err)
	}
	return e
})

// probeCode builds the guest; alloc is the code of its allocator.
func probeCode(mark string, alloc []byte) []byte {
	m := &asm.Module{}
	m.Memory(probePages, -1)
	first := map[string]uint32{}
	for _, f := range functions {
		first[f.Name] = m.Import(f.Module, f.Name, f.Params, f.Results)
	}
	for _, f := range functions {
		var code []byte
		for i := range f.Params {
			code = asm.Cat(code, asm.Get(uint32(i)))
		}
		m.Export("call "+f.Name, 0, m.Func(f.Params, f.Results, nil, code, asm.Call(first[f.Name])))
	}
	m.Export("memory", 2, 0)
	m.Export("proxy_on_memory_allocate", 0, m.Func(asm.T(asm.I32), asm.T(asm.I32), nil, alloc))
	if mark != "" {
		m.Export(mark, 0, m.Func(nil, nil, nil))
	}
	return m.Bytes()
}

var (
	probeAllocator = asm.Const32(probeGiven)
	asmZero        = asm.Const32(0)
)

const mark021 = "proxy_abi_version_0_2_1"

// newProbe opens a probe whose stream is a request that has just come.
func newProbe(t testing.TB, change ...func(*Options, *PluginOptions, *Site)) *probe {
	return newProbeOf(t, probeCode(mark021, probeAllocator), change...)
}

func newProbeOf(t testing.TB, code []byte, change ...func(*Options, *PluginOptions, *Site)) *probe {
	t.Helper()
	o := Options{Name: "probe", Log: zerolog.Nop(), Shards: 1, Memory: 16 << 20, CPU: time.Second}
	po := PluginOptions{Name: "tag", RootID: "tag-root"}
	site := Site{Route: "all", Upstream: "backend"}
	for _, c := range change {
		c(&o, &po, &site)
	}
	vm, p, err := Open(context.Background(), probeEngine(), code, o, po)
	if err != nil {
		t.Fatal(err)
	}
	sh, err := vm.newShard(vm.plugins, false)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := factsOf(site)
	if err != nil {
		t.Fatal(err)
	}
	pr := &probe{t: t, vm: vm, sh: sh, x: probeExchange(t), fns: map[string]*wasm.Func{}}
	for _, f := range functions {
		if pr.fns[f.Name], err = sh.in.Func("call " + f.Name); err != nil {
			t.Fatal(err)
		}
	}
	pr.st = &stream{sh: sh, f: &Filter{p: p, site: site, facts: facts}, x: pr.x}
	pr.st.stream, pr.st.root = pr.st, sh.roots[0]
	pr.st.request.st, pr.st.response.st, pr.st.response.response = pr.st, pr.st, true
	sh.add(&pr.st.scope)
	sh.eff = &pr.st.scope
	pr.requestHeaders()
	t.Cleanup(func() {
		sh.end()
		_ = p.Close()
		if err := vm.Close(); err != nil {
			t.Error(err)
		}
		exchange.Release(pr.x)
	})
	return pr
}

// probeExchange is a request as a client's begins one.
func probeExchange(t testing.TB) *exchange.Exchange {
	x := exchange.Acquire()
	probeRequest(t, x)
	return x
}

func probeRequest(t testing.TB, x *exchange.Exchange) {
	r := &x.Request
	r.Method, r.Target, r.Version, r.Host = []byte("GET"), []byte("/path?x=1"), exchange.HTTP11, []byte("example.com")
	if err := wire.Normalise(r); err != nil {
		t.Fatal(err)
	}
	probeFields(&r.Header, "Accept: */*", "X-One: first", "x-one: second")
	r.Body.Init(0, nil)
	x.Client.Peer = netip.MustParseAddrPort("192.0.2.7:4711")
	x.Client.IP = x.Client.Peer.Addr()
	x.RequestID = []byte("id-1")
	x.Record.Route = "all"
}

func probeFields(h *exchange.Header, fields ...string) {
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.Add([]byte(name), []byte(value))
	}
}

// answer makes the upstream's answer, and has the guest called for its header section.
func (p *probe) answer(status int, length int64, fields ...string) {
	r := &p.x.Response
	r.Status, r.Version, r.Declared = status, exchange.HTTP11, length
	probeFields(&r.Header, fields...)
	r.Body.Init(max(length, 0), nil)
	r.Body.Length = length
	p.responseHeaders()
}

// The phases: who calls, and what may be changed.
func (p *probe) requestHeaders() {
	p.sh.entered, p.sh.final = &p.st.request, nil
	p.st.request.open, p.st.request.tail, p.st.response.open, p.st.response.tail = true, false, false, false
}

func (p *probe) requestBody() {
	p.requestHeaders()
	p.st.request.open = false
}

func (p *probe) requestTrailers() {
	p.requestBody()
	p.st.request.tail = true
}

func (p *probe) responseHeaders() {
	p.requestBody()
	p.sh.entered, p.st.response.open = &p.st.response, true
}

func (p *probe) responseTrailers() {
	p.responseHeaders()
	p.st.response.open, p.st.response.tail = false, true
}

func (p *probe) log() {
	p.responseTrailers()
	p.sh.entered, p.sh.final, p.st.response.tail = nil, p.st, false
}

// root makes the root context the one that acts.
func (p *probe) root() { p.sh.entered, p.sh.eff = nil, &p.sh.roots[0].scope }

// call calls a host function as the guest would.
func (p *probe) call(name string, args ...uint64) status {
	clear(p.stack[:])
	copy(p.stack[:], args)
	if err := p.sh.in.Call(p.fns[name], time.Second, p.stack[:]); err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
	p.heap = probeArgs
	return status(uint32(p.stack[0]))
}

// text puts a text into guest memory, behind those of the same call.
func (p *probe) text(s string) (ptr, n uint64) {
	p.heap = max(p.heap, probeArgs)
	at := p.heap
	if !p.sh.in.Memory().WriteString(at, s) {
		p.t.Fatal("text too long")
	}
	p.heap += uint32(len(s))
	return uint64(at), uint64(len(s))
}

// out reads what a host function has given by its two out pointers.
func (p *probe) out() string {
	mem := p.sh.in.Memory()
	ptr, _ := mem.Uint32(probeOut)
	n, _ := mem.Uint32(probeOut + 4)
	b, ok := mem.Read(ptr, n)
	if !ok {
		p.t.Fatalf("%d bytes at %d", n, ptr)
	}
	return string(b)
}

func (p *probe) get(kind uint64, name string) (string, status) {
	ptr, n := p.text(name)
	st := p.call("proxy_get_header_map_value", kind, ptr, n, probeOut, probeOut+4)
	if st != statusOK {
		return "", st
	}
	return p.out(), st
}

func (p *probe) set(function string, kind uint64, name, value string) {
	p.t.Helper()
	kp, kn := p.text(name)
	vp, vn := p.text(value)
	if st := p.call(function, kind, kp, kn, vp, vn); st != statusOK {
		p.t.Errorf("%s(%q, %q): %d", function, name, value, st)
	}
}

func (p *probe) replace(kind uint64, name, value string) {
	p.t.Helper()
	p.set("proxy_replace_header_map_value", kind, name, value)
}

func (p *probe) add(kind uint64, name, value string) {
	p.t.Helper()
	p.set("proxy_add_header_map_value", kind, name, value)
}

func (p *probe) remove(kind uint64, name string) {
	p.t.Helper()
	ptr, n := p.text(name)
	if st := p.call("proxy_remove_header_map_value", kind, ptr, n); st != statusOK {
		p.t.Errorf("remove %q: %d", name, st)
	}
}

// list reads a map as "name=value" lines, joined by "|".
func (p *probe) list(kind uint64) string {
	p.t.Helper()
	if st := p.call("proxy_get_header_map_pairs", kind, probeOut, probeOut+4); st != statusOK {
		p.t.Fatalf("pairs of map %d: %d", kind, st)
	}
	return probePairs(p.t, p.out())
}

// probePairs decodes a serialised map by the letter of the specification.
func probePairs(t testing.TB, b string) string {
	t.Helper()
	if b == "" {
		return ""
	}
	u := func(at int) int { return int(binary.LittleEndian.Uint32([]byte(b[at:]))) }
	var out []string
	n := u(0)
	at := 4 + 8*n
	for i := range n {
		k, v := u(4+8*i), u(8+8*i)
		if b[at+k] != 0 || b[at+k+1+v] != 0 {
			t.Fatalf("no zero byte behind a text in %q", b)
		}
		out = append(out, b[at:at+k]+"="+b[at+k+1:at+k+1+v])
		at += k + v + 2
	}
	if at != len(b) {
		t.Fatalf("%d bytes behind the map %q", len(b)-at, b)
	}
	return strings.Join(out, "|")
}

// probeMap serialises a map: names and values in turn.
func probeMap(texts ...string) string {
	n := len(texts) / 2
	b := binary.LittleEndian.AppendUint32(nil, uint32(n))
	for _, s := range texts {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
	}
	for _, s := range texts {
		b = append(append(b, s...), 0)
	}
	return string(b)
}

func (p *probe) want(what, have, want string) {
	p.t.Helper()
	if have != want {
		p.t.Errorf("%s\nhave %q\nwant %q", what, have, want)
	}
}
