package clock

import (
	"sync/atomic"
	"time"
)

// Pace tells whether one more of so many things a second may happen. Its methods may be called concurrently; the zero value is
// ready.
type Pace struct{ second, n atomic.Int64 }

// Admit reports whether this one may, of most a second, and whether a second has begun since the last was asked for.
func (p *Pace) Admit(most int64) (ok, first bool) {
	now := Nano() / int64(time.Second)
	if then := p.second.Load(); then != now && p.second.CompareAndSwap(then, now) {
		p.n.Store(0)
		first = true
	}
	return p.n.Add(1) <= most, first
}
