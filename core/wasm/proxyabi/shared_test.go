package proxyabi

import (
	"bytes"
	"encoding/binary"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/coretest/alloc"
	"github.com/weirproxy/weir/core/wasm/asm"
)

func (h *handle) set(want status, key, value string, cas int) {
	h.t.Helper()
	h.want(want, "proxy_set_shared_data", key, value, cas)
}

// get expects a value and its version.
func (h *handle) get(key, value string, cas uint32) {
	h.t.Helper()
	h.want(statusOK, "proxy_get_shared_data", key, outA, outB, outC)
	if v, c := h.got(), h.word(outC); v != value || c != cas {
		h.t.Errorf("%s is %.40q with %d, want %.40q with %d", key, v, c, value, cas)
	}
}

func TestSharedData(t *testing.T) {
	s := NewShared()
	vm, _ := start(t, newBare().code(), with(s, "one"), shards(2))
	h, other := of(t, vm.shard(0)), of(t, vm.shard(1))
	h.want(statusNotFound, "proxy_get_shared_data", "a", outA, outB, outC)
	h.set(statusOK, "a", "first", 0)
	h.get("a", "first", 1)
	h.set(statusOK, "a", "2nd", 1)
	other.get("a", "2nd", 2)
	other.set(statusCasMismatch, "a", "third", 1)
	other.set(statusCasMismatch, "a", "third", 3)
	h.get("a", "2nd", 2)
	h.set(statusOK, "a", "whatever it is", 0)
	h.get("a", "whatever it is", 3)
	// What is not there takes any version. Versions are never used again, not even by another key.
	h.set(statusOK, "b", "", 4711)
	h.get("b", "", 4)
	h.set(statusOK, "", "no key is one, too", 0)
	h.get("", "no key is one, too", 5)
	// Short, long, short again: a copy each.
	long := strings.Repeat("0123456789", dataInPlace/10+1)
	for i, v := range []string{"", "short", long, long[1:], "short", long[:dataInPlace], ""} {
		h.set(statusOK, "c", v, 0)
		h.get("c", v, uint32(6+i))
	}
	// Another scope sees none of it.
	apart, _ := start(t, newBare().code(), with(s, "two"))
	of(t, apart.shard(0)).want(statusNotFound, "proxy_get_shared_data", "a", outA, outB, outC)

	h.want(statusInvalidMemory, "proxy_get_shared_data", 1<<31, 1, outA, outB, outC)
	h.want(statusInvalidMemory, "proxy_get_shared_data", "a", 1<<31, outB, outC)
	h.want(statusInvalidMemory, "proxy_get_shared_data", "a", outA, 1<<31, outC)
	h.want(statusInvalidMemory, "proxy_get_shared_data", "a", outA, outB, 1<<31)
	h.want(statusInvalidMemory, "proxy_set_shared_data", 1<<31, 1, 0, 0, 0)
	h.want(statusInvalidMemory, "proxy_set_shared_data", 0, 1, 1<<31, 1, 0)
}

// A scope's data lives as long as one of its VMs.
func TestSharedDataEnds(t *testing.T) {
	s := NewShared()
	first, fp := start(t, newBare().code(), with(s, "one"))
	second, sp := start(t, newBare().code(), with(s, "one"))
	of(t, first.shard(0)).set(statusOK, "a", "value", 0)
	stop(t, first, fp)
	of(t, second.shard(0)).get("a", "value", 1)
	stop(t, second, sp)
	if len(s.spaces) != 0 {
		t.Errorf("%d scopes are left", len(s.spaces))
	}
	third, _ := start(t, newBare().code(), with(s, "one"))
	of(t, third.shard(0)).want(statusNotFound, "proxy_get_shared_data", "a", outA, outB, outC)
}

// A scope that wants too much is refused, and told so once; what is there stays, and can be changed.
func TestSharedDataBounds(t *testing.T) {
	var b bytes.Buffer
	s := NewShared()
	vm, _ := start(t, newBare().code(), with(s, "one"), logged(&b, zerolog.InfoLevel))
	h := of(t, vm.shard(0))
	n := 0
	value := strings.Repeat("v", 64<<10)
	key := func(i int) string { return string(rune('A' + i)) }
	for ; h.ask("proxy_set_shared_data", key(n), value, 0) == statusOK; n++ {
	}
	same(t, "values of 64 KiB", n, dataMost/(64<<10+dataEach+2))
	same(t, "bytes", vm.space.bytes, n*(64<<10+dataEach)+keyBytes(n))
	h.set(statusCasMismatch, key(n), value, 0)
	h.set(statusCasMismatch, key(0), value+"v"+value, 0)
	h.get(key(0), value, 1)
	h.set(statusOK, key(0), value[1:], 0)
	for i := range n {
		h.set(statusOK, key(i), "short", 0)
	}
	same(t, "bytes", vm.space.bytes, n*(5+dataEach)+keyBytes(n))
	h.set(statusOK, key(n), value, 0)
	same(t, "lines", b.String(), `{"level":"warn","filter":"test","scope":"one","kind":"data",`+
		`"message":"filters of one scope share too much: refused from now on"}`+"\n")
	same(t, "metrics", string(s.AppendMetrics(nil)), "# HELP weir_filter_shared_refused_total What filters of one scope wanted to share "+
		"beyond its bounds.\n# TYPE weir_filter_shared_refused_total counter\nweir_filter_shared_refused_total{scope=\"one\",kind=\"data\"} 3\n")
}

func keyBytes(n int) (sum int) {
	for i := range n {
		sum += len(string(rune('A' + i)))
	}
	return sum
}

// A canary's data is nobody else's.
func TestCanarySharesNothing(t *testing.T) {
	b := newBare()
	b.Data(1024, []byte("key"))
	b.configure = asm.Cat(
		b.call("proxy_set_shared_data", asm.Const32(1024), asm.Const32(3), asm.Const32(1024), asm.Const32(3), asm.Const32(0)), asm.Drop,
		b.call("proxy_register_shared_queue", asm.Const32(1024), asm.Const32(3), asm.Const32(outA)), asm.Drop,
		b.call("proxy_define_metric", asm.Const32(0), asm.Const32(1024), asm.Const32(3), asm.Const32(outA)), asm.Drop)
	b.configureAnswers = 0 // so that it goes no further
	s := NewShared()
	sp := s.enter("test")
	_, _, err := Open(t.Context(), engine, b.code(), Options{Name: "test", Scope: "test", Shared: s}, PluginOptions{Name: "test"})
	if err == nil || !strings.Contains(err.Error(), "refuses its configuration") {
		t.Fatal(err)
	}
	if len(sp.data)+len(sp.queues)+len(s.queues)+sp.series+len(s.AppendMetrics(nil)) > 0 || sp.vms != 1 {
		t.Errorf("left: %d keys, %d queues, %d series, %d VMs", len(sp.data), len(sp.queues), sp.series, sp.vms)
	}
}

// countUp adds one to the number at key "n", as guests do: until nobody else was faster.
func (b *bare) countUp() uint32 {
	b.Data(1024, []byte("n"))
	key := asm.Cat(asm.Const32(1024), asm.Const32(1))
	return b.Func(nil, asm.T(asm.I32), nil, asm.Loop(asm.None,
		asm.Const32(outC), asm.Const32(0), asm.Load(0x36, 2, 0), asm.Const32(outA), asm.Const32(outA), asm.Load(0x36, 2, 0),
		// What is not there counts as nothing, at a place that holds 0.
		b.call("proxy_get_shared_data", key, asm.Const32(outA), asm.Const32(outB), asm.Const32(outC)), asm.If(asm.None,
			asm.Const32(outA), asm.Const32(200), asm.Load(0x36, 2, 0)),
		asm.Const32(208), asm.Const32(outA), asm.Load(0x28, 2, 0), asm.Load(0x28, 2, 0), asm.Const32(1), asm.Add32, asm.Load(0x36, 2, 0),
		b.call("proxy_set_shared_data", key, asm.Const32(208), asm.Const32(4), asm.Const32(outC), asm.Load(0x28, 2, 0)),
		asm.BrIf(0)), asm.Const32(0))
}

// 10,000 increments by several VMs and shards at once, each of them exactly once.
func TestSharedDataHammer(t *testing.T) {
	const turns = 10_000
	b := newBare()
	b.Export("count", 0, b.countUp())
	code := b.code()
	s := NewShared()
	first, _ := start(t, code, with(s, "one"), shards(4))
	second, _ := start(t, code, with(s, "one"), shards(4))
	of(t, first.shard(0)).set(statusOK, "n", "\x00\x00\x00\x00", 0)
	var wg sync.WaitGroup
	for i := range 8 {
		vm := first
		if i%2 == 1 {
			vm = second
		}
		wg.Go(func() {
			h := of(t, vm.shard(i/2))
			for range turns / 8 {
				h.ask("count")
			}
		})
	}
	wg.Wait()
	h := of(t, second.shard(0))
	h.want(statusOK, "proxy_get_shared_data", "n", outA, outB, outC)
	same(t, "count", binary.LittleEndian.Uint32([]byte(h.got())), turns)
	same(t, "version", h.word(outC), turns+1)
}

func TestSharedAllocations(t *testing.T) {
	vm, _ := start(t, newBare().code(), with(NewShared(), "one"))
	h := of(t, vm.shard(0))
	f := func(name string, args ...uint64) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			alloc.Floor(t, func() {
				h.sh.mu.Lock()
				h.enter(name, args...)
				h.sh.mu.Unlock()
			})
		})
	}
	h.set(statusOK, "key", "a value", 0)
	h.want(statusOK, "proxy_define_metric", metricCounter, "counter", outA)
	h.want(statusOK, "proxy_define_metric", metricHistogram, "histogram", outB)
	counter, histogram := uint64(h.word(outA)), uint64(h.word(outB))
	h.sh.mu.Lock()
	h.sh.in.Memory().WriteString(input, "keya valuecounter")
	h.sh.mu.Unlock()
	f("proxy_get_shared_data", input, 3, outA, outB, outC)
	f("proxy_set_shared_data", input, 3, input+3, 7, 0)
	f("proxy_set_shared_data", input, 3, input+3, 2, 0)
	f("proxy_define_metric", metricCounter, input+10, 7, outA)
	f("proxy_increment_metric", counter, 1)
	f("proxy_record_metric", histogram, 17)
	f("proxy_get_metric", counter, outA)
	f("proxy_get_current_time_nanoseconds", outA)
	f("proxy_get_log_level", outA)
	f("proxy_log", 1, input, 3)
	f("proxy_set_effective_context", uint64(h.sc.id))
	f("proxy_set_tick_period_milliseconds", 0)
}

// A filter that shares with nobody has what it keeps for itself: neither a vm_id that is its name finds it, nor a guest that
// spells its scope.
func TestPrivateScope(t *testing.T) {
	if got := scopeName(Private + "a"); got != "filter a" {
		t.Error(got)
	}
	s := NewShared()
	own, other := s.enter(Private+"a"), s.enter("a")
	if own == other {
		t.Fatal("one scope")
	}
	s.register(own, []byte("q"))
	vm, _ := start(t, newBare().code(), with(s, "b"))
	sh := vm.shard(0)
	for _, scope := range []string{"a", Private + "a"} {
		of(t, sh).want(statusNotFound, "proxy_resolve_shared_queue", scope, "q", outAt)
	}
}
