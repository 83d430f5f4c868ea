package proxyabi

import (
	"slices"
	"sync"
	"time"

	"github.com/weirproxy/weir/core/clock"
)

// mailbox is what a shard is woken for. A goroutine empties it: it is there while something is in it, and belongs to the shard,
// which waits for its end. The zero value is ready.
type mailbox struct {
	mu      sync.Mutex
	calls   []wakeup
	running bool
	over    bool
	quit    chan struct{} // nil until the worker first runs; closed when over
	rested  time.Duration // when the worker may go on; its own
	worker  sync.WaitGroup
}

// wakeup says that calls of a root are owed for a queue; the zero value, that the shard serves from now on.
type wakeup struct {
	r *root
	q *queue
}

// post has the worker of sh, whose mailbox it is, see to something. Any goroutine may call, under any lock.
func (m *mailbox) post(sh *shard, w wakeup) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over || slices.Contains(m.calls, w) {
		return
	}
	m.calls = append(m.calls, w)
	if m.running {
		return
	}
	if m.quit == nil {
		m.quit = make(chan struct{})
	}
	m.running = true
	m.worker.Add(1)
	go sh.deliver()
}

// next takes what has waited longest; false: there is nothing, and the worker is over.
func (m *mailbox) next() (w wakeup, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over || len(m.calls) == 0 {
		m.running = false
		return wakeup{}, false
	}
	w = m.calls[0]
	n := copy(m.calls, m.calls[1:])
	m.calls[n] = wakeup{}
	m.calls = m.calls[:n]
	return w, true
}

// close ends deliveries. None is under way after wait.
func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return
	}
	m.over, m.calls = true, nil
	if m.quit != nil {
		close(m.quit)
	}
}

func (m *mailbox) wait() { m.worker.Wait() }

// A guest that puts something into its own queue whenever it is woken would run for ever. So wake-ups take at most a quarter of
// a core for each shard: they are followed by a rest of three times what they took. What is less than mailRest is saved up,
// because so short a sleep lasts far longer than it should.
const (
	mailShare = 3
	mailRest  = 5 * time.Millisecond
	mailCall  = time.Microsecond // of the host's work, counted with every call
)

// deliver is the worker.
func (sh *shard) deliver() {
	m := &sh.mail
	defer m.worker.Done()
	for {
		w, ok := m.next()
		if !ok {
			return
		}
		if w.q == nil {
			sh.beginServing()
			continue
		}
		took, called := sh.wake(w)
		if !called {
			continue
		}
		now := time.Duration(clock.Nano())
		m.rested = max(m.rested, now) + mailShare*(took+mailCall)
		if rest := m.rested - now; rest > mailRest {
			t := time.NewTimer(rest)
			select {
			case <-t.C:
			case <-m.quit:
				t.Stop()
			}
		}
	}
}

// wake makes one call that is owed, unless nothing is left to tell of, and sees to those that follow.
func (sh *shard) wake(w wakeup) (took time.Duration, called bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	q := w.q
	q.space.mu.Lock()
	due := sh.dead == nil && q.owner() == w.r && q.owed > 0
	if due {
		q.owed--
		q.rouse()
	}
	q.space.mu.Unlock()
	if !due {
		return 0, false
	}
	before := sh.in.CPU()
	if _, err := sh.enter(&w.r.scope, sh.fn.queueReady, sh.vm.o.CPU, uint64(w.r.id), uint64(q.token)); err != nil {
		report(w.r.plugin.journal, err, nil)
	}
	return sh.in.CPU() - before, true
}

// serve says that requests are given to the shard from now on. Until then it neither ticks nor is woken for queues: with one
// shard, guests may take it for the only one. Any goroutine may call, under any lock.
func (sh *shard) serve() {
	if !sh.serves.Swap(true) {
		sh.mail.post(sh, wakeup{})
	}
}

// beginServing makes up for what has waited: ticks that are due come at once.
func (sh *shard) beginServing() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.dead != nil {
		return
	}
	now := time.Duration(clock.Nano())
	for _, r := range sh.roots {
		if t := &r.timer; t.period > 0 && !t.armed && !t.over {
			t.arm(r, max(0, t.due-now))
		}
	}
	for _, q := range sh.shared.queuesOf(sh.space) {
		q.space.mu.Lock()
		if r := q.owner(); r != nil && r.sh == sh {
			q.tellAll()
		}
		q.space.mu.Unlock()
	}
}
