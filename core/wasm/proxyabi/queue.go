package proxyabi

import (
	"math"
	"slices"

	"github.com/weirproxy/weir/core/wasm"
)

var queueFunctions = []wasm.HostFunc{
	function("proxy_register_shared_queue", "iii", registerQueue),
	function("proxy_resolve_shared_queue", "iiiii", resolveQueue),
	function("proxy_enqueue_shared_queue", "iii", enqueue),
	function("proxy_dequeue_shared_queue", "iii", dequeue),
}

// Bounds on the queues of one scope.
const (
	queuesMost = 1024
	queuedMost = 64 << 20 // bytes of entries
	queuedEach = 64       // counted for every entry beside its bytes
)

// nowhere is the token of a queue that could not be made: nothing can be put there.
const nowhere = math.MaxUint32

// queue is a list of entries that any VM may add to and take from. Its space's mutex guards it.
type queue struct {
	space   *space
	token   uint32
	entries [][]byte // from first on
	first   int
	owners  []*root // who has registered it, in order
	owed    int     // wake-ups of it, never more than there are entries
}

func (q *queue) len() int { return len(q.entries) - q.first }

func (q *queue) push(entry []byte) {
	q.entries = append(q.entries, entry)
	q.space.queued += len(entry) + queuedEach
}

func (q *queue) pop() []byte {
	entry := q.entries[q.first]
	q.entries[q.first] = nil
	if q.first++; q.first > 32 && 2*q.first > len(q.entries) {
		n := copy(q.entries, q.entries[q.first:])
		clear(q.entries[n:])
		q.entries, q.first = q.entries[:n], 0
	}
	if q.space.queued -= len(entry) + queuedEach; q.len() == 0 && cap(q.entries) > 1024 {
		q.entries, q.first = nil, 0
	}
	q.owed = min(q.owed, q.len())
	return entry
}

// own makes r the one that is woken, once its shard serves; it learns of what lies there already.
func (q *queue) own(r *root) {
	before := q.owner()
	q.remove(r)
	q.owners = append(q.owners, r)
	if q.owner() != before {
		q.tellAll()
	}
}

// tellAll owes a wake-up for every entry.
func (q *queue) tellAll() {
	q.owed = q.len()
	q.rouse()
}

// disown takes r out; who has registered before it is woken instead.
func (q *queue) disown(r *root) {
	q.remove(r)
	q.rouse()
}

func (q *queue) remove(r *root) {
	if i := slices.Index(q.owners, r); i >= 0 {
		q.owners = slices.Delete(q.owners, i, i+1)
	}
}

// owner is who is woken: the last one whose shard serves; nil: nobody. Guests that resume requests when they are woken must be
// woken where these are.
func (q *queue) owner() *root {
	for i := len(q.owners) - 1; i >= 0; i-- {
		if r := q.owners[i]; r.sh.serves.Load() {
			return r
		}
	}
	return nil
}

// rouse has the owner's shard call it, if a call is owed.
func (q *queue) rouse() {
	if r := q.owner(); r != nil && q.owed > 0 {
		r.sh.mail.post(r.sh, wakeup{r, q})
	}
}

// registerQueue is proxy_register_shared_queue (name, length, token*). The Rust SDK bears no error: a queue too many gets a token
// that no queue has.
func registerQueue(sh *shard, a []uint64) status {
	name, ok := sh.read(a[0], a[1])
	if !ok {
		return statusInvalidMemory
	}
	q := sh.shared.register(sh.space, name)
	if q == nil {
		sh.space.refuse(sh, refusedQueue)
		return sh.put32(a[2], nowhere)
	}
	if r := sh.root(); r != nil && sh.fn.queueReady != nil && !sh.canary && !r.timer.over {
		q.space.mu.Lock()
		q.own(r)
		q.space.mu.Unlock()
	}
	return sh.put32(a[2], q.token)
}

// register finds or makes a queue; nil: there are too many.
func (s *Shared) register(sp *space, name []byte) *queue {
	if len(name) > dataInPlace {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := sp.queues[string(name)]; q != nil {
		return q
	}
	if len(sp.queues) >= queuesMost {
		return nil
	}
	for {
		if s.token++; s.token != 0 && s.token != nowhere && s.queues[s.token] == nil {
			break
		}
	}
	q := &queue{space: sp, token: s.token}
	sp.queues[string(name)], s.queues[q.token] = q, q
	return q
}

// resolveQueue is proxy_resolve_shared_queue (vm_id, length, name, length, token*). No vm_id is the own scope.
func resolveQueue(sh *shard, a []uint64) status {
	scope, ok1 := sh.read(a[0], a[1])
	name, ok2 := sh.read(a[2], a[3])
	if !ok1 || !ok2 {
		return statusInvalidMemory
	}
	if len(scope) > dataInPlace || len(name) > dataInPlace || len(scope) > 0 && scope[0] == Private[0] {
		return statusNotFound
	}
	s := sh.shared
	s.mu.RLock()
	sp := sh.space
	if len(scope) > 0 {
		sp = s.spaces[string(scope)]
	}
	var q *queue
	if sp != nil {
		q = sp.queues[string(name)]
	}
	s.mu.RUnlock()
	if q == nil && sh.canary {
		q = sh.double(scope, name)
	}
	if q == nil {
		return statusNotFound
	}
	return sh.put32(a[4], q.token)
}

// double gives a canary a queue of its own for one that there is.
func (sh *shard) double(scope, name []byte) *queue {
	s := sh.vm.o.Shared
	s.mu.RLock()
	sp := s.spaces[string(scope)]
	there := sp != nil && sp.queues[string(name)] != nil
	s.mu.RUnlock()
	if !there {
		return nil
	}
	return sh.shared.register(sh.shared.enter(string(scope)), name)
}

func (s *Shared) queue(token uint32) *queue {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.queues[token]
}

// enqueue is proxy_enqueue_shared_queue (token, data, length). What does not fit is refused as if there were no queue: the Rust
// SDK hands that on as an error, and panics on others.
func enqueue(sh *shard, a []uint64) status {
	data, ok := sh.read(a[1], a[2])
	if !ok {
		return statusInvalidMemory
	}
	q := sh.shared.queue(u32(a[0]))
	if q == nil {
		return statusNotFound
	}
	sp := q.space
	sp.mu.Lock()
	full := sp.queued+len(data)+queuedEach > queuedMost
	if !full {
		q.push(slices.Clone(data))
		q.owed = min(q.owed+1, q.len())
		q.rouse()
	}
	sp.mu.Unlock()
	if full {
		sp.refuse(sh, refusedEntry)
		return statusNotFound
	}
	return statusOK
}

// dequeue is proxy_dequeue_shared_queue (token, data*, length*).
func dequeue(sh *shard, a []uint64) status {
	q := sh.shared.queue(u32(a[0]))
	if q == nil {
		return statusNotFound
	}
	q.space.mu.Lock()
	if q.len() == 0 {
		q.space.mu.Unlock()
		return statusEmpty
	}
	data := q.pop()
	q.space.mu.Unlock()
	return sh.give(a[1], a[2], data)
}

// stopQueues ends the wake-ups of a root: none follows the one that may be under way, unless the guest registers anew.
func (r *root) stopQueues() {
	for _, q := range r.sh.shared.queuesOf(r.sh.space) {
		q.space.mu.Lock()
		q.disown(r)
		q.space.mu.Unlock()
	}
}

// queuesOf lists the queues of a space: a root registers those of its own scope only.
func (s *Shared) queuesOf(sp *space) (all []*queue) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, q := range sp.queues {
		all = append(all, q)
	}
	return all
}
