package limit

const (
	ways        = 8
	slotBytes   = 32
	windowBytes = 160

	// A slot's meta is its level above the moment of its last use, in units of 2^24 ns, modulo 2^29 (104 days).
	ageBits   = 29
	ageMask   = 1<<ageBits - 1
	ageShift  = 24
	levelFull = 4
)

// table is a set-associative table: a key belongs to one set of 8 slots, chosen by its hash. It has no
// pointers, so the garbage collector does not look into it.
type table struct {
	sets    uint64
	slots   []slot
	windows []window // beside slots, or nil
}

// slot is one counter. What until and count mean is the algorithm's; for all of them the slot is void
// from until on.
type slot struct {
	hi, lo uint64
	until  int64
	count  uint32
	meta   uint32
}

func newTable(sets int64, windows bool) table {
	t := table{sets: uint64(max(sets, minSets))}
	t.slots = make([]slot, t.sets*ways)
	if windows {
		t.windows = make([]window, t.sets*ways)
	}
	return t
}

func (p *place) find() {
	set := p.table.slots[p.first : p.first+ways : p.first+ways]
	for i := range set {
		if set[i].lo == p.lo && set[i].hi == p.hi {
			p.use(i)
			return
		}
	}
}

func (p *place) use(i int) {
	p.slot = &p.table.slots[p.first+i]
	if p.table.windows != nil {
		p.window = &p.table.windows[p.first+i]
	}
}

// insert takes the slot of its set whose loss gives away least: one that is void, else the one whose
// budget is used least (in quarters), else the one not used for longest. To make the store forget a
// client that has spent its limit, a flood must therefore spend as many limits as the set has slots,
// without knowing which keys fall into that set.
//
// Slots of others (the same request's charges) are left alone. When they take up the whole set, which
// needs nine rules of one request in one of many sets, p stays without a slot and is not counted.
func (p *place) insert(l *stripe, now int64, others []place) {
	victim, least := -1, uint32(0)
	for i := range ways {
		s := &p.table.slots[p.first+i]
		if holds(others, s) {
			continue
		}
		if s.until <= now {
			victim = i
			break
		}
		age := (uint32(now>>ageShift) - s.meta) & ageMask
		rank := s.meta&^ageMask | (ageMask - age)
		if victim < 0 || rank < least {
			victim, least = i, rank
		}
	}
	if victim < 0 {
		return
	}
	p.use(victim)
	if p.slot.until > now {
		l.evicted++
		if p.slot.meta>>ageBits == levelFull {
			l.spent++
		}
	}
	*p.slot = slot{hi: p.hi, lo: p.lo}
}

func holds(ps []place, s *slot) bool {
	for i := range ps {
		if ps[i].slot == s {
			return true
		}
	}
	return false
}

// mark notes the use of s at now, with used of limit spent.
func (s *slot) mark(used, limit uint64, now int64) {
	var level uint32
	switch {
	case used >= limit:
		level = levelFull
	case used >= limit-limit/4:
		level = 3
	case used >= limit/2:
		level = 2
	case used >= limit/4:
		level = 1
	}
	s.meta = level<<ageBits | uint32(now>>ageShift)&ageMask
}
