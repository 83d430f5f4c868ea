package proxyabi

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// armed traps if the request has a header called armed.
func armed(p *program, trap []byte) []byte {
	return asm.Cat(num(mapRequestHeaders), p.text("armed"), num(outAt), num(outAt+4), asm.Call(p.at["proxy_get_header_map_value"]),
		asm.Eqz32, asm.If(asm.None, trap))
}

func arm(x *exchange.Exchange) *exchange.Exchange {
	x.Request.Header.AddString("armed", []byte("1"))
	return x
}

// A trap ends the shard that it happens in, and every stream of it: the one that trapped by the guest's error, the others by
// their on_error. The spare takes its place at once, and another spare is built.
func TestTrapEndsShard(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_request_headers", armed(p, asm.Unreachable), num(0))
	p.on("proxy_on_response_headers", num(1))
	vm, pl := open(t, p, Options{}, PluginOptions{})
	f := at(t, pl, Site{})
	passed, parked := ask(t, 0), ask(t, 0)
	request(t, f, passed, filter.Continue)
	request(t, f, parked, filter.Continue)
	answer(parked, 0)
	var woken sync.WaitGroup
	woken.Go(func() {
		if v, err := f.Response(parked, 0, false); v != filter.Continue || err != errFallen {
			t.Error(v, err)
		}
	})
	coretest.Eventually(t, "the shard to settle", func() bool { return vm.paused.Load() == 1 })
	bad := arm(ask(t, 0))
	if v, err := f.Request(bad, 0); v != filter.Continue || fault.KindOf(err) != fault.GuestFailed || err == errFallen {
		t.Fatal(v, err)
	}
	woken.Wait()
	answer(passed, 0)
	if v, err := f.Response(passed, 0, false); v != filter.Continue || err != errFallen {
		t.Error(v, err)
	}
	if v, err := f.Response(passed, 0, false); v != filter.Continue || err != nil {
		t.Error("told twice:", v, err)
	}
	// The spare serves.
	x := ask(t, 0)
	request(t, f, x, filter.Continue)
	coretest.Eventually(t, "the shard to settle", func() bool { vm.mu.Lock(); defer vm.mu.Unlock(); return vm.spare != nil })
	for _, x := range []*exchange.Exchange{passed, parked, bad, x} {
		exchange.Release(x)
	}
	coretest.Eventually(t, "the shard to settle", func() bool { vm.mu.Lock(); defer vm.mu.Unlock(); return len(vm.retired) == 0 })
	s := pl.Status()
	if s.Failures["trap"] != 1 || s.Instances.Discarded != 1 || s.Instances.Live != 2 || s.Last == nil || s.State != filter.StateServing {
		t.Errorf("%+v", s)
	}
}

// A filter that keeps failing is not called any more, until one call shows that it works.
func TestStopped(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_request_headers", armed(p, asm.Unreachable), num(0))
	vm, pl := open(t, p, Options{}, PluginOptions{})
	f := at(t, pl, Site{})
	traps := int64(0)
	for vm.failures.Count(abi.FailedTrap) < 5 {
		x := arm(ask(t, 0))
		_, err := f.Request(x, 0)
		exchange.Release(x)
		if err == nil {
			t.Fatal("no trap")
		}
		traps++
	}
	x := ask(t, 0)
	if _, err := f.Request(x, 0); err != errStopped {
		t.Error(err)
	}
	exchange.Release(x)
	if s := pl.Status(); s.State != filter.StateStopped || s.Until == nil || s.Reason == "" {
		t.Errorf("%+v", s)
	}
	coretest.Eventually(t, "the shard to settle", func() bool { n, _ := vm.instances(); return n == 2 })
	vm.breaker.Retry()
	x = ask(t, 0)
	request(t, f, x, filter.Continue)
	y := ask(t, 0)
	if _, err := f.Request(y, 0); err != errStopped {
		t.Error("two trials at once:", err)
	}
	exchange.Release(y)
	answer(x, 0)
	response(t, f, x, filter.Continue)
	exchange.Release(x)
	if vm.breaker.Open() {
		t.Error("still stopped")
	}
}

// What a guest is refused or does wrong at its start keeps it from being loaded, with the reason.
func TestStart(t *testing.T) {
	f := func(p *program, want string) {
		t.Helper()
		_, _, err := Open(context.Background(), engine, p.build(), Options{Name: "guest", Shards: 1, Start: 50 * time.Millisecond}, PluginOptions{Name: "guest"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	f(newProgram().on("proxy_on_vm_start", num(0)), "proxy_on_vm_start answered false")
	f(newProgram().on("proxy_on_configure", num(0)), "refuses its configuration")
	f(newProgram().on("proxy_on_vm_start", asm.Unreachable), "run proxy_on_vm_start: guest trapped: unreachable")
	f(newProgram().on("proxy_on_configure", asm.Loop(asm.None, asm.Br(0)), num(1)), "cpu budget spent")
	f(newProgram().on("proxy_on_context_create", asm.Unreachable), "run proxy_on_context_create")
	f(newProgram().on("proxy_on_request_headers", asm.Unreachable), "it failed on a request made up to try it: unreachable")
	f(newProgram().on("proxy_on_response_headers", asm.Unreachable), "it failed on a request made up to try it: unreachable")
	f(newProgram().on("proxy_on_log", asm.Unreachable), "it failed on a request made up to try it: unreachable")
}

// An instance that was built while no plugin was there is started with the first one that comes: guests make in
// proxy_on_vm_start what they configure.
func TestStartLate(t *testing.T) {
	p := newProgram()
	n := p.m.Global(asm.I32, true, num(0))
	p.on("proxy_on_vm_start", asm.GlobalGet(n), num(1), asm.Add32, asm.GlobalSet(n), num(1))
	p.on("proxy_on_configure", asm.GlobalGet(n), num(1), asm.Sub32, asm.If(asm.None, asm.Unreachable), num(1))
	vm, first := open(t, p, Options{}, PluginOptions{})
	second, err := vm.Add(PluginOptions{Name: "second"})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	sh, err := vm.newShard(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	defer sh.end()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i, pl := range []*Plugin{second, first} {
		if err := sh.configure(pl); err != nil {
			t.Error(err)
		}
		if r := sh.rootOf(pl); r == nil || r.id != uint32(i+1) {
			t.Errorf("root %d: %+v", i+1, r)
		}
	}
}

// Paused for too long, cancelled, or with its client gone: a stream that is parked ends with why.
func TestParked(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_request_headers", num(1))
	vm, pl := open(t, p, Options{Pause: 20 * time.Millisecond}, PluginOptions{})
	f := at(t, pl, Site{})
	x := ask(t, 0)
	if v, err := f.Request(x, 0); v != filter.Continue || err != errPaused {
		t.Error(v, err)
	}
	exchange.Release(x)
	if vm.failures.Count(abi.FailedPause) != 1 {
		t.Error("not counted")
	}
	vm.o.Pause = time.Minute
	gone := fault.New(fault.ClientGone, "gone")
	for _, early := range []bool{false, true} {
		x = ask(t, 0)
		h := x.Handle()
		if early {
			h.Cancel(gone)
		} else {
			go func() {
				for vm.paused.Load() == 0 {
					time.Sleep(time.Millisecond)
				}
				h.Cancel(gone)
			}()
		}
		if v, err := f.Request(x, 0); v != filter.Continue || err != error(gone) {
			t.Error(v, err)
		}
		exchange.Release(x)
	}
	if vm.paused.Load() != 0 || pl.Status().State != filter.StateServing {
		t.Errorf("%+v", pl.Status())
	}
}

// A guest that wants an exchange reset, or answers it, from a header phase.
func TestEndsExchange(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_request_headers", armed(p, asm.Cat(p.host("proxy_close_stream", num(streamRequest)), num(0), asm.Return)),
		p.host("proxy_send_local_response", num(403), p.text(""), p.text("no"), num(0), num(0), num(-1)), num(1))
	p.on("proxy_on_response_headers", p.host("proxy_add_header_map_value", num(mapResponseHeaders), p.text("x-seen"), p.text("1")), num(0))
	_, pl := open(t, p, Options{}, PluginOptions{})
	f := at(t, pl, Site{})
	x := arm(ask(t, 0))
	request(t, f, x, filter.Reset)
	exchange.Release(x)
	x = ask(t, 0)
	request(t, f, x, filter.Reply)
	if x.Response.Status != 403 || !x.Response.Local {
		t.Errorf("%+v", x.Response)
	}
	response(t, f, x, filter.Continue)
	if got, err := pull(&x.Response.Body); got != "no" || err != nil || string(x.Response.Header.Get("x-seen")) != "1" {
		t.Error(got, err)
	}
	exchange.Release(x)
}

// gRPC clients get an answer of a guest in the form that they understand.
func TestAnswersGRPC(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_request_headers", p.host("proxy_send_local_response", num(403), p.text(""), p.text("no, 100 %\n"), num(0), num(0), num(-1)), num(1))
	_, pl := open(t, p, Options{}, PluginOptions{})
	x := ask(t, 0)
	defer exchange.Release(x)
	x.Request.Header.AddString("content-type", []byte("application/grpc+proto"))
	request(t, at(t, pl, Site{}), x, filter.Reply)
	h := &x.Response.Header
	if x.Response.Status != 200 || string(h.Get("grpc-status")) != "7" || string(h.Get("grpc-message")) != "no, 100 %25%0A" {
		t.Errorf("%d %q %q", x.Response.Status, h.Get("grpc-status"), h.Get("grpc-message"))
	}
	if string(h.Get("content-type")) != "application/grpc" || !x.Response.Body.Empty() {
		t.Error("no answer of gRPC")
	}
}

func TestSpeaksRPC(t *testing.T) {
	f := func(in string, want bool) {
		t.Helper()
		if got := speaksRPC([]byte(in)); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
	f("", false)
	f("application/json", false)
	f("application/grpc", true)
	f("Application/gRPC", true)
	f("application/grpc+proto", true)
	f("application/grpc;charset=utf-8", true)
	f("application/grpc-web+proto", false)
	f("application/grpc-web-text", false)
}

// Many exchanges at once over several shards, some of which trap, some of whose clients leave, some paused.
func TestHammer(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_request_headers", armed(p, asm.Unreachable), asm.Get(0), num(1), asm.And32)
	onBody(p, func(k int32) []byte { return ends(asm.Cat(p.set(k, 0, 0, "+"), num(0)), num(1)) })
	p.on("proxy_on_context_create", asm.Get(1), asm.If(asm.None, // a new stream lets the one before go on
		asm.Get(0), num(1), asm.Sub32, asm.Call(p.at["proxy_set_effective_context"]), asm.Drop, p.host("proxy_continue_stream", num(streamRequest))))
	vm, pl := open(t, p, Options{Shards: 3, Pause: 50 * time.Millisecond}, PluginOptions{})
	f := at(t, pl, Site{FailOpen: true})
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 200 {
				x := ask(t, -1, "a", "b")
				if g == 0 && i%20 == 0 {
					arm(x)
				}
				h := x.Handle()
				if i%17 == 0 {
					go h.Cancel(fault.New(fault.ClientGone, "gone"))
				}
				_, err := f.Request(x, 0)
				if err == nil {
					got, err := pull(&x.Request.Body)
					if k := fault.KindOf(err); got != "+ab" && got != "ab" && k != fault.ClientGone {
						t.Errorf("%q %v", got, err)
					}
				} else if k := fault.KindOf(err); k.Source() != fault.Guest && k != fault.ClientGone {
					t.Error(err)
				}
				answer(x, -1, "c")
				if _, err := f.Response(x, 0, false); err == nil {
					_, _ = pull(&x.Response.Body)
				}
				exchange.Release(x)
			}
		})
	}
	all.Wait()
	coretest.Eventually(t, "the shard to settle", func() bool { vm.mu.Lock(); defer vm.mu.Unlock(); return len(vm.retired) == 0 && vm.spare != nil })
	if vm.open.Load() != 0 || vm.paused.Load() != 0 {
		t.Errorf("%+v", pl.Status())
	}
}

// An instance that has become too large is replaced, and ends with its last stream.
func TestWorn(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_request_headers", armed(p, asm.Cat(num(50), asm.MemoryGrow, asm.Drop)), num(0))
	vm, pl := open(t, p, Options{Memory: 64 * 64 << 10}, PluginOptions{})
	f := at(t, pl, Site{})
	first := vm.shards[0].Load()
	long, x := ask(t, 0), arm(ask(t, 0))
	request(t, f, long, filter.Continue)
	request(t, f, x, filter.Continue)
	exchange.Release(x)
	if vm.shards[0].Load() == first {
		t.Fatal("not replaced")
	}
	answer(long, 0)
	response(t, f, long, filter.Continue) // where it began
	exchange.Release(long)
	coretest.Eventually(t, "the shard to settle", func() bool { first.mu.Lock(); defer first.mu.Unlock(); return first.dead != nil })
	if s := pl.Status(); s.Instances.Recycled != 1 || len(s.Failures) != 0 {
		t.Errorf("%+v", s)
	}
	if !errors.Is(first.dead, errEnded) {
		t.Error(first.dead)
	}
}

// Requests that wait for a shard while its guest traps are served by the spare that takes its place.
func TestWaitersMoveToTheSpare(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_request_headers", armed(p, asm.Unreachable), num(0))
	vm, pl := open(t, p, Options{}, PluginOptions{})
	f := at(t, pl, Site{})
	sh := vm.shards[0].Load()
	sh.mu.Lock()
	const n = 8
	var begun, waiters sync.WaitGroup
	begun.Add(n)
	for range n {
		waiters.Go(func() {
			begun.Done()
			x := ask(t, 0)
			if v, err := f.Request(x, 0); v != filter.Continue || err != nil {
				t.Error(v, err)
			}
			exchange.Release(x)
		})
	}
	begun.Wait()
	for range 1000 { // most of them wait by then; those that come later find the spare
		runtime.Gosched()
	}
	bad := arm(ask(t, 0))
	if _, err := f.request(sh, bad, 0, false); err == nil {
		t.Error("no trap")
	}
	waiters.Wait()
	exchange.Release(bad)
	if starts := vm.failures.Count(abi.FailedStart); starts != 0 {
		t.Errorf("%d requests found no instance", starts)
	}
}

// A guest whose memory is nearly used up is replaced again and again, also if nobody else is there when it is.
func TestWornAgainAndAgain(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_request_headers", num(48), asm.MemoryGrow, asm.Drop, num(0))
	vm, pl := open(t, p, Options{Memory: 64 << 16}, PluginOptions{})
	f := at(t, pl, Site{})
	for i := range 5 {
		before := vm.recycled.Load()
		x := ask(t, 0)
		request(t, f, x, filter.Continue)
		exchange.Release(x)
		coretest.Eventually(t, "the worn instance to be replaced and closed", func() bool {
			vm.mu.Lock()
			defer vm.mu.Unlock()
			return vm.recycled.Load() == before+1 && vm.ready() && len(vm.retired) == 0
		})
		if t.Failed() {
			t.Fatalf("round %d", i)
		}
	}
}

// A plugin that is closed while an instance is built is not left in it.
func TestClosedWhileBuilding(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_configure", p.host("proxy_set_tick_period_milliseconds", num(1)), num(1))
	vm, first := open(t, p, Options{}, PluginOptions{})
	second, err := vm.Add(PluginOptions{Name: "second"})
	if err != nil {
		t.Fatal(err)
	}
	sh, err := vm.newShard([]*Plugin{first, second}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := vm.admit(sh); err != nil {
		t.Fatal(err)
	}
	vm.mu.Lock()
	all := vm.living()
	vm.mu.Unlock()
	for _, s := range all {
		s.mu.Lock()
		if n := len(s.roots); n != 1 || s.rootOf(first) == nil {
			t.Errorf("%d roots", n)
		}
		s.mu.Unlock()
	}
}

// An instance that was built while no plugin was there is started with the first that comes.
func TestStartedWithTheFirstThatComes(t *testing.T) {
	p := newProgram()
	started := p.m.Global(asm.I32, true, num(0))
	p.on("proxy_on_vm_start", num(1), asm.GlobalSet(started), num(1))
	p.on("proxy_on_configure", asm.GlobalGet(started))
	vm, first := open(t, p, Options{}, PluginOptions{})
	sh, err := vm.newShard(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	defer sh.end()
	sh.mu.Lock()
	err = sh.configure(first)
	sh.mu.Unlock()
	if err != nil {
		t.Error("configured before it was started:", err)
	}
}

// Shards are replaced, plugins come and go, requests pass, and the VM is closed in the midst of it: nothing is left, nothing hangs.
func TestPluginsComeAndGoWhileShardsDie(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_request_headers", armed(p, asm.Unreachable), num(0))
	code := p.build()
	for range 3 {
		vm, pl, err := Open(context.Background(), engine, code, Options{Name: "guest", Shards: 2}, PluginOptions{Name: "guest"})
		if err != nil {
			t.Fatal(err)
		}
		f := at(t, pl, Site{})
		var all sync.WaitGroup
		until := time.Now().Add(100 * time.Millisecond)
		for i := range 4 {
			all.Go(func() {
				for n := 0; time.Now().Before(until); n++ {
					x := ask(t, 0)
					if i == 0 && n%50 == 0 {
						arm(x)
					}
					if _, err := f.Request(x, 0); err == nil {
						answer(x, 0)
						_, _ = f.Response(x, 0, false)
					}
					exchange.Release(x)
					if vm.breaker.Open() {
						vm.breaker.Retry()
					}
				}
			})
		}
		all.Go(func() {
			for time.Now().Before(until) {
				q, err := vm.Add(PluginOptions{Name: "second"})
				if err != nil {
					t.Error(err)
					return
				}
				_ = q.Close()
			}
		})
		all.Wait()
		if err := pl.Close(); err != nil {
			t.Error(err)
		}
		if err := vm.Close(); err != nil {
			t.Error(err)
		}
		if n := vm.open.Load(); n != 0 {
			t.Errorf("%d streams are open", n)
		}
	}
}
