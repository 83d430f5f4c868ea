package proxyabi

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// asks is the code of a call to upstream a, without its status.
func (p *program) asks() []byte {
	return p.host("proxy_http_call", p.text("a"), p.text(probeMap(plainHead...)), p.text(""), p.text(""), num(0), num(outID))
}

// authority is a guest that asks upstream a about every request and lets it pass if the answer has no body. It notes the
// status that acting for the request gave at 700.
func authority() *program {
	p := newProgram()
	ctx := p.m.Global(asm.I32, true, num(0))
	p.on("proxy_on_request_headers", asm.Get(0), asm.GlobalSet(ctx), p.asks(), num(actionStopAll))
	p.on("proxy_on_http_call_response",
		num(700), p.call("proxy_set_effective_context", asm.GlobalGet(ctx)), store32,
		asm.Get(3), asm.IfElse(asm.None,
			p.host("proxy_send_local_response", num(403), p.text(""), p.text("no"), p.text(""), num(-1)),
			p.host("proxy_continue_stream", num(streamRequest))))
	return p
}

// TestCallStream: a request waits for what another upstream says of it.
func TestCallStream(t *testing.T) {
	vm, pl := open(t, authority(), Options{CPU: 2 * time.Second}, PluginOptions{Calls: []string{"a"}})
	c := &caller{t: t, vm: vm, p: pl, sh: vm.shards[0].Load()}
	f := at(t, pl, Site{})
	var body atomic.Value
	body.Store("")
	g := newGate()
	defer g.release()
	c.within(callYAML, raw(t, func(u *coretest.Client, _ string) bool {
		if s := body.Load().(string); s != "wait" {
			u.Send("HTTP/1.1 200 OK\r\nContent-Length: " + string(rune('0'+len(s))) + "\r\n\r\n" + s)
			return true
		}
		g.wait()
		u.Send(answerEmpty)
		return true
	}), "")
	x := ask(t, 0)
	request(t, f, x, filter.Continue)
	exchange.Release(x)
	body.Store("forbidden")
	x = ask(t, 0)
	request(t, f, x, filter.Reply)
	if text, _ := pull(&x.Response.Body); x.Response.Status != 403 || text != "no" {
		t.Error(x.Response.Status, text)
	}
	exchange.Release(x)
	// The client goes. What was asked for it is still told, and that the request is no more.
	body.Store("wait")
	x = ask(t, 0)
	h := x.Handle()
	go func() {
		for g.in.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		h.Cancel(fault.New(fault.ClientGone, "gone"))
	}()
	if _, err := f.Request(x, 0); fault.KindOf(err) != fault.ClientGone {
		t.Error(err)
	}
	exchange.Release(x)
	g.release()
	c.over()
	c.sh.mu.Lock()
	defer c.sh.mu.Unlock()
	if st, _ := c.sh.in.Memory().Uint32(700); status(st) != statusBadArgument || c.sh.dead != nil {
		t.Error(st, c.sh.dead)
	}
}

// TestCallDeaths: guests that die again and again of what they are told, while they ask and plans come and go.
func TestCallDeaths(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_tick", p.asks())
	p.on("proxy_on_http_call_response", asm.Get(3), asm.If(asm.None, asm.Unreachable))
	vm, pl := open(t, p, Options{CPU: 2 * time.Second, Shards: 2}, PluginOptions{Calls: []string{"a"}})
	c := &caller{t: t, vm: vm, p: pl}
	var n atomic.Int64
	r := c.within(callYAML, raw(t, func(u *coretest.Client, _ string) bool {
		if n.Add(1)%20 == 0 {
			u.Send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ndie")
			return true
		}
		u.Send(answerEmpty)
		return true
	}), "")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range vm.shards {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				sh := vm.shards[i].Load()
				sh.mu.Lock()
				if root := sh.rootOf(pl); sh.dead == nil && root != nil {
					_, _ = sh.enter(&root.scope, sh.fn.tick, time.Second, uint64(root.id))
				}
				sh.mu.Unlock()
			}
		})
	}
	died := int64(hammer(3, 50))
	for i := 0; vm.gone.Load() < died; i++ {
		r.Write(strings.Replace(callYAML, "{name: all", "{timeout: "+time.Duration(i+1).String()+", name: all", 1))
		if err := r.Node.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	coretest.Eventually(t, "no call under way", func() bool { return vm.errands.Load() == 0 && vm.held.Load() == 0 })
}

// TestGRPCHammer: calls and streams, cancelled and not, while plans come and go.
func TestGRPCHammer(t *testing.T) {
	c := newCaller(t)
	_, address := startTalker(t)
	r := c.within(callYAML, closedPort(t), address)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, st := c.rpc("b", "One", "x", 0); st != statusOK && st != statusInternalFailure {
				t.Errorf("call: %d", st)
				return
			}
			if c.vm.errands.Load() > maxErrands-2 {
				continue
			}
			id := c.stream("Both")
			for _, end := range []bool{false, i%3 == 0} {
				if st := c.sendRPC(id, "x", end); st != statusOK && st != statusNotFound {
					t.Errorf("send: %d", st)
				}
			}
			if i%3 != 0 {
				c.call([]string{"proxy_grpc_cancel", "proxy_grpc_close"}[i%2], uint64(id))
			}
		}
	})
	for i := range hammer(20, 500) {
		r.Write(strings.Replace(callYAML, "{name: all", "{timeout: "+time.Duration(i+1).String()+", name: all", 1))
		if err := r.Node.Reload(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	c.over()
	if c.sh.dead != nil || c.vm.held.Load() != 0 {
		t.Error(c.sh.dead, c.vm.held.Load())
	}
}

// TestGRPCCanary: what a filter does with streams while it is tried is taken, and goes nowhere.
func TestGRPCCanary(t *testing.T) {
	p := callerProgram()
	ok := func(code []byte) []byte { return asm.Cat(code, asm.If(asm.None, asm.Unreachable)) }
	open := func() []byte {
		return ok(p.call("proxy_grpc_stream", p.text("b"), p.text("s"), p.text("m"), p.text(""), num(outID)))
	}
	p.on("proxy_on_request_headers", open(),
		ok(p.call("proxy_grpc_send", load32(outID), p.text("hello"), num(0))),
		ok(p.call("proxy_grpc_close", load32(outID))),
		ok(p.call("proxy_grpc_cancel", load32(outID))),
		open(), ok(p.call("proxy_grpc_send", load32(outID), p.text("hello"), num(1))),
		ok(p.call("proxy_grpc_call", p.text("b"), p.text("s"), p.text("m"), p.text(""), p.text("x"), num(0), num(outID))),
		num(0))
	c := newCallerOf(t, p)
	if n, held := c.vm.errands.Load(), c.vm.held.Load(); n != 0 || held != 0 {
		t.Errorf("%d calls, %d bytes", n, held)
	}
}
