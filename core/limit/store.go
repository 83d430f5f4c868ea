// Package limit is the local rate limiter: counters of one process, in fixed memory, without an
// allocation and without a goroutine.
//
// A [Rule] says how much; a [Key] says of whom; a [Store] counts. Without a burst a rule is a sliding
// window, with one it is a bucket (GCRA), and a rule of 24 hours without a burst is a calendar day in
// UTC. A refused request is never counted, so that a client that keeps knocking is not locked out.
//
// # Time
//
// Every now is Unix time in nanoseconds, and not negative. It may come from goroutines out of order:
// a call up to ten seconds older than what its counter has seen is taken as late and never gains from
// it. A call older than that means that the clock was set back: what the counter holds is moved to the
// new time, so that nobody waits longer than one period (or the time in which a burst refills) and ten
// seconds. A clock that jumps forward makes what is counted expire early.
package limit

import (
	"math/bits"
	"sync"
)

const (
	// MaxTogether is the most charges one [Store.TakeAll] accepts.
	MaxTogether = 16

	// late is how old a call may be, against its own counter, before the clock is held to have been set back.
	late = 10e9

	defaultBytes = 64 << 20
	minSets      = 64
	stripes      = 256 // locks of each table
)

// Options size a store.
type Options struct {
	// Bytes is the memory the store takes at most, all of it reserved at once and made resident only as
	// keys come: three quarters for sliding windows (192 bytes a key), one quarter for buckets and days
	// (32 bytes a key). Zero means 64 MiB; at least 160 KiB are taken.
	Bytes int64
}

// Store holds the counters of all rules. It is made once and outlives reloads: a counter is found by
// its rule's ID. All methods may be called concurrently. There is nothing to close.
type Store struct {
	tables [2]table // 0: buckets and days, 1: windows
	locks  [2 * stripes]stripe
}

// stripe is one lock and what is counted under it, on a cache line of its own.
type stripe struct {
	mu      sync.Mutex
	evicted uint64
	spent   uint64
	_       [40]byte
}

// NewStore returns an empty store.
func NewStore(o Options) *Store {
	b := o.Bytes
	if b <= 0 {
		b = defaultBytes
	}
	b -= 2 * stripes * 64
	s := new(Store)
	s.tables[0] = newTable(b/4/(ways*slotBytes), false)
	s.tables[1] = newTable(b/4*3/(ways*(slotBytes+windowBytes)), true)
	return s
}

// Charge is one rule and the key it is to be charged to.
type Charge struct {
	Rule *Rule
	Key  Key
}

// Take charges one request to r and k, if r allows it, and says what came of it.
func (s *Store) Take(r *Rule, k Key, now int64) Decision {
	p := s.place(r, k)
	l := &s.locks[p.lock]
	l.mu.Lock()
	p.find()
	if p.slot == nil {
		p.insert(l, now, nil)
	}
	d := r.step(p.slot, p.window, now, true)
	l.mu.Unlock()
	return d
}

// Peek says what r would answer now, charging nothing: Remaining is what is left before a request. It
// is no use of the key: one that is only peeked at is evicted as if it were not.
func (s *Store) Peek(r *Rule, k Key, now int64) Decision {
	p := s.place(r, k)
	l := &s.locks[p.lock]
	l.mu.Lock()
	defer l.mu.Unlock()
	p.find()
	if p.slot == nil {
		return r.unused(now)
	}
	meta := p.slot.meta
	d := r.step(p.slot, p.window, now, false)
	p.slot.meta = meta
	return d
}

// TakeAll charges one request to every charge in cs, or, if any of them refuses, to none: all their
// locks are held, in one order, from the first check to the last charge. A rule and key that occur
// twice are charged once.
//
// It returns the decision that matters and its index in cs: when refused, the one with the longest
// wait, since only then all would pass; when allowed, the one with the least remaining. Without
// charges it allows, with index -1. It panics when there are more than [MaxTogether].
func (s *Store) TakeAll(cs []Charge, now int64) (Decision, int) {
	if len(cs) == 1 {
		return s.Take(cs[0].Rule, cs[0].Key, now), 0
	}
	var places [MaxTogether]place
	var order [MaxTogether]uint16
	if len(cs) > MaxTogether {
		panic("limit: more charges than MaxTogether")
	}
	ps, locks := places[:len(cs)], order[:0]
	for i := range cs {
		ps[i] = s.place(cs[i].Rule, cs[i].Key)
		locks = addSorted(locks, ps[i].lock)
	}
	for _, l := range locks {
		s.locks[l].mu.Lock()
	}
	d, at := checkAll(cs, ps, now)
	if d.Allowed {
		d, at = s.chargeAll(cs, ps, now)
	}
	for _, l := range locks {
		s.locks[l].mu.Unlock()
	}
	return d, at
}

func addSorted(locks []uint16, l uint16) []uint16 {
	i := len(locks)
	for i > 0 && locks[i-1] >= l {
		i--
	}
	if i < len(locks) && locks[i] == l {
		return locks
	}
	locks = append(locks, 0)
	copy(locks[i+1:], locks[i:])
	locks[i] = l
	return locks
}

// checkAll finds the slots that exist. It inserts none: a refused request must not push out others.
func checkAll(cs []Charge, ps []place, now int64) (Decision, int) {
	worst, at := Decision{Allowed: true}, -1
	for i := range ps {
		ps[i].find()
		if ps[i].slot == nil {
			continue
		}
		d := cs[i].Rule.step(ps[i].slot, ps[i].window, now, false)
		if !d.Allowed && (worst.Allowed || d.RetryAfter > worst.RetryAfter) {
			worst, at = d, i
		}
	}
	return worst, at
}

func (s *Store) chargeAll(cs []Charge, ps []place, now int64) (Decision, int) {
	tight, at := Decision{Allowed: true}, -1
	for i := range ps {
		if twice(ps[:i], &ps[i]) {
			continue
		}
		if ps[i].slot == nil {
			ps[i].insert(&s.locks[ps[i].lock], now, ps)
		}
		d := chargeOne(cs[i].Rule, &ps[i], now)
		if at < 0 || d.Remaining < tight.Remaining {
			tight, at = d, i
		}
	}
	return tight, at
}

func chargeOne(r *Rule, p *place, now int64) Decision {
	if p.slot == nil {
		d := r.unused(now)
		d.Remaining--
		return d
	}
	return r.step(p.slot, p.window, now, true)
}

func twice(before []place, p *place) bool {
	for i := range before {
		if before[i].lo == p.lo && before[i].hi == p.hi {
			return true
		}
	}
	return false
}

// Stats are counts since the store was made, and its size.
type Stats struct {
	Slots        int    // keys that fit, over both tables
	Bytes        int64  // memory reserved
	Evicted      uint64 // keys forgotten before their counter was void
	EvictedSpent uint64 // those of them whose limit was used up: the store is too small, or flooded
}

// Stats adds up the counts; it takes each lock once and is meant for metrics and admin.
func (s *Store) Stats() Stats {
	st := Stats{Bytes: 2 * stripes * 64}
	for i := range s.tables {
		t := &s.tables[i]
		st.Slots += len(t.slots)
		st.Bytes += int64(len(t.slots))*slotBytes + int64(len(t.windows))*windowBytes
	}
	for i := range s.locks {
		l := &s.locks[i]
		l.mu.Lock()
		st.Evicted += l.evicted
		st.EvictedSpent += l.spent
		l.mu.Unlock()
	}
	return st
}

// place is where one rule's counter of one key is, or would be.
type place struct {
	table  *table
	hi, lo uint64
	first  int // index of the set's first slot
	lock   uint16
	slot   *slot // nil: not there
	window *window
}

func (s *Store) place(r *Rule, k Key) place {
	hi, lo := slotHash(r.ID, k)
	i := uint16(r.table)
	t := &s.tables[i]
	set, _ := bits.Mul64(hi, t.sets)
	return place{table: t, hi: hi, lo: lo, first: int(set) * ways, lock: i*stripes + uint16(set%stripes)}
}
