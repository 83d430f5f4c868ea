package upstream

import (
	"math/bits"
	"slices"
)

// table gives every hashed key an endpoint: a lookup table as in Maglev (Eisenbud et al., NSDI 2016, §3.4). It depends on
// nothing but names and weights, so that all replicas of weir send a key to the same endpoint; and when one of n endpoints
// leaves, little more than its own 1/n of the keys move.
type table struct {
	names   []string // sorted
	weights []int64
	slots   []uint16 // indices into names
}

// tableSizes are primes. A table has at least slotsEach slots for an endpoint: the fewer, the more keys of others move
// when one leaves, and the less even are the shares (5003 slots for 50 endpoints: 2.4 % moved in vain; 65537: 0.4 %).
var tableSizes = [...]int{65537, 262147}

const slotsEach = 200

// newTable makes the table of names, which are sorted and all different. Weights are above 0.
func newTable(names []string, weights []int64) *table {
	t := &table{names: names, weights: weights}
	size := tableSizes[len(tableSizes)-1]
	if i := slices.IndexFunc(tableSizes[:], func(n int) bool { return n >= slotsEach*len(names) }); i >= 0 {
		size = tableSizes[i]
	}
	type walk struct{ at, step, due int64 }
	walks := make([]walk, len(names))
	for i, name := range names {
		h := hash([]byte(name))
		walks[i] = walk{at: int64(h % uint64(size)), step: int64(mix(h, hashC)%uint64(size-1)) + 1}
	}
	const free = ^uint16(0)
	t.slots = slices.Repeat([]uint16{free}, size)
	most := slices.Max(weights)
	for filled, round := 0, int64(1); filled < size; round++ {
		for i := range walks {
			w := &walks[i]
			if round*weights[i] < w.due { // its share lags behind that of the greatest weight
				continue
			}
			w.due += most
			for t.slots[w.at] != free {
				w.at = (w.at + w.step) % int64(size)
			}
			t.slots[w.at] = uint16(i)
			if filled++; filled == size {
				break
			}
		}
	}
	return t
}

// is reports whether t is the table of names and weights.
func (t *table) is(names []string, weights []int64) bool {
	return t != nil && slices.Equal(t.names, names) && slices.Equal(t.weights, weights)
}

const hashA, hashB, hashC = 0x9e3779b97f4a7c15, 0xd1b54a32d192ed03, 0x8cb92ba72f3d8dd7

// hash is the same in every process, unlike maphash: replicas must agree. It need not withstand clients that choose keys
// to meet at one endpoint; they could send one key.
func hash(p []byte) uint64 {
	h := uint64(len(p)) * hashA
	for ; len(p) >= 8; p = p[8:] {
		h = mix(h^uint64(p[0])^uint64(p[1])<<8^uint64(p[2])<<16^uint64(p[3])<<24^
			uint64(p[4])<<32^uint64(p[5])<<40^uint64(p[6])<<48^uint64(p[7])<<56, hashB)
	}
	var rest uint64
	for i, c := range p {
		rest |= uint64(c) << (8 * i)
	}
	return mix(mix(h^rest^hashA, hashB), hashC)
}

// mix multiplies to 128 bits and folds them.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^hashA, b)
	return hi ^ lo
}
