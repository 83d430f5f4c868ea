package metric

import "strconv"

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

func (cs callbacks) appendTo(dst []byte, name, labels string) []byte {
	dst = append(append(dst, name...), labels...)
	dst = strconv.AppendFloat(append(dst, ' '), cs[len(cs)-1].ask(), 'g', -1, 64)
	return append(dst, '\n')
}
