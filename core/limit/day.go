package limit

import "time"

// stepDay counts by calendar day in UTC. The slot's until is the midnight at which its count is void.
func (r *Rule) stepDay(s *slot, now int64, charge bool) Decision {
	end := midnight(now)
	switch {
	case s.until <= now:
		s.until, s.count = end, 0
	case s.until != end && s.until-int64(day)-now <= late:
		end = s.until // a late call, after others saw the new day
	case s.until != end:
		s.until = end // the clock was set back; what was counted stays counted
	}

	d := Decision{Allowed: int64(s.count) < r.N, Limit: r.N, Reset: time.Duration(end - now)}
	if d.Allowed && charge {
		s.count++
	}
	s.mark(uint64(s.count), uint64(r.N), now)
	d.Remaining = r.N - int64(s.count)
	if !d.Allowed {
		d.RetryAfter = d.Reset
	}
	return d
}

func midnight(now int64) int64 {
	return now - now%int64(day) + int64(day)
}
