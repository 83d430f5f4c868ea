package proxyabi

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/rs/zerolog"
)

// TestLongNames: guests may give the host as much memory as they have for a name. It is refused as what it is not, and the host
// neither copies it nor looks at every byte of it.
func TestLongNames(t *testing.T) {
	p := newProbe(t, func(o *Options, po *PluginOptions, _ *Site) { po.Calls, o.Log = []string{"web"}, zerolog.Nop() })
	const at, n, out = 3 << 20, 4 << 20, probeOut
	mem, ok := p.sh.in.Memory().Read(at, n)
	if !ok {
		t.Fatal("no memory")
	}
	for i := range mem {
		mem[i] = byte('a' + rand.IntN(26)) // which may stand anywhere
	}
	f := func(want status, name string, args ...uint64) {
		t.Helper()
		if st := p.call(name, args...); st != want {
			t.Errorf("%s%v: %d, want %d", name, args, st, want)
		}
	}
	run := func() {
		t.Helper()
		for _, kong := range []bool{false, true} {
			p.st.root.plugin.o.Kong = kong
			f(statusNotFound, "proxy_get_property", at, n, out, out+4)
		}
		f(statusOK, "proxy_set_property", at, n, at, 1)
		f(statusOK, "proxy_set_property", at, 1, at, n)
		f(statusNotFound, "proxy_get_header_map_value", 0, at, n, out, out+4)
		f(statusOK, "proxy_add_header_map_value", 0, at, n, at, 1)
		f(statusOK, "proxy_replace_header_map_value", 0, at, 1, at, n)
		f(statusOK, "proxy_remove_header_map_value", 0, at, n)
		f(statusOK, "proxy_set_header_map_pairs", 1, at, n)
		f(statusBadArgument, "proxy_http_call", at, n, 0, 0, 0, 0, 0, 0, 0, out)
		f(statusParseFailure, "proxy_grpc_call", at, n, at, 1, at, 1, 0, 0, 0, 0, 0, out)
		f(statusParseFailure, "proxy_grpc_stream", at, n, at, 1, at, 1, 0, 0, out)
		f(statusNotFound, "proxy_call_foreign_function", at, n, 0, 0, 0, 0)
		f(statusNotFound, "proxy_get_shared_data", at, n, out, out+4, out+8)
		f(statusCasMismatch, "proxy_set_shared_data", at, n, at, 1, 0)
		f(statusOK, "proxy_register_shared_queue", at, n, out)
		f(statusNotFound, "proxy_resolve_shared_queue", at, n, at, 1, out)
		f(statusNotFound, "proxy_resolve_shared_queue", 0, 0, at, n, out)
		f(statusOK, "proxy_define_metric", 0, at, n, out)
		f(statusOK, "proxy_log", 2, at, n)
		at1, n1 := p.text("set_envoy_filter_state")
		f(statusInternalFailure, "proxy_call_foreign_function", at1, n1, at, n, 0, 0)
	}
	run()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run()
	runtime.ReadMemStats(&after)
	if copied := after.TotalAlloc - before.TotalAlloc; copied > n/8 {
		t.Errorf("%d bytes allocated", copied)
	}
	if c := cap(p.sh.scratch); c > 4*maxName {
		t.Errorf("%d bytes kept", c)
	}
	if len(p.sh.space.data) != 0 || len(p.sh.space.queues) != 0 {
		t.Error("kept in the scope")
	}
}
