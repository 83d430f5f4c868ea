package limit

import "time"

// stepBucket is the generic cell rate algorithm. The slot's until and count are the theoretical arrival
// time in ns and in 2^-fraction ns; how far it lies ahead of now is the debt, which may reach one burst.
// The cost of a request is rounded up by less than 2^-fraction ns, so in a time t at most
// N·t/Per + Burst requests pass.
func (r *Rule) stepBucket(s *slot, now int64, charge bool) Decision {
	var debt uint64
	if ahead := s.until - now; ahead >= 0 {
		if ahead > late+int64(r.burst>>r.fraction)+1 {
			r.setDebt(s, r.burst, now)
			ahead = s.until - now
		}
		debt = uint64(ahead)<<r.fraction + uint64(s.count)
	}

	d := Decision{Allowed: debt+r.cost <= r.burst, Limit: r.Burst}
	if d.Allowed && charge {
		debt += r.cost
		r.setDebt(s, debt, now)
	}
	s.mark(debt, r.burst-r.cost+1, now)
	if debt < r.burst {
		d.Remaining = int64((r.burst - debt) / r.cost)
	}
	d.Reset = r.ceil(debt)
	if !d.Allowed {
		d.RetryAfter = r.ceil(debt + r.cost - r.burst)
	}
	return d
}

func (r *Rule) setDebt(s *slot, debt uint64, now int64) {
	s.until = now + int64(debt>>r.fraction)
	s.count = uint32(debt & (1<<r.fraction - 1))
}

func (r *Rule) ceil(t uint64) time.Duration {
	return time.Duration((t + 1<<r.fraction - 1) >> r.fraction)
}
