package proxyabi

import (
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// TestIdle: of a stream's first and last callbacks those that do nothing are not called, whatever they give; all others are.
func TestIdle(t *testing.T) {
	f := func(want int64, change func(p *program)) {
		t.Helper()
		p := newProgram()
		change(p)
		_, plugin := start(t, p.build(), shards(1))
		flt := at(t, plugin, Site{})
		calls := func() (n int64) {
			for _, ph := range flt.p.phases.Snapshot() {
				if ph.Phase == "start" || ph.Phase == "done" {
					n += int64(ph.Calls)
				}
			}
			return n
		}
		before := calls()
		x := ask(t, 0)
		request(t, flt, x, filter.Continue)
		answer(x, 0)
		response(t, flt, x, filter.Continue)
		exchange.Release(x)
		if have := calls() - before; have != want {
			t.Errorf("%d calls, want %d", have, want)
		}
	}
	clock := func(p *program) []byte { return p.host("proxy_get_current_time_nanoseconds", num(outAt)) }
	// the program's callbacks, each of which has a local
	f(4, func(*program) {})
	idle := func(p *program) {
		for name, result := range map[string]bool{"proxy_on_context_create": false, "proxy_on_done": true, "proxy_on_log": false, "proxy_on_delete": false} {
			var code, results []byte
			if result {
				code, results = num(1), asm.T(asm.I32)
			}
			params := 1
			if name == "proxy_on_context_create" {
				params = 2
			}
			p.given[name] = true
			p.m.Export(name, 0, p.m.Func(asm.T(asm.I32, asm.I32)[:params], results, nil, code))
		}
	}
	f(0, idle)
	f(0, func(p *program) {
		p.without("proxy_on_context_create", "proxy_on_done", "proxy_on_log", "proxy_on_delete")
	})
	// one that does something
	f(4, func(p *program) { p.on("proxy_on_log", clock(p)) })
	f(1, func(p *program) {
		p.on("proxy_on_log", clock(p)).without("proxy_on_context_create", "proxy_on_done", "proxy_on_delete")
	})
}
