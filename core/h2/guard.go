package h2

import (
	"time"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/clock"
)

// spend takes n from what the peer may send without use.
func (c *conn) spend(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spendLocked(n)
}

func (c *conn) spendLocked(n int) error {
	if !c.calm.spend(n) {
		return c.flooded("too many frames that carry nothing")
	}
	return nil
}

func (c *conn) flood(text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flooded(text)
}

func (c *conn) flooded(text string) error {
	c.set.Calmed.Inc()
	return &Error{Code: http2.ErrCodeEnhanceYourCalm, Text: text}
}

// closedRing remembers the last streams that were closed, and which of them we reset: the peer may not know it yet, and what
// it has sent on them is no error (RFC 9113 §5.4.2).
type closedRing struct {
	ids  [128]uint32 // id<<1 | ours; an id has 31 bits
	next int
}

func (r *closedRing) add(id uint32, ours bool) {
	v := id << 1
	if ours {
		v |= 1
	}
	r.ids[r.next] = v
	r.next = (r.next + 1) % len(r.ids)
}

// find reports whether the stream is one of them, and whether we reset it.
func (r *closedRing) find(id uint32) (known, ours bool) {
	for _, v := range r.ids {
		if v>>1 == id {
			return true, v&1 != 0
		}
	}
	return false, false
}

// budget is what a peer may spend at once; a tenth of it comes back each second.
type budget struct {
	left, most int64 // thousandths
	since      int64
}

func newBudget(n int) budget {
	return budget{left: int64(n) * 1000, most: int64(n) * 1000, since: clock.Nano()}
}

func (b *budget) spend(n int) bool {
	if b.left < b.most {
		now := clock.Nano()
		if ms := (now - b.since) / int64(time.Millisecond); ms > 0 {
			b.left = min(b.most, b.left+min(ms, 10_000)*b.most/10_000)
			b.since += ms * int64(time.Millisecond)
		}
	} else {
		b.since = clock.Nano()
	}
	b.left -= int64(n) * 1000
	return b.left >= 0
}

// earn gives back for what was of use.
func (b *budget) earn(n int) { b.left = min(b.most, b.left+int64(n)*1000) }
