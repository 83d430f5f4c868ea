package proxyabi

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wasm/asm"
)

func TestLogLevels(t *testing.T) {
	for i, want := range []string{"trace", "debug", "info", "warn", "error", "error"} {
		var b bytes.Buffer
		vm, _ := start(t, newBare().code(), logged(&b, zerolog.TraceLevel))
		h := of(t, vm.shard(0))
		h.want(statusOK, "proxy_log", i, "a line")
		same(t, "line", b.String(), `{"level":"`+want+`","filter":"test","message":"a line"}`+"\n")
		h.want(statusOK, "proxy_get_log_level", outA)
		same(t, "level", h.word(outA), 0)
	}
}

func TestLogArguments(t *testing.T) {
	var b bytes.Buffer
	vm, _ := start(t, newBare().code(), logged(&b, zerolog.InfoLevel))
	h := of(t, vm.shard(0))
	h.want(statusBadArgument, "proxy_log", len(levels), "a line")
	h.want(statusBadArgument, "proxy_log", 1<<31, "a line")
	// A line outside memory, by its start and by its end, and whether or not it would be written.
	h.want(statusInvalidMemory, "proxy_log", 2, 1<<31, 1)
	h.want(statusInvalidMemory, "proxy_log", 0, 8<<16-10, 11)
	same(t, "lines", b.String(), "")
	h.want(statusOK, "proxy_log", 2, 1<<31, 0) // none at all has no place
	same(t, "lines", b.String(), `{"level":"info","filter":"test","message":""}`+"\n")
	b.Reset()
	h.want(statusOK, "proxy_log", 1, "below the level")
	same(t, "lines", b.String(), "")
	h.want(statusOK, "proxy_log", 3, strings.Repeat("x", abi.MaxLine+1))
	if n := strings.Count(b.String(), "x"); n != abi.MaxLine {
		t.Errorf("a line of %d bytes", n)
	}
}

func TestGetLogLevel(t *testing.T) {
	f := func(in zerolog.Level, want uint32) {
		t.Helper()
		var b bytes.Buffer
		vm, _ := start(t, newBare().code(), logged(&b, in))
		h := of(t, vm.shard(0))
		h.want(statusOK, "proxy_get_log_level", outA)
		same(t, in.String(), h.word(outA), want)
		h.want(statusInvalidMemory, "proxy_get_log_level", 1<<31)
	}
	f(zerolog.TraceLevel, 0)
	f(zerolog.DebugLevel, 1)
	f(zerolog.InfoLevel, 2)
	f(zerolog.WarnLevel, 3)
	f(zerolog.ErrorLevel, 4)
	f(zerolog.Disabled, 5)
}

// passes takes an exchange past the VM's first plugin as far as its upstream.
func passes(t testing.TB, p *Plugin, id string) (*exchange.Exchange, *stream) {
	t.Helper()
	f, err := p.At(Site{})
	if err != nil {
		t.Fatal(err)
	}
	x := exchange.Acquire()
	x.RequestID = []byte(id)
	x.Request.Method, x.Request.Target, x.Request.Path, x.Request.Host = []byte("GET"), []byte("/"), []byte("/"), []byte("a")
	x.Request.Body.Init(0, nil)
	if v, err := f.Request(x, 0); v != filter.Continue || err != nil {
		t.Fatal(v, err)
	}
	return x, x.Slots[0].(*stream)
}

// An exchange's lines bear its id, and are bounded apart from others'.
func TestLogOfExchanges(t *testing.T) {
	var b bytes.Buffer
	vm, p := start(t, newBare().code(), logged(&b, zerolog.InfoLevel))
	one, st := passes(t, p, "id-1")
	defer exchange.Release(one)
	two, other := passes(t, p, "id-2")
	defer exchange.Release(two)
	h := of(t, vm.shard(0))
	h.sc = &st.scope
	for i := range abi.LinesPerExchange + 3 {
		h.want(statusOK, "proxy_log", 2, fmt.Sprint("line ", i))
	}
	same(t, "lines", strings.Count(b.String(), `"request_id":"id-1"`), abi.LinesPerExchange)
	same(t, "lines dropped", p.Status().Dropped, 3)
	h.sc = &other.scope
	h.want(statusOK, "proxy_log", 2, "another")
	h.sc = &st.root.scope
	h.want(statusOK, "proxy_log", 2, "the root's")
	same(t, "lines", strings.HasSuffix(b.String(), `"request_id":"id-2","message":"another"}`+"\n"+
		`{"level":"info","filter":"test","message":"the root's"}`+"\n"), true)
	for range 2 * abi.LinesPerSecond {
		h.want(statusOK, "proxy_log", 2, "flood")
	}
	if n := strings.Count(b.String(), "flood"); n == 0 || n > 2*abi.LinesPerSecond-10 || p.Status().Dropped < 10 {
		t.Errorf("%d lines written, %d dropped", n, p.Status().Dropped)
	}
}

// What a canary says is no news but to who looks for it.
func TestLogOfCanary(t *testing.T) {
	b := newBare()
	b.Data(1024, []byte("hello"))
	b.configure = asm.Cat(b.call("proxy_log", asm.Const32(4), asm.Const32(1024), asm.Const32(5)), asm.Drop)
	code := b.code()
	var out bytes.Buffer
	start(t, code, logged(&out, zerolog.DebugLevel))
	same(t, "levels", strings.Count(out.String(), `"debug"`), 1)
	same(t, "levels", strings.Count(out.String(), `"error"`), 2) // one shard, and one to spare
}

func TestCurrentTime(t *testing.T) {
	vm, _ := start(t, newBare().code())
	h := of(t, vm.shard(0))
	before := time.Now().UnixNano()
	h.want(statusOK, "proxy_get_current_time_nanoseconds", outA)
	if now := int64(h.long(outA)); now < before || now > time.Now().UnixNano() {
		t.Errorf("%d is not now, %d", now, before)
	}
	h.want(statusInvalidMemory, "proxy_get_current_time_nanoseconds", 8<<16-7)
}

// What follows in a call is done for the context that was set, and for that call only.
func TestEffectiveContext(t *testing.T) {
	b := newBare()
	b.Data(1024, []byte("hello"))
	// It says hello for the context that is given, if there is such a one.
	say := b.Func(asm.T(asm.I32), asm.T(asm.I32), asm.T(asm.I32),
		b.call("proxy_set_effective_context", asm.Get(0)), asm.Set(1),
		b.call("proxy_log", asm.Const32(2), asm.Const32(1024), asm.Const32(5)), asm.Drop, asm.Get(1))
	b.Export("say", 0, say)
	var out bytes.Buffer
	vm, p := start(t, b.code(), logged(&out, zerolog.InfoLevel))
	x, st := passes(t, p, "id-1")
	h := of(t, vm.shard(0))
	h.want(statusOK, "say", int(st.id))
	same(t, "line", out.String(), `{"level":"info","filter":"test","request_id":"id-1","message":"hello"}`+"\n")
	out.Reset()
	h.want(statusBadArgument, "say", 4711)
	same(t, "line", out.String(), `{"level":"info","filter":"test","message":"hello"}`+"\n")
	id := int(st.id)
	exchange.Release(x)
	h.want(statusBadArgument, "say", id)
}

// A root that asks for time when it ends gets it until it calls proxy_done, by a tick for example.
func TestDone(t *testing.T) {
	b := newBare()
	b.done = asm.Const32(0)
	vm, p := start(t, b.code())
	h := of(t, vm.shard(0))
	h.want(statusOK, "proxy_done") // nothing is pending: the Rust SDK bears no other answer
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, sh := range []*shard{vm.shard(0), vm.spare} {
		h := of(t, sh)
		wg.Go(func() {
			coretest.Eventually(t, "proxy_on_done asks for time", func() bool {
				sh.mu.Lock()
				defer sh.mu.Unlock()
				return h.sc.root.pending
			})
			h.want(statusOK, "proxy_done")
		})
	}
	begin := time.Now()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took >= doneWait {
		t.Errorf("ended after %v: not by proxy_done", took)
	}
}
