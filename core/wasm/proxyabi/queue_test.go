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
	"github.com/weirproxy/weir/core/wasm/asm"
)

// register gives a queue's token.
func (h *handle) register(name string) int {
	h.t.Helper()
	h.want(statusOK, "proxy_register_shared_queue", name, outA)
	return int(h.word(outA))
}

func (h *handle) dequeue(token int, want string) {
	h.t.Helper()
	h.want(statusOK, "proxy_dequeue_shared_queue", token, outA, outB)
	same(h.t, "entry", h.got(), want)
}

func (h *handle) eventually(what string, at, want uint32) {
	h.t.Helper()
	coretest.Eventually(h.t, what, func() bool { return h.word(at) >= want })
	same(h.t, what, h.word(at), want)
}

func TestQueues(t *testing.T) {
	s := NewShared()
	one, _ := start(t, newBare().code(), with(s, "one"))
	two, tp := start(t, newBare().code(), with(s, "two"))
	h, other := of(t, one.shard(0)), of(t, two.shard(0))
	h.want(statusNotFound, "proxy_resolve_shared_queue", "", "jobs", outA)
	jobs := h.register("jobs")
	same(t, "again", h.register("jobs"), jobs)
	if theirs := other.register("jobs"); theirs == jobs || jobs == 0 || theirs == 0 {
		t.Errorf("tokens %d and %d", jobs, theirs)
	}
	news := other.register("news")
	resolve := func(h *handle, scope, name string, want int) {
		t.Helper()
		h.want(statusOK, "proxy_resolve_shared_queue", scope, name, outA)
		same(t, scope+"/"+name, int(h.word(outA)), want)
	}
	resolve(h, "", "jobs", jobs)
	resolve(other, "one", "jobs", jobs)
	resolve(h, "two", "news", news)
	h.want(statusNotFound, "proxy_resolve_shared_queue", "", "news", outA)
	h.want(statusNotFound, "proxy_resolve_shared_queue", "three", "jobs", outA)

	h.want(statusEmpty, "proxy_dequeue_shared_queue", jobs, outA, outB)
	other.want(statusOK, "proxy_enqueue_shared_queue", jobs, "first")
	other.want(statusOK, "proxy_enqueue_shared_queue", jobs, "")
	h.want(statusOK, "proxy_enqueue_shared_queue", jobs, "third")
	h.dequeue(jobs, "first")
	other.dequeue(jobs, "")
	h.dequeue(jobs, "third")
	h.want(statusEmpty, "proxy_dequeue_shared_queue", jobs, outA, outB)
	for _, token := range []int{0, 4711, nowhere} {
		h.want(statusNotFound, "proxy_enqueue_shared_queue", token, "x")
		h.want(statusNotFound, "proxy_dequeue_shared_queue", token, outA, outB)
	}
	h.want(statusInvalidMemory, "proxy_register_shared_queue", 1<<31, 1, outA)
	h.want(statusInvalidMemory, "proxy_register_shared_queue", "jobs", 1<<31)
	h.want(statusInvalidMemory, "proxy_resolve_shared_queue", 1<<31, 1, 0, 0, outA)
	h.want(statusInvalidMemory, "proxy_resolve_shared_queue", 0, 0, 1<<31, 1, outA)
	h.want(statusInvalidMemory, "proxy_enqueue_shared_queue", jobs, 1<<31, 1)

	// With the scope's last VM its queues are gone.
	stop(t, two, tp)
	h.want(statusNotFound, "proxy_resolve_shared_queue", "two", "news", outA)
	h.want(statusNotFound, "proxy_enqueue_shared_queue", news, "x")
}

// Every entry wakes who has registered the queue last, whoever puts it there.
func TestQueueReady(t *testing.T) {
	s := NewShared()
	b := newBare()
	b.queue = b.take()
	code := b.code()
	vm, p := start(t, code, with(s, "receiver"), shards(2))
	sender, _ := start(t, newBare().code(), with(s, "sender"))
	h, next, from := of(t, vm.shard(0)), of(t, vm.shard(1)), of(t, sender.shard(0))
	jobs := h.register("jobs")
	for i := range 10 {
		from.want(statusOK, "proxy_enqueue_shared_queue", jobs, fmt.Sprint(i))
	}
	h.want(statusOK, "proxy_enqueue_shared_queue", jobs, "its own")
	h.eventually("wake-ups", wakes, 11)
	h.eventually("entries", taken, 11)
	same(t, "the other's", next.word(wakes), 0)
	next.register("jobs")
	from.want(statusOK, "proxy_enqueue_shared_queue", jobs, "x")
	next.eventually("entries", taken, 1)
	same(t, "the first's", h.word(wakes), 11)

	// A shard that dies hands on to who has registered before it.
	next.sh.mu.Lock()
	next.sh.die(next.sc, fmt.Errorf("trap"))
	next.sh.mu.Unlock()
	from.want(statusOK, "proxy_enqueue_shared_queue", jobs, "y")
	h.eventually("entries", taken, 12)

	// Nobody left: it waits for who comes.
	_ = p.Close()
	from.want(statusOK, "proxy_enqueue_shared_queue", jobs, "one")
	from.want(statusOK, "proxy_enqueue_shared_queue", jobs, "two")
	fresh, _ := start(t, code, with(s, "receiver"))
	last := of(t, fresh.shard(0))
	same(t, "token", last.register("jobs"), jobs)
	last.eventually("entries", taken, 2)
}

// A guest that empties the queue when it is woken is not woken for what it has taken.
func TestQueueReadyCoalesced(t *testing.T) {
	b := newBare()
	b.queue = asm.Loop(asm.None, b.call("proxy_dequeue_shared_queue", asm.Get(1), asm.Const32(outA), asm.Const32(outB)),
		asm.Eqz32, asm.If(asm.None, inc(taken), asm.Br(1)))
	vm, _ := start(t, b.code())
	h := of(t, vm.shard(0))
	jobs := h.register("jobs")
	h.sh.mu.Lock() // so that it is slow
	for range 1000 {
		same(t, "status", h.enter("proxy_enqueue_shared_queue", uint64(jobs), input, 8), statusOK)
	}
	h.sh.mu.Unlock()
	h.eventually("entries", taken, 1000)
	same(t, "wake-ups", h.word(wakes), 1)
	// One that takes nothing is woken once for each all the same, and no more.
	idle, _ := start(t, newBare().code())
	h = of(t, idle.shard(0))
	jobs = h.register("jobs")
	for range 20 {
		h.want(statusOK, "proxy_enqueue_shared_queue", jobs, "x")
	}
	h.eventually("wake-ups", wakes, 20)
}

func TestQueueBounds(t *testing.T) {
	var b bytes.Buffer
	s := NewShared()
	vm, _ := start(t, newBare().code(), with(s, "one"), logged(&b, zerolog.InfoLevel))
	h := of(t, vm.shard(0))
	jobs, news := h.register("jobs"), h.register("news")
	entry := strings.Repeat("e", 64<<10)
	n := 0
	for ; h.ask("proxy_enqueue_shared_queue", jobs, entry) == statusOK; n++ {
	}
	same(t, "entries of 64 KiB", n, queuedMost/(64<<10+queuedEach))
	h.want(statusNotFound, "proxy_enqueue_shared_queue", news, entry)
	h.dequeue(jobs, entry)
	h.want(statusOK, "proxy_enqueue_shared_queue", news, entry)
	for range n - 1 {
		h.dequeue(jobs, entry)
	}
	h.dequeue(news, entry)
	h.want(statusEmpty, "proxy_dequeue_shared_queue", jobs, outA, outB)
	same(t, "bytes", vm.space.queued, 0)
	same(t, "lines", strings.Count(b.String(), `"kind":"entry"`), 1)

	for i := 2; i < queuesMost; i++ {
		h.register(fmt.Sprint(i))
	}
	same(t, "one queue too many", h.register("last"), nowhere)
	same(t, "one that is there", h.register("jobs"), jobs)
	h.want(statusNotFound, "proxy_enqueue_shared_queue", nowhere, "x")
	h.want(statusNotFound, "proxy_resolve_shared_queue", "", "last", outA)
	same(t, "refused", vm.space.refused[refusedQueue].Load(), 1)
}

// A canary finds the queues of others, and puts what it has to say into ones of its own.
func TestCanaryQueues(t *testing.T) {
	s := NewShared()
	receiver, _ := start(t, newBare().code(), with(s, "receiver"))
	h := of(t, receiver.shard(0))
	jobs := h.register("jobs")
	b := newBare()
	b.Data(1024, []byte("receiverjobs"))
	fails := asm.If(asm.None, asm.Unreachable)
	b.configure = asm.Cat(
		b.call("proxy_resolve_shared_queue", asm.Const32(1024), asm.Const32(8), asm.Const32(1032), asm.Const32(4), asm.Const32(outA)), fails,
		b.call("proxy_enqueue_shared_queue", asm.Const32(outA), asm.Load(0x28, 2, 0), asm.Const32(1024), asm.Const32(12)), fails)
	start(t, b.code(), with(s, "sender"))
	h.dequeue(jobs, "receiverjobs") // the shard's
	h.dequeue(jobs, "receiverjobs") // the spare's
	h.want(statusEmpty, "proxy_dequeue_shared_queue", jobs, outA, outB)
}

// A guest that puts an entry into its own queue whenever it is woken takes no more than its share of a core.
func TestQueueReadyLoops(t *testing.T) {
	b := newBare()
	b.queue = asm.Cat(b.take(), b.call("proxy_enqueue_shared_queue", asm.Get(1), asm.Const32(1024), asm.Const32(4)), asm.Drop,
		// about a millisecond
		asm.Const32(200_000), asm.GlobalSet(b.Global(asm.I32, true, asm.Const32(0))),
		asm.Loop(asm.None, asm.GlobalGet(0), asm.Const32(1), asm.Sub32, asm.GlobalSet(0), asm.GlobalGet(0), asm.BrIf(0)))
	vm, p := start(t, b.code())
	h := of(t, vm.shard(0))
	jobs := h.register("jobs")
	h.sh.mu.Lock()
	before := h.sh.in.CPU()
	h.sh.mu.Unlock()
	begin := time.Now()
	h.want(statusOK, "proxy_enqueue_shared_queue", jobs, "x")
	coretest.Eventually(t, "it loops", func() bool { return h.word(wakes) >= 30 })
	h.sh.mu.Lock()
	spent, took := h.sh.in.CPU()-before, time.Since(begin)
	h.sh.mu.Unlock()
	// The first rest comes when there is something to rest from; what is counted is the processor's time, not the clock's.
	if most := took/(mailShare+1) + 2*mailRest; spent > most {
		t.Errorf("%v of CPU time in %v, want %v at most", spent, took, most)
	}
	// It ends all the same.
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	n := h.word(wakes)
	h.want(statusOK, "proxy_enqueue_shared_queue", jobs, "x")
	same(t, "wake-ups after the end", h.word(wakes), n)
}

// Entries that several VMs put and take at once come out once each.
func TestQueueHammer(t *testing.T) {
	const each = 2000
	s := NewShared()
	b := newBare()
	b.queue = b.take()
	receiver, _ := start(t, b.code(), with(s, "receiver"), shards(3))
	jobs := 0
	for i := range 3 {
		jobs = of(t, receiver.shard(i)).register("jobs")
	}
	sender, _ := start(t, newBare().code(), with(s, "sender"), shards(3))
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			h := of(t, sender.shard(i))
			for range each {
				h.want(statusOK, "proxy_enqueue_shared_queue", jobs, "an entry")
			}
		})
		wg.Go(func() {
			h := of(t, receiver.shard(i))
			for range each / 10 {
				h.register("jobs")
			}
		})
	}
	wg.Wait()
	coretest.Eventually(t, "all entries", func() bool {
		n := uint32(0)
		for i := range 3 {
			n += of(t, receiver.shard(i)).word(taken)
		}
		return n == 3*each
	})
}
