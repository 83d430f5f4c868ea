package proxyabi

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weirproxy/weir/core/wasm"
)

var sharedFunctions = []wasm.HostFunc{
	function("proxy_get_shared_data", "iiiii", getShared),
	function("proxy_set_shared_data", "iiiii", setShared),
}

// Bounds on what the VMs of one scope may keep. A key has maxName bytes at most. A guest cannot take a key away, so without them one key a client fills the node.
const (
	dataMost    = 64 << 20 // bytes of keys and values
	dataEach    = 128      // counted for every key beside its bytes
	dataInPlace = 4 << 10  // a value up to this length is written over; a longer one is replaced
)

// Shared is what VMs share: data by key, queues and metrics. One serves a process. Safe for concurrent use.
//
// Locks are taken in this order: a shard's, Shared's, a space's, a mailbox's. No guest is called under any but the first.
type Shared struct {
	mu     sync.RWMutex
	spaces map[string]*space
	queues map[uint32]*queue // by token
	token  uint32            // given last

	metrics metrics
}

// NewShared makes an empty one.
func NewShared() *Shared {
	return &Shared{spaces: map[string]*space{}, queues: map[uint32]*queue{}}
}

// Private begins the scope of a filter that shares with nobody: no guest can name one that begins so.
const Private = "\x00"

// scopeName is a scope as people see it.
func scopeName(scope string) string {
	if name, private := strings.CutPrefix(scope, Private); private {
		return "filter " + name
	}
	return scope
}

// ties are what a shard has of what is shared.
type ties struct {
	space  *space // the scope's; a canary's own
	mail   mailbox
	serves atomic.Bool // requests are given to it
	copied []byte      // a value on its way to the guest
	table  table
}

// space is what the VMs of one scope share.
type space struct {
	name    string
	vms     int                             // under the Shared's mu
	queues  map[string]*queue               // likewise
	defined [metricKinds]map[string]*series // under the metrics' mu
	series  int                             // in defined

	mu     sync.Mutex // guards what follows, and the queues themselves
	data   map[string]*datum
	cas    uint32 // given last
	bytes  int    // of data
	queued int    // bytes in queues

	refused [refusals]atomic.Uint64
}

// What is refused for a bound.
const (
	refusedData = iota
	refusedEntry
	refusedQueue
	refusedMetric
	refusals
)

var refusedNames = [refusals]string{"data", "entry", "queue", "metric"}

// enter gives the space of a scope to one more VM.
func (s *Shared) enter(scope string) *space {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.spaces[scope]
	if sp == nil {
		sp = &space{name: scope, data: map[string]*datum{}, queues: map[string]*queue{}}
		for i := range sp.defined {
			sp.defined[i] = map[string]*series{}
		}
		s.spaces[scope] = sp
	}
	sp.vms++
	return sp
}

// leave takes it back. With its last VM, whose shards have ended, a space is gone: data, queues and metrics.
func (s *Shared) leave(sp *space) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sp.vms--; sp.vms > 0 {
		return
	}
	delete(s.spaces, sp.name)
	for _, q := range sp.queues {
		delete(s.queues, q.token)
	}
	s.metrics.release(sp)
}

// refuse counts what a bound does not allow. The log tells of the first of a kind.
func (sp *space) refuse(sh *shard, what int) {
	if sp.refused[what].Add(1) == 1 {
		sh.vm.journal.Log().Warn().Str("scope", sp.name).Str("kind", refusedNames[what]).
			Msg("filters of one scope share too much: refused from now on")
	}
}

// datum is a value and its version. A short value is written over in place and copied under the lock; a long one never
// changes, so that it can be read without.
type datum struct {
	value []byte
	cas   uint32
}

func (d *datum) cost(key int) int { return key + cap(d.value) + dataEach }

// getShared is proxy_get_shared_data (key, length, value*, length*, cas*).
func getShared(sh *shard, a []uint64) status {
	key, ok := sh.read(a[0], a[1])
	if !ok {
		return statusInvalidMemory
	}
	if len(key) > maxName {
		return statusNotFound
	}
	sp := sh.space
	sp.mu.Lock()
	d := sp.data[string(key)]
	if d == nil {
		sp.mu.Unlock()
		return statusNotFound
	}
	value, cas := d.value, d.cas
	if cap(value) <= dataInPlace {
		sh.copied = append(sh.copied[:0], value...)
		value = sh.copied
	}
	sp.mu.Unlock()
	if st := sh.give(a[2], a[3], value); st != statusOK {
		return st
	}
	return sh.put32(a[4], cas)
}

// setShared is proxy_set_shared_data (key, length, value, length, cas): with a cas other than 0 only if that is still the
// value's. A key that is not there yet takes any.
//
// What does not fit is refused as a mismatch: it is the one answer beside OK that the Rust SDK bears, and it says truly that
// the value has not been set. To drop other keys instead would let clients that make keys wash out the one that says that they
// are banned.
func setShared(sh *shard, a []uint64) status {
	key, ok1 := sh.read(a[0], a[1])
	value, ok2 := sh.read(a[2], a[3])
	if !ok1 || !ok2 {
		return statusInvalidMemory
	}
	sp := sh.space
	if len(key) > maxName || len(value) > dataMost {
		sp.refuse(sh, refusedData)
		return statusCasMismatch
	}
	sp.mu.Lock()
	st, full := sp.set(key, value, u32(a[4]))
	sp.mu.Unlock()
	if full {
		sp.refuse(sh, refusedData)
	}
	return st
}

// set is setShared; sp.mu is held.
func (sp *space) set(key, value []byte, cas uint32) (st status, full bool) {
	d := sp.data[string(key)]
	if d != nil && cas != 0 && cas != d.cas {
		return statusCasMismatch, false
	}
	before := 0
	if d != nil {
		before = d.cost(len(key))
	}
	if d == nil || len(value) > cap(d.value) || cap(d.value) > dataInPlace {
		if sp.bytes-before+len(key)+len(value)+dataEach > dataMost {
			return statusCasMismatch, true
		}
		if d == nil {
			d = &datum{}
			sp.data[string(key)] = d
		}
		d.value = make([]byte, len(value)) // not by append: its capacity is what counts
		sp.bytes += d.cost(len(key)) - before
	}
	d.value = d.value[:len(value)]
	copy(d.value, value)
	if sp.cas++; sp.cas == 0 {
		sp.cas++
	}
	d.cas = sp.cas
	return statusOK, false
}
