package limit

import "time"

const (
	subBuckets = 18
	ringLen    = subBuckets + 1
)

// window is what a sliding window keeps beside its slot: a ring of sub-buckets, oldest first, each with
// the number of requests and the time of the last of them. A sub-bucket opens with a request, takes
// those of the next 18th of the period, and is counted whole until its last request is a period old.
// So what is counted always covers the period, no interval of that length holds more than N, and N
// requests at one moment are free again exactly one period later. Up to 19 live sub-buckets are
// possible: 18 begin within a period, one before it. A rule with N of at most 19 keeps every
// request's own time.
//
// The slot's count is the sum over the ring, its until is one period after the last request.
type window struct {
	opened  uint32 // tick of the newest sub-bucket's first request
	head, n uint16
	ring    [ringLen]subBucket
}

// subBucket times are ticks modulo 2^32, rounded up.
type subBucket struct {
	last, count uint32
}

func (r *Rule) stepWindow(s *slot, w *window, now int64, charge bool) Decision {
	at := now
	if s.until <= now {
		s.count, w.head, w.n = 0, 0, 0
	} else if last := s.until - int64(r.Per); now < last {
		if last-now > late {
			w.setBack(uint32((last - now) >> r.tick))
			s.until = now + int64(r.Per)
		} else {
			at = last
		}
	}
	tick := at >> r.tick
	w.expire(s, uint32(tick), r.ticks)

	d := Decision{Allowed: int64(s.count) < r.N, Limit: r.N}
	if d.Allowed && charge {
		w.add(uint32((at+1<<r.tick-1)>>r.tick), r.cell)
		s.count++
		s.until = at + int64(r.Per)
	}
	s.mark(uint64(s.count), uint64(r.N), at)
	d.Remaining = r.N - int64(s.count)
	d.Reset = time.Duration(max(0, s.until-now))
	if !d.Allowed {
		oldest := int32(uint32(tick) - w.ring[w.head].last)
		free := (tick + int64(r.ticks) - int64(oldest)) << r.tick
		d.RetryAfter = time.Duration(min(free, s.until) - now)
	}
	return d
}

func (w *window) setBack(ticks uint32) {
	w.opened -= ticks
	for i := range w.ring {
		w.ring[i].last -= ticks
	}
}

// expire drops the sub-buckets that are ticks old. Differences stay below 2^31: a period is at most
// 2^30 ticks, and since the last request, when nothing older was left, less than a period went by.
func (w *window) expire(s *slot, tick uint32, ticks int32) {
	for w.n > 0 && int32(tick-w.ring[w.head].last) >= ticks {
		s.count -= w.ring[w.head].count
		w.n--
		if w.head++; w.head == ringLen {
			w.head = 0
		}
	}
}

// add counts one request. A full ring cannot open another sub-bucket; it cannot come to that, but if it
// did, counting into the newest would refuse too much, not too little.
func (w *window) add(tick, cell uint32) {
	if w.n > 0 && (tick-w.opened < cell || w.n == ringLen) {
		b := &w.ring[(w.head+w.n-1)%ringLen]
		b.last = tick
		b.count++
		return
	}
	w.opened = tick
	w.ring[(w.head+w.n)%ringLen] = subBucket{last: tick, count: 1}
	w.n++
}
