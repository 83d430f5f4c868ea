package identity

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultCacheEntries = 16 << 10
	defaultCacheBytes   = 32 << 20
	defaultCacheTTL     = 60 * time.Second

	ways       = 8
	maxShards  = 16
	entryBytes = 256 // an entry and an Identity beside their texts
)

// CacheOptions bound a cache. The zero value takes the defaults.
type CacheOptions struct {
	// Entries is the most tokens held, rounded down to a power of two, at least 8; 0: 16,384.
	Entries int
	// Bytes is about the most memory held by them; 0: 32 MiB. A token that would fill a shard is not held.
	Bytes int64
	// TTL is the longest a token is believed without being verified again; 0: 60 s. It is never believed past its exp.
	TTL time.Duration
}

// CacheStats is the state of a cache. Hits are the calls that were no misses.
type CacheStats struct {
	Entries, Bytes          int64
	Misses, Stored, Dropped uint64
}

// Cache keeps verified identities by their whole token. Only tokens that verified get in, so nobody without a token can
// push others out, and a refusal is never remembered. All methods may be called concurrently; a nil Cache only verifies.
//
// It is set-associative with a second chance (CLOCK) and not otter: otter v2's keys are comparable types, so a look-up by
// []byte needs the token copied to a string or hashed by SHA-256 first, and each hit is recorded in a buffer for its
// policy. Here a hit takes no lock and writes at most one bit: hash, two cache lines of tags, compare, four numbers.
type Cache struct {
	seed   maphash.Seed
	ttl    int64 // nanoseconds
	sets   []cacheSet
	shards []cacheShard
	shift  int // index of a set → index of its shard
}

// cacheSet holds the entries whose hash selects it. The tags spare touching the entries that differ.
type cacheSet struct {
	tags  [ways]atomic.Uint64
	slots [ways]atomic.Pointer[cacheEntry]
}

// cacheEntry is immutable but for used.
type cacheEntry struct {
	hash       uint64
	generation [32]byte
	token      string
	id         *Identity
	born, dies int64 // nanoseconds since the epoch
	bytes      int64
	used       atomic.Bool
}

// cacheShard serialises the writers of a run of sets.
type cacheShard struct {
	mu              sync.Mutex
	sets            []cacheSet
	hand            int // the slot of the shard where the clock stands
	entries         int64
	bytes, limit    int64
	stored, dropped uint64
	misses          atomic.Uint64
	_               [64]byte // the next shard's lock is another core's
}

// NewCache makes a cache. It needs no closing.
func NewCache(o CacheOptions) (*Cache, error) {
	if o.Entries == 0 {
		o.Entries = defaultCacheEntries
	}
	if o.Bytes == 0 {
		o.Bytes = defaultCacheBytes
	}
	if o.TTL == 0 {
		o.TTL = defaultCacheTTL
	}
	if o.Entries < ways || o.Entries > 1<<24 {
		return nil, fmt.Errorf("build token cache: %d entries, want %d to %d", o.Entries, ways, 1<<24)
	}
	if o.Bytes < 0 || o.TTL < 0 {
		return nil, errors.New("build token cache: bytes and ttl must not be negative")
	}
	sets := 1 << (bits.Len(uint(o.Entries/ways)) - 1)
	shards := min(sets, maxShards)
	c := &Cache{
		seed:   maphash.MakeSeed(),
		ttl:    int64(o.TTL),
		sets:   make([]cacheSet, sets),
		shards: make([]cacheShard, shards),
		shift:  bits.Len(uint(sets/shards)) - 1,
	}
	run := sets / shards
	for i := range c.shards {
		c.shards[i].sets = c.sets[i*run : (i+1)*run]
		c.shards[i].limit = o.Bytes / int64(shards)
	}
	return c, nil
}

// Verify is Provider.Verify with the answer remembered. A hit allocates nothing and checks the time claims anew; a token
// verified by other keys or under other rules is not found. The token is only read; an entry keeps a copy.
func (c *Cache) Verify(p *Provider, token []byte, now time.Time) (*Identity, Reason) {
	ks := p.keys.Load()
	if c == nil || len(token) == 0 || len(token) > p.o.MaxTokenBytes {
		return p.verify(ks, token, now)
	}
	hash := maphash.Bytes(c.seed, token)
	nano := now.UnixNano()
	e := c.find(ks, hash, token)
	if e != nil && nano >= e.born && nano < e.dies {
		if reason := e.id.at(now.Unix()); reason != OK {
			return nil, reason
		}
		if !e.used.Load() {
			e.used.Store(true)
		}
		return e.id, OK
	}
	id, reason := p.verify(ks, token, now)
	s := c.shard(hash)
	s.misses.Add(1)
	if reason == OK {
		c.store(ks, hash, token, id, nano)
	}
	return id, reason
}

// find compares the generation and the full token, so two tokens of one hash are two entries. The hash is keyed with a
// secret of the process: nobody can aim at a slot, and the time of the comparison tells nothing about other tokens.
func (c *Cache) find(ks *keySet, hash uint64, token []byte) *cacheEntry {
	set := &c.sets[c.index(hash)]
	for i := range set.tags {
		if set.tags[i].Load() != hash {
			continue
		}
		e := set.slots[i].Load()
		if e != nil && e.hash == hash && e.token == string(token) && e.generation == ks.generation {
			return e
		}
	}
	return nil
}

func (c *Cache) index(hash uint64) uint64 { return hash & uint64(len(c.sets)-1) }

func (c *Cache) shard(hash uint64) *cacheShard { return &c.shards[c.index(hash)>>c.shift] }

func (c *Cache) store(ks *keySet, hash uint64, token []byte, id *Identity, now int64) {
	e := &cacheEntry{hash: hash, generation: ks.generation, token: string(token), id: id, dies: now + c.ttl}
	// A clock set back shows as a time before born and makes a miss; two cores may differ by less than a second.
	e.born = now - int64(time.Second)
	if id.Expires != 0 && id.Expires <= e.dies/int64(time.Second) {
		e.dies = id.Expires * int64(time.Second)
	}
	if e.dies <= now {
		return // valid by leeway only
	}
	// The claims point into the payload, about three quarters of the token's length.
	e.bytes = int64(entryBytes + 2*len(token) + id.claims.bytes() + len(id.Scopes)*stringBytes)
	s := c.shard(hash)
	if e.bytes > s.limit {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(&c.sets[c.index(hash)], e, now)
}

// put replaces the same token, or takes a free slot, or drops an entry that is dead or was not used since it was last
// passed by.
func (s *cacheShard) put(set *cacheSet, e *cacheEntry, now int64) {
	at := set.place(e, now)
	s.drop(set, at)
	set.slots[at].Store(e)
	set.tags[at].Store(e.hash)
	s.entries++
	s.bytes += e.bytes
	s.stored++
	// Each store walks on a little, so what died leaves although nobody asks for it.
	for range ways {
		s.step(now, false, e)
	}
	s.shrink(e, now)
}

// shrink drops entries until the shard is within its bytes. Readers may mark entries as fast as the clock clears them, so
// after two turns it drops without asking.
func (s *cacheShard) shrink(spare *cacheEntry, now int64) {
	turn := len(s.sets) * ways
	for n := 0; s.bytes > s.limit && n < 3*turn; n++ {
		if n == 2*turn {
			now = math.MaxInt64
		}
		s.step(now, true, spare)
	}
}

func (set *cacheSet) place(e *cacheEntry, now int64) int {
	free, cold := -1, -1
	for i := range set.slots {
		o := set.slots[i].Load()
		switch {
		case o == nil || o.dies <= now:
			free = i
		case o.hash == e.hash && o.generation == e.generation && o.token == e.token:
			return i
		case !o.used.Load():
			cold = i
		}
	}
	if free >= 0 {
		return free
	}
	if cold >= 0 {
		return cold
	}
	for i := range set.slots {
		set.slots[i].Load().used.Store(false)
	}
	return int(e.hash>>32) % ways
}

// step moves the clock's hand by one slot. It drops the dead; under pressure also what was not used since the last turn,
// but for the entry just stored.
func (s *cacheShard) step(now int64, pressed bool, spare *cacheEntry) {
	set, i := &s.sets[s.hand/ways], s.hand%ways
	s.hand = (s.hand + 1) % (len(s.sets) * ways)
	e := set.slots[i].Load()
	if e == nil || e == spare {
		return
	}
	if e.dies <= now || pressed && !e.used.Load() {
		s.drop(set, i)
		return
	}
	if pressed {
		e.used.Store(false)
	}
}

func (s *cacheShard) drop(set *cacheSet, i int) {
	e := set.slots[i].Load()
	if e == nil {
		return
	}
	set.tags[i].Store(0)
	set.slots[i].Store(nil)
	s.entries--
	s.bytes -= e.bytes
	s.dropped++
}

// Purge forgets everything, for an emergency at the issuer. A verification under way may still be stored.
func (c *Cache) Purge() {
	if c == nil {
		return
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for j := range s.sets {
			for k := range ways {
				s.drop(&s.sets[j], k)
			}
		}
		s.mu.Unlock()
	}
}

// Stats adds up the shards.
func (c *Cache) Stats() (st CacheStats) {
	if c == nil {
		return st
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		st.Entries += s.entries
		st.Bytes += s.bytes
		st.Stored += s.stored
		st.Dropped += s.dropped
		s.mu.Unlock()
		st.Misses += s.misses.Load()
	}
	return st
}
