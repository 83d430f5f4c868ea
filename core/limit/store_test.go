package limit

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func rules(t testing.TB) map[string]*Rule {
	return map[string]*Rule{
		"window": mustRule(t, 1000, time.Minute, 0),
		"log":    mustRule(t, 10, time.Minute, 0),
		"bucket": mustRule(t, 1, time.Hour, 1000),
		"day":    mustRule(t, 1000, day, 0),
	}
}

func TestPeek(t *testing.T) {
	for name, r := range rules(t) {
		s, k := smallStore(), KeyString("a")
		before := s.Peek(r, k, noon)
		if !before.Allowed || before.Remaining != before.Limit || before.RetryAfter != 0 {
			t.Errorf("%s: unused: %+v", name, before)
		}
		if d := s.Take(r, k, noon); d.Remaining != before.Limit-1 {
			t.Errorf("%s: a peek was charged: %+v", name, d)
		}
		for range 10 {
			if d := s.Peek(r, k, noon); !d.Allowed || d.Remaining != before.Limit-1 {
				t.Errorf("%s: %+v", name, d)
			}
		}
		admitted(s, r, k, noon, 2000)
		if d := s.Peek(r, k, noon); d.Allowed || d.Remaining != 0 || d != s.Take(r, k, noon) {
			t.Errorf("%s: used up: %+v", name, d)
		}
	}
	r := mustRule(t, 1, day, 0)
	if d := smallStore().Peek(r, Key{}, noon); d.Reset != 12*time.Hour {
		t.Errorf("day: %+v", d)
	}
}

// An admin who looks at a key does not keep it from being evicted.
func TestPeekIsNoUse(t *testing.T) {
	for name, r := range rules(t) {
		s, k := smallStore(), KeyString("a")
		s.Take(r, k, noon)
		p := s.place(r, k)
		p.find()
		before := *p.slot
		if s.Peek(r, k, noon+sec); *p.slot != before {
			t.Errorf("%s: %+v became %+v", name, before, *p.slot)
		}
	}
}

// Exactly N pass, whatever the number of goroutines.
func TestHammerExactlyN(t *testing.T) {
	for name, r := range rules(t) {
		s, k := NewStore(Options{}), KeyString("a") // with room: the other keys evict nothing
		var passed atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for i := range 1000 {
					if s.Take(r, k, noon+int64(i)).Allowed {
						passed.Add(1)
					}
					s.Take(r, keyOf(i), noon)
					s.Peek(r, k, noon)
				}
			})
		}
		wg.Wait()
		if want := s.Peek(r, k, noon).Limit; passed.Load() != want {
			t.Errorf("%s: %d passed, want %d", name, passed.Load(), want)
		}
	}
}

// Two goroutine groups charge the same rules in opposite order; none is charged for what another refused.
func TestHammerTakeAll(t *testing.T) {
	s := smallStore()
	a, b, c := mustNamed(t, "a", 5000, time.Hour, 0), mustNamed(t, "b", 1, time.Hour, 700), mustNamed(t, "c", 300, day, 0)
	ka, kb, kc := KeyString("a"), KeyString("b"), KeyString("c")
	var passed atomic.Int64
	var wg sync.WaitGroup
	for g := range 16 {
		cs := []Charge{{a, ka}, {b, kb}, {c, kc}}
		if g%2 == 0 {
			cs = []Charge{{c, kc}, {b, kb}, {a, ka}}
		}
		wg.Go(func() {
			for range 500 {
				if d, _ := s.TakeAll(cs, noon); d.Allowed {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != 300 {
		t.Errorf("%d passed, want 300", passed.Load())
	}
	if got := s.Peek(a, ka, noon).Remaining; got != 4700 {
		t.Errorf("a: %d remain, want 4700", got)
	}
	if got := s.Peek(b, kb, noon).Remaining; got != 400 {
		t.Errorf("b: %d remain, want 400", got)
	}
}

func TestTakeAll(t *testing.T) {
	s, k := smallStore(), KeyString("a")
	if d, at := s.TakeAll(nil, noon); !d.Allowed || at != -1 {
		t.Errorf("no charges: %+v, %d", d, at)
	}
	one := []Charge{{mustNamed(t, "one", 1, time.Second, 0), k}}
	if d, at := s.TakeAll(one, noon); !d.Allowed || at != 0 {
		t.Errorf("one charge: %+v, %d", d, at)
	}
	if d, at := s.TakeAll(one, noon); d.Allowed || at != 0 {
		t.Errorf("one charge: %+v, %d", d, at)
	}
	wide, tight, slow := mustNamed(t, "wide", 100, time.Minute, 0), mustNamed(t, "tight", 2, time.Second, 0), mustNamed(t, "slow", 3, time.Minute, 3)
	cs := []Charge{{wide, k}, {tight, k}, {slow, k}, {tight, k}}
	f := func(now int64, allowed bool, at int) {
		t.Helper()
		if d, i := s.TakeAll(cs, now); d.Allowed != allowed || i != at {
			t.Errorf("got %+v, %d; want %v, %d", d, i, allowed, at)
		}
	}
	// tight is listed twice and charged once
	f(noon, true, 1)
	f(noon, true, 1)
	f(noon, false, 1)
	// now slow is the least
	f(noon+sec, true, 2)
	// both refuse: the longer wait
	if !s.Take(tight, k, noon+sec).Allowed {
		t.Error("tight was charged twice")
	}
	f(noon+sec, false, 2)
	if got := s.Peek(wide, k, noon+sec).Remaining; got != 97 {
		t.Errorf("wide: %d remain, want 97", got)
	}

	defer func() {
		if recover() == nil {
			t.Error("17 charges are taken")
		}
	}()
	s.TakeAll(make([]Charge, MaxTogether+1), noon)
}

// A refused TakeAll takes no slot.
func TestTakeAllRefusedInsertsNothing(t *testing.T) {
	s, k := smallStore(), KeyString("a")
	gate, other := mustNamed(t, "gate", 1, time.Minute, 0), mustNamed(t, "other", 10, time.Minute, 0)
	s.Take(gate, k, noon)
	for i := range 10_000 {
		s.TakeAll([]Charge{{gate, k}, {other, keyOf(i)}}, noon)
	}
	used := 0
	for _, sl := range s.tables[1].slots {
		if sl != (slot{}) {
			used++
		}
	}
	if used != 1 {
		t.Errorf("%d slots used", used)
	}
}

// One request's rules never push each other out; what finds no slot passes.
func TestTakeAllOneSet(t *testing.T) {
	s := smallStore()
	s.tables[1] = table{sets: 1, slots: make([]slot, ways), windows: make([]window, ways)}
	var cs []Charge
	for i := range MaxTogether {
		cs = append(cs, Charge{mustNamed(t, string(rune('a'+i)), 2, time.Minute, 0), Key{}})
	}
	for i := range 2 {
		if d, _ := s.TakeAll(cs, noon); !d.Allowed {
			t.Fatalf("%d: %+v", i, d)
		}
	}
	if d, at := s.TakeAll(cs, noon); d.Allowed || at != 0 {
		t.Errorf("%+v, %d", d, at)
	}
	if st := s.Stats(); st.Evicted != 0 {
		t.Errorf("%+v", st)
	}
}

// A flood of other keys, however used below their limit, does not reset a spent key.
func TestEvictionKeepsTheSpent(t *testing.T) {
	flood := 200_000
	if testing.Short() || raceEnabled {
		flood = 50_000
	}
	for name, r := range rules(t) {
		s, k, now := smallStore(), KeyString("victim"), noon
		limit := int(s.Peek(r, k, now).Limit)
		admitted(s, r, k, now, limit)
		for i := range flood {
			now++
			for range min(limit-1, 1+i%7) {
				s.Take(r, keyOf(i), now)
			}
		}
		if s.Take(r, k, now).Allowed {
			t.Errorf("%s: the flood reset the key", name)
		}
		if st := s.Stats(); st.Evicted < uint64(flood/2) || st.EvictedSpent != 0 {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

// With keys that spend their whole limit a flood gets there, at the price of many limits.
func TestEvictionPrice(t *testing.T) {
	r := mustRule(t, 10, time.Minute, 0)
	cheapest := 1 << 30
	for seed := range 20 {
		s, k, now := smallStore(), KeyString("victim"), noon
		admitted(s, r, k, now, 10)
		requests := 0
		for i := 0; s.Peek(r, k, now).Remaining == 0; i++ {
			now = min(now+1<<ageShift, noon+50*sec)
			requests += admitted(s, r, keyOf(seed<<40+i), now, 10)
		}
		cheapest = min(cheapest, requests)
	}
	t.Logf("cheapest of 20: %d requests for 10, in the smallest store", cheapest)
	if cheapest < 10*ways*10 {
		t.Errorf("a spent key was reset by %d requests", cheapest)
	}
}

func TestEvictionOrder(t *testing.T) {
	l, now := new(stripe), noon
	tb := table{sets: 1, slots: make([]slot, ways)}
	for i := range tb.slots {
		s := &tb.slots[i]
		s.lo, s.until = uint64(i+1), now+int64(time.Hour)
		s.mark(uint64(i%5), 4, now-int64(i)<<ageShift)
	}
	// slots 0…7 have levels 0 1 2 3 4 0 1 2, older from left to right
	evicts := func() uint64 {
		for i := range tb.slots {
			tb.slots[i].hi = 0
		}
		before := tb.slots[:]
		lows := make([]uint64, ways)
		for i := range before {
			lows[i] = before[i].lo
		}
		p := place{table: &tb, hi: 1, lo: 99}
		p.insert(l, now, nil)
		for i := range tb.slots {
			if tb.slots[i].lo != lows[i] {
				p.slot.until = now + int64(time.Hour)
				p.slot.mark(4, 4, now)
				p.slot.lo += uint64(i)
				return lows[i]
			}
		}
		return 0
	}
	for _, want := range []uint64{6, 1, 7, 2, 8, 3, 4, 5} {
		if got := evicts(); got != want {
			t.Fatalf("slot %d evicted, want %d", got, want)
		}
	}
	if l.evicted != 8 || l.spent != 1 {
		t.Errorf("%d evicted, %d spent", l.evicted, l.spent)
	}
	tb.slots[3].until = now // void goes first
	if p := (place{table: &tb, lo: 7}); true {
		if p.insert(l, now, nil); p.slot != &tb.slots[3] || l.evicted != 8 {
			t.Error("a void slot was not taken")
		}
	}
}

func TestFlatMemory(t *testing.T) {
	keys := 10_000_000
	if testing.Short() || raceEnabled {
		keys = 1_000_000
	}
	const size = 16 << 20
	s := NewStore(Options{Bytes: size})
	w, b := mustRule(t, 100, time.Minute, 0), mustRule(t, 100, time.Minute, 100)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range keys {
		k := keyOf(i)
		s.Take(w, k, noon+int64(i))
		s.Take(b, k, noon+int64(i))
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 1<<20 {
		t.Errorf("%d bytes more from the system after %d keys", grown, keys)
	}
	st := s.Stats()
	if st.Bytes > size || st.Bytes < size*99/100 || st.Slots < size/100 {
		t.Errorf("%+v", st)
	}
	if want := uint64(2*keys - st.Slots); st.Evicted < want || st.Evicted > want+uint64(st.Slots/10) {
		t.Errorf("%d evicted, want about %d", st.Evicted, want)
	}
}

func TestStoreSizes(t *testing.T) {
	if st := NewStore(Options{}).Stats(); st.Bytes > defaultBytes || st.Bytes < defaultBytes*99/100 {
		t.Errorf("default: %+v", st)
	}
	if st := smallStore().Stats(); st.Bytes > 160<<10 || st.Slots != 2*minSets*ways {
		t.Errorf("smallest: %+v", st)
	}
}
