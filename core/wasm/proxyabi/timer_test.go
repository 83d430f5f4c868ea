package proxyabi

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/asm"
)

const setPeriod = "proxy_set_tick_period_milliseconds"

func (h *handle) ticks(n uint32) {
	h.t.Helper()
	from := h.word(ticks)
	coretest.Eventually(h.t, "ticks", func() bool { return h.word(ticks)-from >= n })
}

// still expects no tick to come any more: none is armed, and none runs.
func (h *handle) still() {
	h.t.Helper()
	coretest.Eventually(h.t, "nothing is under way", func() bool {
		h.sh.mu.Lock()
		defer h.sh.mu.Unlock()
		return !h.sc.root.timer.armed
	})
	h.sc.root.timer.running.Wait()
}

func TestTicks(t *testing.T) {
	vm, p := start(t, newBare().code(), shards(2))
	h := of(t, vm.shard(0))
	begin := time.Now()
	h.want(statusOK, setPeriod, 2)
	h.ticks(20)
	if took := time.Since(begin); took < 40*time.Millisecond {
		t.Errorf("20 ticks of 2 ms in %v", took)
	}
	same(t, "another shard's", of(t, vm.shard(1)).word(ticks), 0)
	h.want(statusOK, setPeriod, 0)
	h.still()
	n := h.word(ticks)
	// A stream's is its root's.
	x, st := passes(t, p, "id-1")
	defer exchange.Release(x)
	h = of(t, st.sh)
	from := h.word(ticks)
	h.sc = &st.scope
	h.want(statusOK, setPeriod, 1)
	h.sc = &st.root.scope
	h.ticks(2)
	if st.sh == vm.shard(0) {
		same(t, "ticks while there were none", from, n)
	}
	// The plugin's end is that of its ticks.
	_ = p.Close()
	n = h.word(ticks)
	h.still()
	h.want(statusOK, setPeriod, 1)
	h.still()
	same(t, "ticks after the end", h.word(ticks), n)
}

// A period that is set again, with every request for example, does not put the tick off; another one begins now.
func TestTickSetAgain(t *testing.T) {
	vm, _ := start(t, newBare().code())
	h := of(t, vm.shard(0))
	due := func() time.Duration {
		h.sh.mu.Lock()
		defer h.sh.mu.Unlock()
		return h.sc.root.timer.due
	}
	h.want(statusOK, setPeriod, 3_600_000)
	first := due()
	h.want(statusOK, setPeriod, 3_600_000)
	same(t, "due", due(), first)
	h.want(statusOK, setPeriod, 7_200_000)
	if d := due() - first; d < time.Hour {
		t.Errorf("due %v later", d)
	}
	h.want(statusOK, setPeriod, 1)
	h.ticks(1)
}

// A guest can set its period, and end its ticks, in a tick; ticks of proxy_on_configure begin when that has returned.
func TestTickOfGuest(t *testing.T) {
	b := newBare()
	b.configure = asm.Cat(b.call(setPeriod, asm.Const32(1)), asm.Drop)
	b.tick = asm.Cat(asm.Const32(ticks), asm.Load(0x28, 2, 0), asm.Const32(3), asm.Op(0x46), asm.If(asm.None, b.call(setPeriod, asm.Const32(2)), asm.Drop),
		asm.Const32(ticks), asm.Load(0x28, 2, 0), asm.Const32(5), asm.Op(0x46), asm.If(asm.None, b.call(setPeriod, asm.Const32(0)), asm.Drop))
	vm, _ := start(t, b.code())
	h := of(t, vm.shard(0))
	h.eventually("ticks", ticks, 5)
	h.still()
	same(t, "ticks", h.word(ticks), 5)
}

// Nothing comes to the spare by itself until it takes another's place: with one shard, a guest may take it for the only one. What
// it has waited for comes at once then.
func TestSpareWaits(t *testing.T) {
	b := newBare()
	b.Data(1024, []byte("jobs"))
	b.configure = asm.Cat(b.call(setPeriod, asm.Const32(20)), asm.Drop,
		b.call("proxy_register_shared_queue", asm.Const32(1024), asm.Const32(4), asm.Const32(outC)), asm.Drop)
	b.queue = b.take()
	vm, _ := start(t, b.code())
	h, spare := of(t, vm.shard(0)), of(t, vm.spare)
	jobs := int(h.word(outC))
	h.ticks(2)
	spare.want(statusOK, "proxy_enqueue_shared_queue", jobs, "x")
	h.eventually("entries", taken, 1)
	same(t, "the spare's ticks", spare.word(ticks), 0)
	same(t, "the spare's wake-ups", spare.word(wakes), 0)
	h.sh.mu.Lock()
	same(t, "one more", h.enter("proxy_enqueue_shared_queue", uint64(jobs), input, 1), statusOK)
	h.sh.die(h.sc, errors.New("trap"))
	h.sh.mu.Unlock()
	same(t, "place", vm.shard(0), spare.sh)
	spare.eventually("entries", taken, 1)
	spare.ticks(2)
}

// A spare that dies is replaced like any other.
func TestSpareDies(t *testing.T) {
	vm, _ := start(t, newBare().code())
	spare := vm.spare
	spare.mu.Lock()
	spare.die(&spare.roots[0].scope, errors.New("trap"))
	spare.mu.Unlock()
	ready := func() bool { vm.mu.Lock(); defer vm.mu.Unlock(); return vm.ready() && vm.spare != spare }
	coretest.Eventually(t, "another spare", ready)
	coretest.Eventually(t, "its end", func() bool { vm.mu.Lock(); defer vm.mu.Unlock(); return len(vm.retired) == 0 })
}

// burn has a callback last about as many thousand turns.
func (b *bare) burn(thousands int32) []byte {
	n := b.Global(asm.I32, true, asm.Const32(0))
	return asm.Cat(asm.Const32(thousands*1000), asm.GlobalSet(n),
		asm.Loop(asm.None, asm.GlobalGet(n), asm.Const32(1), asm.Sub32, asm.GlobalSet(n), asm.GlobalGet(n), asm.BrIf(0)))
}

// Ticks that last longer than their period take a tenth of a core, and are not made up for.
func TestTickShare(t *testing.T) {
	b := newBare()
	b.tick = b.burn(500)
	vm, _ := start(t, b.code())
	h := of(t, vm.shard(0))
	h.sh.mu.Lock()
	before := h.sh.in.CPU()
	h.sh.mu.Unlock()
	begin := time.Now()
	h.want(statusOK, setPeriod, 1)
	h.ticks(6)
	h.sh.mu.Lock()
	spent, took := h.sh.in.CPU()-before, time.Since(begin)
	h.sh.mu.Unlock()
	// Five rests lie between six ticks.
	if most := took/tickShare + spent/5; spent > most {
		t.Errorf("%v of CPU time in %v, want %v at most", spent, took, most)
	}
}

// A tick that traps ends the shard, and its ticks; the shard that follows has its own.
func TestTickTraps(t *testing.T) {
	b := newBare()
	b.tick = asm.Cat(asm.Const32(ticks), asm.Load(0x28, 2, 0), asm.Const32(3), asm.Op(0x46), asm.If(asm.None, asm.Unreachable))
	vm, p := start(t, b.code())
	h := of(t, vm.shard(0))
	h.want(statusOK, setPeriod, 1)
	coretest.Eventually(t, "the shard dies", func() bool { h.sh.mu.Lock(); defer h.sh.mu.Unlock(); return h.sh.dead != nil })
	var trap *wasm.Trap
	if !errors.As(h.sh.dead, &trap) {
		t.Error(h.sh.dead)
	}
	h.still()
	coretest.Eventually(t, "another takes its place", func() bool { return vm.shard(0) != h.sh })
	x, st := passes(t, p, "id-1")
	same(t, "alive", st.sh.dead, nil)
	exchange.Release(x)
}

// The end of a VM waits for its ticks, whatever they are just about.
func TestTickHammer(t *testing.T) {
	b := newBare()
	b.configure = asm.Cat(b.call(setPeriod, asm.Const32(1)), asm.Drop)
	b.tick = b.call("proxy_set_shared_data", asm.Const32(1024), asm.Const32(4), asm.Const32(1024), asm.Const32(4), asm.Const32(0))
	b.tick = asm.Cat(b.tick, asm.Drop)
	code := b.code()
	s := NewShared()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				vm, p, err := tryStart(code, with(s, "one"), shards(2))
				if err != nil {
					t.Error(err)
					return
				}
				h := of(t, vm.shard(0))
				h.ticks(1)
				h.want(statusOK, setPeriod, 2)
				stop(t, vm, p)
				h.sc.root.timer.running.Wait()
				if h.sc.root.timer.armed {
					t.Error("a tick is armed")
				}
			}
		})
	}
	wg.Wait()
	same(t, "scopes", len(s.spaces), 0)
}
