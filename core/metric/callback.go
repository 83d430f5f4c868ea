package metric

import (
	"slices"
	"strconv"
)

// Callback is a value that is asked for when it is rendered.
type Callback struct {
	own *series
	ask func() float64
}

// Release takes the callback back. A rendering under way may still call it once.
func (c *Callback) Release() {
	if c != nil {
		c.own.withdraw(c)
	}
}

// callbacks are what holds one series by callback: plans old and new may name the same one, and the newest answers.
type callbacks []*Callback

func (cs callbacks) empty() bool { return len(cs) == 0 }

func (cs callbacks) appendTo(dst []byte, name, labels string) []byte {
	dst = append(append(dst, name...), labels...)
	dst = strconv.AppendFloat(append(dst, ' '), cs[len(cs)-1].ask(), 'g', -1, 64)
	return append(dst, '\n')
}

// SpreadCallback is a Spread that is asked for when it is rendered.
type SpreadCallback struct {
	own *series
	ask func() *Spread
}

// Release takes the callback back. What it has shown stays counted as long as somebody shows something under the same
// labels. A rendering under way may still call it once.
func (c *SpreadCallback) Release() {
	f := c.own.f
	f.mu.Lock()
	defer f.mu.Unlock()
	s := c.own.value.(*spreads)
	i := slices.Index(s.live, c)
	if i < 0 {
		return
	}
	// A copy: a rendering may hold the old one.
	next := &spreads{live: slices.Delete(slices.Clone(s.live), i, i+1), gone: s.gone}
	if left := c.ask(); left != nil && !next.shows(left) {
		d := left.Read()
		next.gone.Add(&d)
	}
	c.own.value = next
	c.own.drop()
}

// spreads is what holds one series: one spread may be shown by several, and counts once.
type spreads struct {
	live []*SpreadCallback
	gone Distribution // of those that are shown no more
}

func (s *spreads) shows(one *Spread) bool {
	return slices.ContainsFunc(s.live, func(c *SpreadCallback) bool { return c.ask() == one })
}

func (s *spreads) empty() bool {
	return s.gone.Count() == 0 && !slices.ContainsFunc(s.live, func(c *SpreadCallback) bool { return c.ask() != nil })
}

func (s *spreads) appendTo(dst []byte, name, labels string) []byte {
	sum := s.gone
	seen := map[*Spread]bool{nil: true}
	for _, c := range s.live {
		if one := c.ask(); !seen[one] {
			seen[one] = true
			d := one.Read()
			sum.Add(&d)
		}
	}
	return sum.appendHistogram(dst, name, labels)
}
