package httpabi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wasm/asm"
)

func openError(t *testing.T, code []byte, change ...func(*Options)) string {
	t.Helper()
	o := Options{Name: "test", Start: 50 * time.Millisecond}
	for _, c := range change {
		c(&o)
	}
	f, err := Open(context.Background(), engine(), code, o)
	if err == nil {
		_ = f.Close()
		t.Fatal("accepted")
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("not one line: %v", err)
	}
	return err.Error()
}

// What a guest imports in vain does not keep it from serving: it fails when it is called.
func TestImportsInVain(t *testing.T) {
	p := newProgram()
	launch := p.Import("env", "launch", nil, nil)
	p.Import("env", "proxy_log", asm.T(asm.I32), nil)
	flt := open(t, p.build(next, armed(p, asm.Call(launch))))
	x := ask(t, "GET", "/", "armed: 1")
	request(t, flt, x, filter.Continue)
	reply(x, 200, "")
	if _, err := flt.Response(x, 0, false); err == nil || !strings.Contains(err.Error(), "env.launch is not there") {
		t.Error(err)
	}
}

func TestOpenErrors(t *testing.T) {
	eq(t, "empty", openError(t, nil), "not a WebAssembly module: it is empty")
	eq(t, "text", openError(t, []byte("(module)")), "not a WebAssembly module: it is WebAssembly text (.wat): wat2wasm makes a module of it")
	eq(t, "no exports", openError(t, (&asm.Module{}).Bytes()),
		"the module does not export memory, handle_request() → (i64), handle_response(i32, i32) → (): is it an http-wasm filter?")
	m := &asm.Module{}
	m.Memory(1, 1)
	m.Export("memory", 2, 0)
	m.Export("handle_request", 0, m.Func(nil, asm.T(asm.I32), nil, num(1)))
	m.Export("handle_response", 0, m.Func(asm.T(asm.I32, asm.I32), nil, nil))
	eq(t, "types", openError(t, m.Bytes()), "the module exports handle_request with another type than () → (i64)")

	m = &asm.Module{}
	m.Export("proxy_abi_version_0_2_1", 0, m.Func(nil, nil, nil))
	eq(t, "proxy-wasm", openError(t, m.Bytes()), "it is a Proxy-Wasm filter, not one of http-wasm")

	truncated := newProgram().build(next, nil)
	if s := openError(t, truncated[:len(truncated)-3]); !strings.Contains(s, "read module") && !strings.Contains(s, "does not export") {
		t.Error(s)
	}
	for i := range len(truncated) { // never a panic
		_ = lacking(abi.Scan(append(bytes.Clone(truncated[:max(i, 8)]), 0xff)))
	}

	start := func(code ...[]byte) []byte {
		p := newProgram()
		p.Start(p.Func(nil, nil, nil, code...))
		return p.build(next, nil)
	}
	for name, code := range map[string][]byte{
		"unreachable": start(asm.Unreachable), "cpu budget spent": start(spin),
		"memory starts with": func() []byte { p := newProgram(); return p.build(next, nil) }(),
	} {
		var o []func(*Options)
		if strings.HasPrefix(name, "memory") {
			o = append(o, func(o *Options) { o.Memory = 65536 })
		}
		if s := openError(t, code, o...); !strings.Contains(s, name) {
			t.Errorf("have %q, want %q in it", s, name)
		}
	}
	p := newProgram()
	eq(t, "canary", openError(t, p.build(asm.Cat(asm.Unreachable), nil)), "it failed on a request made up to try it: unreachable")
	p = newProgram()
	eq(t, "canary", openError(t, p.build(next, spin)), "it failed on a request made up to try it: cpu budget spent: start gives it "+"50ms")
}

// armed runs code in handle_request (or in handle_response) of requests that say so.
func armed(p *program, code []byte) []byte {
	return asm.Cat(p.call("get_header_values", num(0), p.text("armed"), num(0), num(0)), wrap, asm.If(asm.None, code))
}

func TestTrapKinds(t *testing.T) {
	f := func(kind string, want error, code ...[]byte) {
		t.Helper()
		for _, phase := range []string{"request", "response"} {
			t.Run(kind+" in "+phase, func(t *testing.T) {
				p := newProgram()
				rec := p.Next()
				p.Func(nil, nil, nil, asm.Call(rec)) // calls itself
				body := asm.Cat(code...)
				if kind == "depth" {
					body = asm.Call(rec)
				}
				var b []byte
				if phase == "request" {
					b = p.build(asm.Cat(armed(p, body), next), nil)
				} else {
					b = p.build(next, armed(p, body))
				}
				var log bytes.Buffer
				flt := open(t, b, logged(&log), func(o *Options) { o.CPU, o.CPUTotal = 100*time.Millisecond, 100*time.Millisecond })
				x := ask(t, "GET", "/", "armed: 1")
				_, err := flt.Request(x, 0)
				if phase == "response" {
					if err != nil {
						t.Fatal(err)
					}
					reply(x, 200, "")
					_, err = flt.Response(x, 0, false)
				}
				if fault.KindOf(err) != fault.GuestFailed || want != nil && !errors.Is(err, want) {
					t.Fatal(err)
				}
				s := flt.Stats()
				if s.Errors[kind] != 1 || s.Stock.Discards != 1 || s.Stock.InUse != 0 || x.Slots[0] != nil {
					t.Errorf("%+v", s)
				}
				if !strings.Contains(log.String(), `"filter":"test"`) || strings.Count(log.String(), "\n") != 1 {
					t.Error(log.String())
				}
				// Others are served by another instance.
				y := ask(t, "GET", "/")
				request(t, flt, y, filter.Continue)
				reply(y, 200, "")
				response(t, flt, y, false)
			})
		}
	}
	f("trap", nil, asm.Unreachable)
	f("budget", wasm.ErrBudget, spin)
	f("depth", wasm.ErrDepth)
	f("memory", wasm.ErrMemory, grow, asm.Unreachable)
}

// All calls for one exchange have one budget together.
func TestTotalBudget(t *testing.T) {
	flt := both(t, func(p *program) []byte {
		spend := asm.Loop(asm.None, asm.GlobalGet(0), num(1), asm.Sub32, asm.GlobalSet(0), asm.GlobalGet(0), asm.BrIf(0))
		p.Global(asm.I32, true, num(0))
		return asm.Cat(armed(p, asm.Cat(num(1<<20), asm.GlobalSet(0), spend)), next)
	}, func(p *program) []byte { return armed(p, spin) }, func(o *Options) { o.CPU, o.CPUTotal = 20*time.Millisecond, 21*time.Millisecond })
	x := ask(t, "GET", "/", "armed: 1")
	request(t, flt, x, filter.Continue)
	g := x.Slots[0].(*guest)
	spent := g.in.CPU() - g.cpu
	reply(x, 200, "")
	if _, err := flt.Response(x, 0, false); !errors.Is(err, wasm.ErrBudget) {
		t.Fatal(err)
	}
	if spent <= 0 {
		t.Error("the first call was not charged")
	}
	g.cpu, g.f = 0, flt
	if err := (&guest{f: flt}).callResponse(0, false); err != wasm.ErrBudget {
		t.Error(err)
	}
}

// Waiting for the client is not the guest's time.
func TestSlowClient(t *testing.T) {
	flt := one(t, func(p *program) []byte { return asm.Cat(enable(p, 1), readAll(p, 0, 100), next) }, func(o *Options) { o.CPU, o.CPUTotal = 2*time.Millisecond, 2*time.Millisecond })
	x := ask(t, "POST", "/")
	x.Request.Body.Init(3, &slow{left: 3})
	request(t, flt, x, filter.Continue)
	reply(x, 200, "")
	response(t, flt, x, false)
}

type slow struct{ left int }

func (s *slow) Read(p []byte) (int, error) {
	end := time.Now().Add(4 * time.Millisecond) // busy, so that it shows on the thread's clock
	for time.Now().Before(end) {
	}
	if s.left--; s.left < 0 {
		return 0, fault.New(fault.Internal, "read past the end")
	}
	p[0] = 'x'
	if s.left == 0 {
		return 1, io.EOF
	}
	return 1, nil
}

func (*slow) Whole() bool { return false }

func TestBusy(t *testing.T) {
	flt := both(t, pass, nothing, func(o *Options) { o.Instances, o.Wait = 1, 5*time.Millisecond })
	x, y := ask(t, "GET", "/"), ask(t, "GET", "/")
	request(t, flt, x, filter.Continue)
	if _, err := flt.Request(y, 0); fault.KindOf(err) != fault.GuestBusy {
		t.Fatal(err)
	}
	reply(x, 200, "")
	response(t, flt, x, false)
	request(t, flt, y, filter.Continue)
	reply(y, 200, "")
	response(t, flt, y, false)
	if s := flt.Stats(); s.Errors["busy"] != 1 || s.Stopped {
		t.Errorf("%+v", s)
	}
}

// A filter that keeps failing is not called any more, until one call shows that it works.
func TestStopped(t *testing.T) {
	flt := both(t, func(p *program) []byte { return asm.Cat(armed(p, asm.Unreachable), next) }, nothing)
	for i := range 3 * 5 {
		_, err := flt.Request(ask(t, "GET", "/", "armed: 1"), 0)
		if stopped := err == errStopped; stopped != (i >= 5) {
			t.Fatal(i, err)
		}
	}
	s := flt.Stats()
	if !s.Stopped || s.Errors["stopped"] != 2*5 || s.Stock.Discards != 5 {
		t.Errorf("%+v", s)
	}
	flt.breaker.Retry() // the pause is over
	x := ask(t, "GET", "/")
	request(t, flt, x, filter.Continue)
	if _, err := flt.Request(ask(t, "GET", "/"), 0); err != errStopped {
		t.Error("two trials at once:", err)
	}
	reply(x, 200, "")
	response(t, flt, x, false)
	if flt.Stats().Stopped {
		t.Error("still stopped")
	}
	// A trial that fails in handle_response fails.
	bad := both(t, pass, func(p *program) []byte { return armed(p, asm.Unreachable) })
	bad.breaker.Retry()
	x = ask(t, "GET", "/", "armed: 1")
	request(t, bad, x, filter.Continue)
	reply(x, 200, "")
	if _, err := bad.Response(x, 0, false); err == nil {
		t.Fatal("no trap")
	}
	if ok, _ := bad.breaker.Allow(); ok || !bad.breaker.Open() {
		t.Error("the trial that failed was forgotten")
	}
}

func TestStartFails(t *testing.T) {
	p := newProgram()
	n := p.Global(asm.I32, true, num(0))
	_ = n
	flt := open(t, p.build(asm.Cat(armed(p, asm.Unreachable), next), nil))
	_ = flt.module.Close() // instances can't be made any more
	if _, err := flt.Request(ask(t, "GET", "/", "armed: 1"), 0); err == nil {
		t.Fatal("no trap")
	}
	if _, err := flt.Request(ask(t, "GET", "/"), 0); fault.KindOf(err) != fault.GuestFailed {
		t.Fatal(err)
	}
	if s := flt.Stats(); s.Errors["start"] != 1 {
		t.Errorf("%+v", s)
	}
}

func TestLog(t *testing.T) {
	var out bytes.Buffer
	flt := one(t, func(p *program) []byte {
		code := asm.Cat()
		for _, level := range []int32{-1, 0, 1, 2, 3, 4, -2} {
			code = asm.Cat(code, p.call("log", num(level), p.text(fmt.Sprintf("level %d", level))))
		}
		enabled := asm.Cat()
		for i, level := range []int32{-1, 0, 1, 2, 3} {
			enabled = asm.Cat(enabled, num(buffer+int32(i)), p.call("log_enabled", num(level)), num('0'), asm.Add32, asm.Op(0x3a, 0, 0))
		}
		return asm.Cat(armed(p, code), enabled, p.say(num(5)), stop)
	}, logged(&out))
	eq(t, "enabled", said(t, flt, ask(t, "GET", "/", "armed: 1")), "01110")
	eq(t, "lines", out.String(), `{"level":"info","filter":"test","request_id":"id-1","message":"level 0"}
{"level":"warn","filter":"test","request_id":"id-1","message":"level 1"}
{"level":"error","filter":"test","request_id":"id-1","message":"level 2"}
`)
}

func TestLogFlood(t *testing.T) {
	var out bytes.Buffer
	flt := one(t, func(p *program) []byte {
		n := p.Global(asm.I32, true, num(0))
		line := asm.Cat(p.call("log", num(0), num(buffer), num(20000)), asm.GlobalGet(n), num(1), asm.Sub32, asm.GlobalSet(n))
		fill := asm.Cat(num(buffer), num('x'), num(20000), asm.MemoryFill)
		return asm.Cat(armed(p, asm.Cat(fill, num(1000), asm.GlobalSet(n), asm.Loop(asm.None, line, asm.GlobalGet(n), asm.BrIf(0)))), stop)
	}, logged(&out), func(o *Options) { o.CPU, o.CPUTotal = time.Second, time.Second })
	for range 8 {
		request(t, flt, ask(t, "GET", "/", "armed: 1"), filter.Respond)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) > 2*abi.LinesPerSecond+2 || len(lines) < abi.LinesPerExchange {
		t.Errorf("%d lines", len(lines))
	}
	for _, l := range lines {
		if len(l) > abi.MaxLine+200 {
			t.Errorf("a line of %d bytes", len(l))
		}
	}
	if n := flt.Stats().LinesDropped; n < 7000 {
		t.Errorf("%d dropped", n)
	}
	time.Sleep(time.Second) // the log tells once a second
	flt.journal.Output(2, []byte("panic"))
	flt.journal.Output(1, nil)
	if !strings.Contains(out.String(), "lines dropped") || !strings.HasSuffix(out.String(), `"message":"panic"}`+"\n") {
		t.Error("nothing tells of the lines dropped")
	}
}

// Many exchanges at once, some of which trap, some of whose clients leave.
func TestHammer(t *testing.T) {
	flt := both(t, func(p *program) []byte { return asm.Cat(armed(p, asm.Unreachable), p.set(0, "x-a", "1"), next) },
		func(p *program) []byte { return p.set(1, "x-b", "1") }, func(o *Options) { o.Instances = 3 })
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 300 {
				x := exchange.Acquire()
				x.Request.Method, x.Request.Target, x.Request.Path = []byte("GET"), slash, slash
				if (i+j)%97 == 0 {
					x.Request.Header.AddString("armed", slash)
				}
				if v, err := flt.Request(x, 1); err == nil && v == filter.Continue && j%3 > 0 {
					x.Response.Status = 200
					if _, err := flt.Response(x, 1, false); err == nil && string(x.Response.Header.Get("x-b")) != "1" {
						t.Error("another's answer")
					}
				}
				exchange.Release(x)
			}
		})
	}
	wg.Wait()
	if s := flt.Stats(); s.Stock.InUse != 0 || s.Stock.Live > 3 || s.MemoryHigh != 2*65536 || flt.Instances() != float64(s.Stock.Live) || flt.Memory() != flt.Instances()*2*65536 {
		t.Errorf("%+v", s)
	}
}
