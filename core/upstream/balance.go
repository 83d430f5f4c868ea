package upstream

import (
	"math/rand/v2"
	"slices"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
)

// Balance is how requests are spread over endpoints. All ways honour weights.
type Balance uint8

// The ways of balancing.
const (
	BalanceRoundRobin    Balance = iota // in turn, smoothly by weight
	BalanceLeastRequests                // the one with the fewest requests in flight for its weight
	BalanceRandom                       // the better of two drawn by weight
	BalanceHash                         // by a key of the request, which stays where it is while its endpoint does
)

// scanMost is up to how many endpoints least_requests looks at all of them; above, at two drawn by weight. It is close to
// as good, and its cost does not grow.
const scanMost = 8

// set is what an upstream's endpoints are at one moment. It never changes: another is put in its place.
type set struct {
	entries []entry     // those that take part, usable or not
	turns   []uint16    // indices into entries: of each usable one as often as its weight, spread evenly
	table   *table      // of BalanceHash; gives indices into entries
	standby []*Endpoint // usable ones of later SRV priorities, the best first
	all     []*Endpoint
	panics  bool // too few are usable: all of entries count as usable
}

type entry struct {
	e      *Endpoint
	weight int64  // of the moment
	accept uint32 // how many of acceptAll hashed keys are taken: fewer while the endpoint starts slowly; 0: not usable
}

// acceptAll is the whole of a hash's part that slow start decides by.
const acceptAll = 1 << 16

// nobody says why there is none to pick.
func (s *set) nobody() error {
	if len(s.all) == 0 {
		return errUnknown
	}
	return errUnusable
}

// pick chooses among s as g's balance wants it; nil if no breaker lets the request through. turns is not empty.
func (s *set) pick(g *group, x *exchange.Exchange, not *Endpoint) (*Endpoint, Ticket) {
	var e *Endpoint
	var t Ticket
	switch g.o.Balance {
	case BalanceRoundRobin:
		e, t = s.scan(s.turn(g, not), not)
	case BalanceLeastRequests:
		if len(s.entries) <= scanMost {
			e, t = s.least(s.turn(g, not), not)
		} else {
			e, t = s.two(not)
		}
	case BalanceRandom:
		e, t = s.two(not)
	case BalanceHash:
		if sum, ok := g.o.Hash.sum(x); ok {
			e, t = s.hashed(sum, not)
		} else {
			e, t = s.two(not)
		}
	}
	if e != nil {
		return e, t
	}
	for _, e := range s.standby {
		if e != not {
			if t, ok := e.admit(); ok {
				return e, t
			}
		}
	}
	return nil, Ticket{}
}

// turn is whose turn it is. A retry takes none: else first tries and retries would alternate, and with two endpoints all
// first tries would go to one.
func (s *set) turn(g *group, not *Endpoint) int {
	n := g.next.Load()
	if not == nil {
		n = g.next.Add(1) - 1
	}
	return int(s.turns[n%uint32(len(s.turns))]) // as an int n would be negative where those have 32 bits
}

// scan takes entry first, or the first after it that lets the request through.
func (s *set) scan(first int, not *Endpoint) (*Endpoint, Ticket) {
	n := len(s.entries)
	for i := first; i < first+n; i++ {
		at := i
		if at >= n {
			at -= n
		}
		if c := &s.entries[at]; c.accept != 0 && c.e != not {
			if t, ok := c.e.admit(); ok {
				return c.e, t
			}
		}
	}
	return nil, Ticket{}
}

// least takes the entry with the fewest requests in flight for its weight. It looks at first before the others: while all
// are idle, turns decide.
func (s *set) least(first int, not *Endpoint) (*Endpoint, Ticket) {
	n := len(s.entries)
	best := -1
	for i := first; i < first+n; i++ {
		at := i
		if at >= n {
			at -= n
		}
		if c := &s.entries[at]; c.accept != 0 && c.e != not && (best < 0 || c.less(&s.entries[best])) && c.e.ready() {
			best = at
		}
	}
	if best < 0 {
		return nil, Ticket{}
	}
	return s.scan(best, not) // which goes on when another was faster at a half-open breaker
}

// two draws two entries by weight and takes the one with fewer requests in flight.
func (s *set) two(not *Endpoint) (*Endpoint, Ticket) {
	a, b := s.draw()
	if s.entries[b].less(&s.entries[a]) {
		a, b = b, a
	}
	for _, at := range [2]int{a, b} {
		if e := s.entries[at].e; e != not {
			if t, ok := e.admit(); ok {
				return e, t
			}
		}
	}
	return s.scan(a, not)
}

// draw gives two usable entries, different ones if they can be found in a few steps.
func (s *set) draw() (a, b int) {
	r := rand.Uint64()
	n := uint64(len(s.turns))
	// Multiplying draws from n without the cost of a division; the bias is below n in 2^32.
	i, j := (r>>32)*n>>32, (r&(1<<32-1))*n>>32
	a, b = int(s.turns[i]), int(s.turns[j])
	for k := uint64(1); a == b && k <= 4 && k < n; k++ {
		b = int(s.turns[(j+k)%n])
	}
	return a, b
}

// hashed takes the entry of sum's slot. A slot whose endpoint can't be used goes to those of the slots after it, until it
// can again; the other keys stay where they are.
func (s *set) hashed(sum uint64, not *Endpoint) (*Endpoint, Ticket) {
	const steps = 64 // enough for all but hopeless cases, which scan decides
	slots := s.table.slots
	part := uint32(sum & (acceptAll - 1))
	at := int(sum >> 32 * uint64(len(slots)) >> 32)
	last := -1
	for range steps {
		i := int(slots[at])
		if c := &s.entries[i]; i != last && part < c.accept && c.e != not {
			if t, ok := c.e.admit(); ok {
				return c.e, t
			}
		}
		last = i
		if at++; at == len(slots) {
			at = 0
		}
	}
	return s.scan(last, not)
}

func (c *entry) less(d *entry) bool {
	return c.e.inFlight.Load()*d.weight < d.e.inFlight.Load()*c.weight
}

// admit asks e's breaker, and counts the request in.
func (e *Endpoint) admit() (Ticket, bool) {
	var t Ticket
	if b := e.Breaker; b != nil {
		ok := false
		if t, ok = b.pass(); !ok {
			if t, ok = b.Allow(clock.Nano()); !ok {
				return t, false
			}
		}
	}
	e.inFlight.Add(1)
	return t, true
}

func (e *Endpoint) ready() bool {
	b := e.Breaker
	return b == nil || b.State() == BreakerClosed || b.Ready(clock.Nano())
}

// spread lays out turns so that entry i has weights[i] of them and no entry's turns are bunched (the smooth weighted order
// that nginx made common). A weight of 0 has none. Weights are made smaller where they ask for too many turns, in
// proportion.
func spread(weights []int64) []uint16 {
	small, total := shrink(weights)
	turns := make([]uint16, 0, total)
	if !slices.ContainsFunc(small, func(w int64) bool { return w != 1 }) {
		for i := range small {
			turns = append(turns, uint16(i))
		}
		return turns
	}
	current := make([]int64, len(small))
	for range total {
		best := -1
		for i, w := range small {
			current[i] += w
			if w > 0 && (best < 0 || current[i] > current[best]) {
				best = i
			}
		}
		current[best] -= total
		turns = append(turns, uint16(best))
	}
	return turns
}

// maxTurns bounds the turns of a set, unless it has more endpoints than that.
const maxTurns = 4096

// shrink divides weights by what they have in common, and then so far that they are no more than maxTurns together. What
// is not 0 stays at least 1.
func shrink(weights []int64) (small []int64, total int64) {
	var common int64
	for _, w := range weights {
		total += w
		for w > 0 {
			common, w = w, common%w
		}
	}
	small = make([]int64, len(weights))
	if total == 0 {
		return small, 0
	}
	most := total / common
	if most > maxTurns {
		most = maxTurns
	}
	sum := int64(0)
	for i, w := range weights {
		if w > 0 {
			small[i] = max((w*most+total/2)/total, 1)
		}
		sum += small[i]
	}
	return small, sum
}
