package abi

import (
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	now := time.Hour
	sleep := func(d time.Duration) { now += d }
	b := &Breaker{now: func() int64 { return int64(now) }}
	may := func(want, wantTrial bool) {
		t.Helper()
		ok, trial := b.Allow()
		if ok != want || trial != wantTrial {
			t.Fatalf("allow: %v %v, want %v %v", ok, trial, want, wantTrial)
		}
	}
	// Four in ten seconds are borne, however often.
	for range 20 {
		b.Failed(false)
		sleep(2600 * time.Millisecond)
	}
	may(true, false)
	for range breakAfter {
		b.Failed(false)
	}
	may(false, false)
	if left, ok := b.Stopped(); left != time.Second || !ok {
		t.Error(left, ok)
	}
	// A late failure of a call that began before changes nothing.
	b.Failed(false)
	sleep(1001 * time.Millisecond)
	may(true, true)
	may(false, false) // one trial at a time
	b.Settled(false)  // nothing learned: another
	may(true, true)
	for pause := 2 * time.Second; pause < 3*time.Minute; pause *= 2 {
		b.Failed(true)
		p := min(pause, time.Minute)
		sleep(p - time.Millisecond)
		may(false, false)
		sleep(2 * time.Millisecond)
		may(true, true)
	}
	if left, ok := b.Stopped(); left != 0 || !ok { // a trial is under way
		t.Error(left, ok)
	}
	b.Settled(true)
	may(true, false)
	if _, ok := b.Stopped(); ok || b.Open() {
		t.Error("open")
	}
	for range breakAfter - 1 {
		b.Failed(false)
	}
	may(true, false)
}
