package clock

import (
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	last := Nano()
	if last < 1 {
		t.Fatal(last)
	}
	for range 1000 {
		now := Nano()
		if now < last {
			t.Fatalf("%d after %d", now, last)
		}
		last = now
	}
	if d := time.Since(Wall(Nano())); d < -time.Second || d > time.Second {
		t.Errorf("the wall clock is %v away", d)
	}
	if Wall(int64(time.Hour)).Sub(Wall(0)) != time.Hour {
		t.Error("an hour is an hour")
	}
}
