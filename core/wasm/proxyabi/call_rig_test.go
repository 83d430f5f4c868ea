package proxyabi

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// caller is a guest that notes in its memory what it is told of its calls, and whose calls a test makes for it.
type caller struct {
	t    testing.TB
	vm   *VM
	p    *Plugin
	sh   *shard
	log  *coretest.Buffer
	fns  map[string]*wasm.Func
	heap uint32
}

// Where a caller keeps things: notes of 128 bytes each, their number, and arguments.
const (
	noteAt    = 192 << 10
	notesMost = 512
	noteCount = 512
	callArgs  = 256 << 10
	callPages = 60 // that it grows by, for those
)

// What a note is of.
const (
	noteHTTP = iota + 1
	noteInitial
	noteReceive
	noteTrailing
	noteClose
	noteTick
)

// callerProgram is the guest. Callbacks may be added to it.
func callerProgram() *program {
	p := newProgram()
	p.on("proxy_on_vm_start", num(callPages), asm.MemoryGrow, asm.Drop, num(1))
	p.notes("proxy_on_http_call_response", noteHTTP, 5, mapCallHeaders, bufferCallBody, mapCallTrailers)
	p.notes("proxy_on_grpc_receive_initial_metadata", noteInitial, 3, mapGrpcInitial, bufferGrpcMessage, mapGrpcTrailing)
	p.notes("proxy_on_grpc_receive", noteReceive, 3, mapGrpcInitial, bufferGrpcMessage, mapGrpcTrailing)
	p.notes("proxy_on_grpc_receive_trailing_metadata", noteTrailing, 3, mapGrpcInitial, bufferGrpcMessage, mapGrpcTrailing)
	p.notes("proxy_on_grpc_close", noteClose, 3, mapGrpcInitial, bufferGrpcMessage, mapGrpcTrailing)
	for _, f := range append(callFunctions, grpcFunctions...) {
		var code []byte
		for i := range f.Params {
			code = asm.Cat(code, asm.Get(uint32(i)))
		}
		p.m.Export("call "+f.Name, 0, p.m.Func(f.Params, f.Results, nil, code, asm.Call(p.at[f.Name])))
	}
	return p
}

var (
	load32  = func(at uint32) []byte { return asm.Cat(num(0), asm.Load(0x28, 2, at)) }
	store32 = asm.Load(0x36, 2, 0)
)

// notes makes a callback that writes down what it is called with and what it can see.
func (p *program) notes(name string, kind int32, params int, head, body, tail int32) {
	p.callback(name, params, false, p.note(kind, params, head, body, tail))
}

func (p *program) note(kind int32, params int, head, body, tail int32) []byte {
	at := uint32(params) // the local that says where
	place := func(off int32) []byte { return asm.Cat(asm.Get(at), num(off), asm.Add32) }
	put := func(off int32, value []byte) []byte { return asm.Cat(place(off), value, store32) }
	code := asm.Cat(load32(noteCount), num(notesMost-1), asm.And32, num(128), asm.Mul32, num(noteAt), asm.Add32, asm.Set(at))
	code = asm.Cat(code, put(0, num(kind)))
	for i := range params {
		code = asm.Cat(code, put(int32(4+4*i), asm.Get(uint32(i))))
	}
	return asm.Cat(code,
		p.host("proxy_get_header_map_pairs", num(head), place(32), place(36)),
		p.host("proxy_get_buffer_bytes", num(body), num(0), num(64<<10), place(40), place(44)),
		p.host("proxy_get_header_map_pairs", num(tail), place(48), place(52)),
		p.host("proxy_get_status", place(56), place(60), place(64)),
		num(0), load32(noteCount), num(1), asm.Add32, asm.Load(0x36, 2, noteCount))
}

// note is what the guest has been told.
type note struct {
	kind, id         uint32
	args             [3]uint32
	head, body, tail string
	code             uint32
	text             string
}

func (n note) String() string {
	return fmt.Sprintf("%d %v head %q body %q tail %q status %d %q", n.kind, n.args, n.head, n.body[:min(len(n.body), 60)], n.tail, n.code, n.text)
}

// newCaller starts a guest that may ask the upstreams a, b and gone. It is in no plan.
func newCaller(t testing.TB, change ...func(*Options, *PluginOptions)) *caller {
	t.Helper()
	return newCallerOf(t, callerProgram(), change...)
}

func newCallerOf(t testing.TB, p *program, change ...func(*Options, *PluginOptions)) *caller {
	t.Helper()
	c := &caller{t: t, log: &coretest.Buffer{}, fns: map[string]*wasm.Func{}}
	o := Options{Name: "caller", CPU: 2 * time.Second, Log: zerolog.New(c.log)}
	po := PluginOptions{Calls: []string{"a", "b", "gone"}}
	for _, f := range change {
		f(&o, &po)
	}
	c.vm, c.p = open(t, p, o, po)
	t.Cleanup(func() {
		if n, held := c.vm.errands.Load(), c.vm.held.Load(); n != 0 || held != 0 {
			c.p.reach.close()
			if n, held = c.vm.errands.Load(), c.vm.held.Load(); n != 0 || held != 0 {
				t.Errorf("%d calls are under way, %d bytes held", n, held)
			}
		}
	})
	c.sh = c.vm.shards[0].Load()
	for _, f := range append(callFunctions, grpcFunctions...) {
		var err error
		if c.fns[f.Name], err = c.sh.in.Func("call " + f.Name); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// lent is a filter that is there to leave with its plan.
type lent struct{ leave func() }

func (lent) Request(*exchange.Exchange, int) (filter.Verdict, error) { return filter.Continue, nil }
func (lent) Response(*exchange.Exchange, int, bool) (filter.Verdict, error) {
	return filter.Continue, nil
}
func (l lent) Close() error { l.leave(); return nil }

const callYAML = `
version: 1
listeners: [{address: "127.0.0.1:0"}]
access_log: {output: "off"}
upstreams:
  a: {endpoints: ["http://${A}"]}
  b: {endpoints: ["http://${B}"], protocol: h2}
  other: {endpoints: ["http://${A}"]}
routes:
  - {name: all, match: {path: /*}, auth: none, upstream: a}
`

// within starts a node whose plans the guest's plugin is in. a and b are the addresses of the upstreams.
func (c *caller) within(yaml, a, b string) *coretest.Rig {
	c.t.Helper()
	kind := filter.Kind{Name: "lends", Build: func(p filter.Place) ([]filter.Placed, error) {
		return []filter.Placed{{Name: "lends", Slot: filter.Upstream, Filter: lent{c.p.Join(p.Upstreams)}}}, nil
	}}
	if b == "" {
		b = a
	}
	return coretest.Start(c.t, yaml, nil, coretest.Options{Kinds: []filter.Kind{kind}, Env: map[string]string{"A": a, "B": b}})
}

// call calls a host function as the guest's root context.
func (c *caller) call(name string, args ...uint64) status {
	c.t.Helper()
	c.sh.mu.Lock()
	defer c.sh.mu.Unlock()
	return c.callLocked(name, args...)
}

func (c *caller) callLocked(name string, args ...uint64) status {
	c.t.Helper()
	var stack [16]uint64
	copy(stack[:], args)
	c.sh.eff = &c.sh.rootOf(c.p).scope
	defer func() { c.sh.eff = nil }()
	if err := c.sh.in.Call(c.fns[name], 10*time.Second, stack[:]); err != nil {
		c.t.Fatalf("%s: %v", name, err)
	}
	c.heap = 0
	return status(uint32(stack[0]))
}

// texts puts texts into guest memory and gives their places and lengths. c.sh.mu is held.
func (c *caller) texts(all ...string) (args []uint64) {
	c.t.Helper()
	for _, s := range all {
		at := callArgs + c.heap
		if !c.sh.in.Memory().WriteString(at, s) {
			c.t.Fatal("text too long")
		}
		c.heap += uint32(len(s))
		args = append(args, uint64(at), uint64(len(s)))
	}
	return args
}

const outID = 520

// request is what a guest asks.
type callRequest struct {
	to      string
	head    []string // names and values; nil: GET / of x
	body    string
	trailer []string
	timeout time.Duration
}

var plainHead = []string{":method", "GET", ":path", "/", ":authority", "x"}

// send makes an HTTP call.
func (c *caller) send(r callRequest) (id uint32, st status) {
	c.t.Helper()
	c.sh.mu.Lock()
	defer c.sh.mu.Unlock()
	if r.head == nil {
		r.head = plainHead
	}
	tail := ""
	if r.trailer != nil {
		tail = probeMap(r.trailer...)
	}
	args := append(c.texts(r.to, probeMap(r.head...), r.body, tail), uint64(r.timeout/time.Millisecond), outID)
	st = c.callLocked("proxy_http_call", args...)
	id, _ = c.sh.in.Memory().Uint32(outID)
	return id, st
}

// must is send that is accepted.
func (c *caller) must(r callRequest) uint32 {
	c.t.Helper()
	id, st := c.send(r)
	if st != statusOK {
		c.t.Fatalf("the call was not made: %d\n%s", st, c.log)
	}
	return id
}

// count is how many notes the guest has made.
func (c *caller) count() int {
	c.sh.mu.Lock()
	defer c.sh.mu.Unlock()
	if c.sh.dead != nil {
		return 0
	}
	n, _ := c.sh.in.Memory().Uint32(noteCount)
	return int(n)
}

// told waits for note number i, from 0.
func (c *caller) told(i int) (n note) {
	c.t.Helper()
	coretest.Eventually(c.t, fmt.Sprintf("note %d", i), func() bool { return c.count() > i })
	c.sh.mu.Lock()
	defer c.sh.mu.Unlock()
	mem := c.sh.in.Memory()
	u := func(off uint32) uint32 { v, _ := mem.Uint32(noteAt + uint32(i%notesMost)*128 + off); return v }
	text := func(off uint32) string {
		b, _ := mem.Read(u(off), u(off+4))
		return string(b)
	}
	n = note{kind: u(0), id: u(8), args: [3]uint32{u(12), u(16), u(20)}, code: u(56)}
	n.head, n.body, n.tail, n.text = probePairs(c.t, text(32)), text(40), probePairs(c.t, text(48)), text(60)
	if root := u(4); root != c.sh.rootOf(c.p).id {
		c.t.Errorf("told the context %d", root)
	}
	return n
}

// answered waits for note i, which is the answer to a call.
func (c *caller) answered(i int, id uint32) note {
	c.t.Helper()
	n := c.told(i)
	if n.kind != noteHTTP || n.id != id {
		c.t.Fatalf("note %d is of call %d, want %d: %v", i, n.id, id, n)
	}
	return n
}

func (c *caller) want(what, have, want string) {
	c.t.Helper()
	if have != want {
		c.t.Errorf("%s\nhave %s\nwant %s", what, have, want)
	}
}

// over waits until no call is under way, so that nothing can be told any more.
func (c *caller) over() {
	c.t.Helper()
	coretest.Eventually(c.t, "no call under way", func() bool { return c.vm.errands.Load() == 0 })
}

// raw is an upstream that answers every request with the text that its path asks for.
func raw(t testing.TB, answer func(c *coretest.Client, head string) (again bool)) string {
	return coretest.StartRaw(t, func(c *coretest.Client) {
		for head := c.Head(); head != "" && answer(c, head); head = c.Head() {
		}
	}).Address()
}

func closedPort(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// said is one line of a log.
func said(log *coretest.Buffer, text string) int { return strings.Count(log.String(), text) }

// large is the size of a hammer: small in the suite.
func hammer(short, long int) int {
	if os.Getenv("WEIR_LONG") != "" {
		return long
	}
	return short
}

// gate counts how many are inside, and lets them go when it opens: release is deferred, for upstreams wait for it.
type gate struct {
	in   atomic.Int64
	open chan struct{}
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) wait() {
	g.in.Add(1)
	<-g.open
}

func (g *gate) release() {
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}
