package limit

import (
	"testing"
	"time"
)

func TestDay(t *testing.T) {
	s, r, k := smallStore(), mustRule(t, 3, day, 0), KeyString("a")
	start := time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC).UnixNano()
	end := start + int64(day)
	f := func(at int64, want Decision) {
		t.Helper()
		if got := s.Take(r, k, at); got != want {
			t.Errorf("at %s: got %+v, want %+v", time.Unix(0, at).UTC(), got, want)
		}
	}
	f(start, Decision{Allowed: true, Limit: 3, Remaining: 2, Reset: day})
	f(start+int64(time.Hour), Decision{Allowed: true, Limit: 3, Remaining: 1, Reset: 23 * time.Hour})
	f(end-1, Decision{Allowed: true, Limit: 3, Remaining: 0, Reset: 1})
	f(end-1, Decision{Limit: 3, Reset: 1, RetryAfter: 1})
	f(end, Decision{Allowed: true, Limit: 3, Remaining: 2, Reset: day})
	// late by a little: counted on the new day
	f(end-5*sec, Decision{Allowed: true, Limit: 3, Remaining: 1, Reset: day + 5*time.Second})
	// two days unseen
	f(end+2*int64(day)+1, Decision{Allowed: true, Limit: 3, Remaining: 2, Reset: day - 1})
}

func TestDayClock(t *testing.T) {
	s, r, k := smallStore(), mustRule(t, 3, day, 0), KeyString("a")
	admitted(s, r, k, noon, 3)
	// a year back: what was counted stays so, until that day's midnight
	now := noon - 365*int64(day)
	if d := s.Take(r, k, now); d.Allowed || d.RetryAfter != 12*time.Hour {
		t.Errorf("set back: %+v", d)
	}
	if got := admitted(s, r, k, now+int64(12*time.Hour), 9); got != 3 {
		t.Errorf("after the midnight of the clock set back: %d admitted", got)
	}
	if got := admitted(s, r, k, noon+365*int64(day), 9); got != 3 {
		t.Errorf("set ahead: %d admitted", got)
	}
}
