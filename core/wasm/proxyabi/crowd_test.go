package proxyabi

import (
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// crowded is a guest that pauses every request, and lets those that it has paused go on at a tick, once it is told to: by a
// request with the header armed, after which that is what it does at every tick.
func crowded() *program {
	p := newProgram()
	last := p.m.Global(asm.I32, true, num(0))
	done := p.m.Global(asm.I32, true, num(0))
	on := p.m.Global(asm.I32, true, num(0))
	p.on("proxy_on_configure", p.host("proxy_set_tick_period_milliseconds", num(5)), num(1))
	p.on("proxy_on_context_create", asm.Get(0), asm.GlobalSet(last))
	p.on("proxy_on_request_headers", armed(p, asm.Cat(num(1), asm.GlobalSet(on))), num(1))
	p.on("proxy_on_tick", asm.GlobalGet(on), asm.If(asm.None, asm.Loop(asm.None,
		asm.GlobalGet(done), asm.GlobalGet(last), asm.LtU32, asm.If(asm.None,
			asm.GlobalGet(done), num(1), asm.Add32, asm.GlobalSet(done),
			p.host("proxy_set_effective_context", asm.GlobalGet(done)), p.host("proxy_continue_stream", num(streamRequest)), asm.Br(1)))))
	return p
}

// Ten thousand requests, all paused at once, and let go by ticks of their shards.
func TestCrowd(t *testing.T) {
	const crowd = 10_000
	vm, pl := open(t, crowded(), Options{Shards: 2, CPU: time.Second}, PluginOptions{}) // for the race detector, which is slow
	f := at(t, pl, Site{})
	var all sync.WaitGroup
	for range crowd {
		all.Go(func() {
			x := ask(t, 0)
			defer exchange.Release(x)
			if v, err := f.Request(x, 0); v != filter.Continue || err != nil {
				t.Error(v, err)
			}
		})
	}
	coretest.Eventually(t, "all to be paused", func() bool { return vm.paused.Load() == crowd })
	for i := range vm.shards {
		all.Go(func() {
			x, sh := arm(ask(t, 0)), vm.shards[i].Load()
			defer exchange.Release(x)
			sh.mu.Lock() // not by chance: each shard must be told
			if v, err := f.request(sh, x, 0, false); v != filter.Continue || err != nil {
				t.Error(v, err)
			}
		})
	}
	all.Wait()
	if vm.paused.Load() != 0 || vm.open.Load() != 0 {
		t.Errorf("%+v", pl.Status())
	}
}
