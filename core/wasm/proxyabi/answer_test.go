package proxyabi

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
)

// What a guest may be told by each function, with whatever it asks for (the Rust SDK panics on anything else),
// as long as its pointers are good.
func TestAnswersThatGuestsBear(t *testing.T) {
	bears := map[string][]status{
		"proxy_get_shared_data": {0, 1}, "proxy_set_shared_data": {0, 8}, "proxy_register_shared_queue": {0},
		"proxy_resolve_shared_queue": {0, 1}, "proxy_enqueue_shared_queue": {0, 1}, "proxy_dequeue_shared_queue": {0, 1, 7},
		"proxy_define_metric": {0}, "proxy_record_metric": {0, 1}, "proxy_get_metric": {0, 1}, "proxy_increment_metric": {0, 1, 2},
		"proxy_log": {0}, "proxy_get_log_level": {0}, "proxy_get_current_time_nanoseconds": {0}, setPeriod: {0}, "proxy_done": {0},
		"proxy_set_effective_context": {0, 2},
	}
	vm, p := start(t, newBare().code())
	x, st := passes(t, p, "id-1")
	defer exchange.Release(x)
	h := of(t, vm.shard(0))
	r := rand.New(rand.NewPCG(1, 2))
	var names []string
	for name := range bears {
		names = append(names, name)
	}
	slices.Sort(names)
	for range 50_000 {
		name := names[r.IntN(len(names))]
		h.sc = &st.root.scope
		if r.IntN(2) == 0 {
			h.sc = &st.scope
		}
		text := func() string { return strings.Repeat("t", r.IntN(4)) }
		number := func() int { return []int{0, 1, 2, 3, 5, 7, -1, math.MaxUint32, r.Int()}[r.IntN(9)] }
		var args []any
		switch name {
		case "proxy_get_shared_data":
			args = []any{text(), outA, outB, outC}
		case "proxy_set_shared_data":
			args = []any{text(), text(), number()}
		case "proxy_register_shared_queue":
			args = []any{text(), outA}
		case "proxy_resolve_shared_queue":
			args = []any{text(), text(), outA}
		case "proxy_enqueue_shared_queue":
			args = []any{number(), text()}
		case "proxy_dequeue_shared_queue":
			args = []any{number(), outA, outB}
		case "proxy_define_metric":
			args = []any{r.IntN(metricKinds), text(), outA}
		case "proxy_record_metric", "proxy_increment_metric":
			args = []any{number(), number()}
		case "proxy_get_metric":
			args = []any{number(), outA}
		case "proxy_log":
			args = []any{r.IntN(len(levels)), text()}
		case "proxy_get_log_level", "proxy_get_current_time_nanoseconds":
			args = []any{outA}
		case setPeriod, "proxy_set_effective_context":
			args = []any{number()}
		}
		if got := h.ask(name, args...); !slices.Contains(bears[name], got) {
			t.Fatalf("%s%v: status %d", name, args, got)
		}
	}
}

// Whatever a guest asks for, the host stands, and what it answers is a status.
func FuzzShared(f *testing.F) {
	names := []string{"proxy_get_shared_data", "proxy_set_shared_data", "proxy_register_shared_queue", "proxy_resolve_shared_queue",
		"proxy_enqueue_shared_queue", "proxy_dequeue_shared_queue", "proxy_define_metric", "proxy_record_metric", "proxy_get_metric",
		"proxy_increment_metric", "proxy_log", "proxy_get_log_level", "proxy_get_current_time_nanoseconds", setPeriod, "proxy_done",
		"proxy_set_effective_context"}
	vm, _ := start(f, newBare().code())
	for i := range names {
		f.Add(uint8(i), uint64(input), uint64(3), uint64(outA), uint64(outB), uint64(outC))
		f.Add(uint8(i), uint64(1<<31), uint64(1<<31), uint64(8<<16-1), uint64(math.MaxUint32), uint64(math.MaxUint64))
	}
	f.Fuzz(func(t *testing.T, i uint8, a, b, c, d, e uint64) {
		h := of(t, vm.shard(0))
		h.sh.mu.Lock()
		defer h.sh.mu.Unlock()
		name := names[int(i)%len(names)]
		n := map[string]int{"proxy_done": 0, "proxy_log": 3, "proxy_define_metric": 4, "proxy_get_shared_data": 5, "proxy_set_shared_data": 5,
			"proxy_resolve_shared_queue": 5, "proxy_register_shared_queue": 3, "proxy_enqueue_shared_queue": 3, "proxy_dequeue_shared_queue": 3,
			"proxy_record_metric": 2, "proxy_increment_metric": 2, "proxy_get_metric": 2}
		count, ok := n[name]
		if !ok {
			count = 1
		}
		if st := h.enter(name, []uint64{a, b, c, d, e}[:count]...); st > statusUnimplemented {
			t.Errorf("%s: status %d", name, st)
		}
	})
}
