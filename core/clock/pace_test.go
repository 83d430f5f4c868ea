package clock

import "testing"

func TestPace(t *testing.T) {
	var p Pace
	seconds, passed := 0, 0
	for range 1000 {
		ok, first := p.Admit(3)
		if first {
			seconds++
		}
		if ok {
			passed++
		}
	}
	if passed < 3 || passed > 3*(seconds+1) {
		t.Errorf("%d passed in %d seconds", passed, seconds)
	}
}
