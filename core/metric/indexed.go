package metric

import (
	"sync"
	"sync/atomic"
)

// MaxIndex is the number of counters that an Indexed can hold.
const MaxIndex = 64

// Indexed is a row of counters told apart by a small number, such as a fault's kind. A counter comes into being when it
// is first counted, so that a kind that never happened costs no series. Any goroutine may count; nil counts nothing.
type Indexed struct {
	slots [MaxIndex]atomic.Pointer[Counter]

	mu      sync.Mutex
	acquire func(i int) *Counter
}

// NewIndexed makes a row whose counters acquire gives; it is called at most once an index.
func NewIndexed(acquire func(i int) *Counter) *Indexed { return &Indexed{acquire: acquire} }

// Inc counts one at i. What is outside the row counts at its last place.
func (x *Indexed) Inc(i int) {
	if x == nil {
		return
	}
	if uint(i) >= MaxIndex {
		i = MaxIndex - 1
	}
	c := x.slots[i].Load()
	if c == nil {
		c = x.first(i)
	}
	c.Add(1)
}

// Value is the count at i.
func (x *Indexed) Value(i int) uint64 {
	if x == nil || uint(i) >= MaxIndex {
		return 0
	}
	return x.slots[i].Load().Value()
}

// Release releases every counter that came into being; none does from now on.
func (x *Indexed) Release() {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.acquire == nil {
		return
	}
	x.acquire = nil
	for i := range x.slots {
		x.slots[i].Load().Release()
	}
}

func (x *Indexed) first(i int) *Counter {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.slots[i].Load(); c != nil || x.acquire == nil {
		return c
	}
	c := x.acquire(i)
	x.slots[i].Store(c)
	return c
}
