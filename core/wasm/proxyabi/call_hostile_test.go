package proxyabi

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// byPath answers as the path says: "" is the end of the connection with a reset.
func byPath(t testing.TB, answers map[string]func(u *coretest.Client)) string {
	return raw(t, func(u *coretest.Client, head string) bool {
		path := strings.Fields(head)[1]
		f := answers[path]
		if f == nil {
			t.Errorf("asked for %s", path)
			return false
		}
		f(u)
		return path == "/"
	})
}

func behave(p string) []string { return []string{":method", "GET", ":path", p, ":authority", "x"} }

// TestCallFails: what guests are told of upstreams that fail, are slow, or worse.
func TestCallFails(t *testing.T) {
	c := newCaller(t)
	silent := newGate()
	defer silent.release()
	text := func(s string) func(*coretest.Client) { return func(u *coretest.Client) { u.Send(s) } }
	room := c.vm.room()
	address := byPath(t, map[string]func(*coretest.Client){
		"/":        text(answerEmpty),
		"/reset":   func(u *coretest.Client) { u.Reset() },
		"/end":     func(u *coretest.Client) {},
		"/part":    text("HTTP/1.1 200 O"),
		"/invalid": text("HTTP/1.1 2000 OK\r\n\r\n"),
		"/smuggle": text("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		"/heads":   text("HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 100) + "\r\n"),
		"/interim": text(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 1000)),
		"/101":     text("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
		"/torn":    func(u *coretest.Client) { u.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"); u.Reset() },
		"/chunk":   text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
		"/long":    text("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"),
		"/whole":   text("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + strings.Repeat("x", room)),
		"/more":    text("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + strings.Repeat("x", room+1)),
		"/silent":  func(*coretest.Client) { silent.wait() },
		"/stuck":   func(u *coretest.Client) { u.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"); silent.wait() },
		"/endless": func(u *coretest.Client) {
			u.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for {
				if _, err := u.Write([]byte("1\r\nx\r\n")); err != nil {
					return
				}
				time.Sleep(time.Millisecond) // slowly, so that the timeout is what ends it
			}
		},
	})
	c.within(callYAML, address, "")
	i := 0
	f := func(path string, timeout time.Duration, want string) {
		t.Helper()
		id := c.must(callRequest{to: "a", head: []string{":method", "POST", ":path", path, ":authority", "x"}, timeout: timeout})
		c.want(path, c.answered(i, id).String(), want)
		i++
	}
	for _, p := range []string{"/reset", "/end", "/part", "/invalid", "/smuggle", "/heads", "/interim", "/101", "/torn", "/chunk", "/long", "/more"} {
		f(p, 0, missed)
	}
	const late = `1 [3 16 0] head ":status=504|content-type=text/plain|content-length=16" body "exchange_timeout" tail "" status 0 ""`
	f("/silent", 50*time.Millisecond, late)
	f("/stuck", 50*time.Millisecond, missed) // an answer had begun
	f("/endless", 50*time.Millisecond, missed)
	f("/", time.Hour, `1 [1 0 0] head ":status=200" body "" tail "" status 0 ""`)
	// An answer as large as may be: the guest's allocator has no room for so much, and is told its size all the same.
	n := c.answered(i, c.must(callRequest{to: "a", head: behave("/whole")}))
	if n.args[1] != uint32(room) {
		t.Error(n)
	}
}

// TestCallConnect: nobody is there.
func TestCallConnect(t *testing.T) {
	c := newCaller(t)
	c.within(callYAML, closedPort(t), "")
	c.want("answer", c.answered(0, c.must(callRequest{to: "a"})).String(),
		`1 [3 14 0] head ":status=503|content-type=text/plain|content-length=14" body "connect_failed" tail "" status 0 ""`)
}

// TestCallFlood: a guest that calls without end has 256 calls under way and no more, and each is answered once.
func TestCallFlood(t *testing.T) {
	c := newCaller(t)
	g := newGate()
	defer g.release()
	c.within(callYAML, raw(t, func(u *coretest.Client, _ string) bool { g.wait(); u.Send(answerEmpty); return true }), "")
	ids := map[uint32]bool{}
	for range maxErrands {
		ids[c.must(callRequest{to: "a"})] = true
	}
	for range 10 {
		if _, st := c.send(callRequest{to: "a"}); st != statusInternalFailure {
			t.Fatalf("one too many: %d", st)
		}
	}
	coretest.Eventually(t, "all are asked", func() bool { return g.in.Load() == maxErrands })
	g.release()
	for i := range maxErrands {
		n := c.told(i)
		if !ids[n.id] || n.args[0] != 1 {
			t.Fatalf("%d: %v", n.id, n)
		}
		delete(ids, n.id)
	}
	c.over()
	c.answered(maxErrands, c.must(callRequest{to: "a"}))
}

// TestCallMemory: what all calls of a VM hold together is bounded, too.
func TestCallMemory(t *testing.T) {
	c := newCaller(t, func(o *Options, _ *PluginOptions) { o.Memory = 8 << 20 })
	g := newGate()
	defer g.release()
	c.within(callYAML, raw(t, func(u *coretest.Client, _ string) bool { g.wait(); return false }), "")
	body := strings.Repeat("x", 1<<20)
	for range 7 {
		c.must(callRequest{to: "a", body: body})
	}
	if _, st := c.send(callRequest{to: "a", body: body}); st != statusInternalFailure {
		t.Errorf("eight mebibytes and their heads, of eight: %d", st)
	}
	c.must(callRequest{to: "a"})
	g.release()
	c.over()
	if held := c.vm.held.Load(); held != 0 {
		t.Errorf("%d bytes are held", held)
	}
}

// TestCallDies: a guest that traps hears nothing of what it asked before, and its calls end.
func TestCallDies(t *testing.T) {
	p := callerProgram()
	p.on("proxy_on_tick", asm.Unreachable)
	c := newCallerOf(t, p)
	g, gone := newGate(), make(chan struct{})
	c.within(callYAML, raw(t, func(u *coretest.Client, _ string) bool {
		g.in.Add(1)
		_, _ = u.Rest()
		close(gone)
		return false
	}), "")
	c.must(callRequest{to: "a"})
	coretest.Eventually(t, "it is asked", func() bool { return g.in.Load() == 1 })
	c.sh.mu.Lock()
	_, err := c.sh.enter(&c.sh.rootOf(c.p).scope, c.sh.fn.tick, time.Second, 1)
	c.sh.mu.Unlock()
	if err == nil {
		t.Fatal("no trap")
	}
	<-gone // the upstream sees the end at once
	c.over()
}

// TestCallTraps: a guest that traps on an answer costs its instance, and no other.
func TestCallTraps(t *testing.T) {
	p := newProgram()
	p.on("proxy_on_vm_start", num(callPages), asm.MemoryGrow, asm.Drop, num(1))
	p.on("proxy_on_http_call_response", asm.Unreachable)
	for _, f := range append(callFunctions, grpcFunctions...) {
		var code []byte
		for i := range f.Params {
			code = asm.Cat(code, asm.Get(uint32(i)))
		}
		p.m.Export("call "+f.Name, 0, p.m.Func(f.Params, f.Results, nil, code, asm.Call(p.at[f.Name])))
	}
	c := newCallerOf(t, p)
	c.within(callYAML, raw(t, func(u *coretest.Client, _ string) bool { u.Send(answerEmpty); return true }), "")
	c.must(callRequest{to: "a"})
	coretest.Eventually(t, "another instance has its place", func() bool {
		sh := c.vm.shards[0].Load()
		sh.mu.Lock()
		defer sh.mu.Unlock()
		return sh != c.sh && sh.dead == nil
	})
	c.over()
	if c.vm.failures.Count(abi.FailedTrap) != 1 {
		t.Error("not counted")
	}
}

// TestCallEnds: what is under way when the plugin or the VM is closed is cancelled, and over when closing is.
func TestCallEnds(t *testing.T) {
	for _, how := range []string{"plugin", "vm", "no plan"} {
		t.Run(how, func(t *testing.T) {
			c := newCaller(t)
			g := newGate()
			defer g.release()
			if how != "no plan" {
				c.within(callYAML, raw(t, func(u *coretest.Client, _ string) bool { g.in.Add(1); _, _ = u.Rest(); return false }), "")
			}
			for range 20 {
				c.must(callRequest{to: "a"})
			}
			if how != "no plan" {
				coretest.Eventually(t, "asked", func() bool { return g.in.Load() == 20 })
			}
			if how == "vm" {
				_ = c.vm.Close()
			} else {
				_ = c.p.Close()
			}
			if n := c.vm.errands.Load(); n != 0 {
				t.Errorf("%d are under way", n)
			}
		})
	}
}

// TestLeave: a plan that leaves takes its calls with it; the guest is told; calls go to the newest plan that is left.
func TestLeave(t *testing.T) {
	c := newCaller(t)
	g := newGate()
	defer g.release()
	c.within(callYAML, raw(t, func(u *coretest.Client, _ string) bool { u.Send(answerEmpty); return true }), "")
	held := raw(t, func(u *coretest.Client, _ string) bool { g.in.Add(1); _, _ = u.Rest(); return false })
	second := c.within(callYAML, held, "")
	var ids []uint32
	for range 5 {
		ids = append(ids, c.must(callRequest{to: "a"}))
	}
	coretest.Eventually(t, "the newest plan is asked", func() bool { return g.in.Load() == 5 })
	second.Node.Drain() // returns when its plan has closed
	for i := range ids {
		c.want("cut", c.told(i).String(), missed)
	}
	if n := c.answered(5, c.must(callRequest{to: "a"})); n.args[0] != 1 {
		t.Error(n)
	}
}

// TestJoin: a plan that lends nothing, and leaving twice.
func TestJoin(t *testing.T) {
	c := newCaller(t)
	leave := c.p.Join(nil)
	if _, st := c.send(callRequest{to: "a"}); st != statusBadArgument {
		t.Error(st)
	}
	leave()
	leave()
	id := c.must(callRequest{to: "a", timeout: 10 * time.Millisecond}) // waits for a plan, in vain
	if n := c.answered(0, id); n.body != "exchange_timeout" {
		t.Error(n)
	}
}

// TestCallHammer: calls while plans come and go. Each is answered once.
func TestCallHammer(t *testing.T) {
	c := newCaller(t, func(o *Options, _ *PluginOptions) { o.Shards = 2 })
	r := c.within(callYAML, raw(t, func(u *coretest.Client, _ string) bool { u.Send(answerEmpty); return true }), "")
	rounds := hammer(20, 500)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	sent := 0
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, st := c.send(callRequest{to: "a"}); st == statusOK {
				sent++
			} else if st != statusInternalFailure {
				t.Errorf("not accepted: %d", st)
				return
			}
		}
	})
	for i := range rounds {
		r.Write(strings.Replace(callYAML, "{name: all", "{timeout: "+time.Duration(i+1).String()+", name: all", 1))
		if err := r.Node.Reload(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	c.over()
	if n := c.count(); n != sent || sent < rounds {
		t.Errorf("%d calls, %d answers", sent, n)
	}
}

// TestCallCounts: calls take places and are counted as requests of clients are, and HTTP/2 carries them as well.
func TestCallCounts(t *testing.T) {
	c := newCaller(t)
	g := newGate()
	defer g.release()
	r := c.within(strings.Replace(callYAML, `["http://${A}"]}`, `["http://${A}"], max_in_flight: 1}`, 1),
		raw(t, func(u *coretest.Client, _ string) bool { g.wait(); u.Send(answerEmpty); return true }),
		h2Server(t, func(s *h2Stream) {
			s.head(false, ":status", "202", "x-a", "1")
			s.data(false, "hello")
			s.head(true, "x-end", "1")
		}))
	first := c.must(callRequest{to: "a"})
	coretest.Eventually(t, "it is asked", func() bool { return g.in.Load() == 1 })
	if n := c.answered(0, c.must(callRequest{to: "a"})); n.body != "upstream_busy" || !strings.HasPrefix(n.head, ":status=503") {
		t.Error(n)
	}
	c.want("HTTP/2", c.answered(1, c.must(callRequest{to: "b", body: "x"})).String(),
		`1 [3 5 1] head ":status=202|x-a=1|content-length=5" body "hello" tail "x-end=1" status 0 ""`)
	for _, want := range []string{
		"weir_upstream_requests_in_flight{upstream=\"a\"} 1\n", `weir_upstream_requests_total{upstream="b",endpoint="`,
	} {
		if m := string(r.Node.Metrics()); !strings.Contains(m, want) {
			t.Errorf("%s is not in the metrics:\n%s", want, m)
		}
	}
	g.release()
	c.answered(2, first)
}
