package proxyabi

import "encoding/binary"

// Bounds of a map that a guest hands over.
const (
	maxPairs     = 1024
	maxPairBytes = 1 << 20
)

// eachPair calls f for the pairs of a serialised map (u32 count, then two u32 lengths a pair, then names and values each with a
// NUL). What is malformed has none.
func eachPair(b []byte, f func(name, value []byte)) bool {
	if len(b) < 4 {
		return len(b) == 0
	}
	n := binary.LittleEndian.Uint32(b)
	if n > maxPairs || len(b) > maxPairBytes || uint64(len(b)) < 4+8*uint64(n) {
		return false
	}
	sizes, rest := b[4:4+8*n], b[4+8*n:]
	total := uint64(0)
	for i := uint32(0); i < n; i++ {
		total += uint64(binary.LittleEndian.Uint32(sizes[8*i:])) + uint64(binary.LittleEndian.Uint32(sizes[8*i+4:])) + 2
	}
	if total != uint64(len(rest)) {
		return false
	}
	for i := uint32(0); i < n; i++ {
		k, v := binary.LittleEndian.Uint32(sizes[8*i:]), binary.LittleEndian.Uint32(sizes[8*i+4:])
		f(rest[:k], rest[k+1:k+1+v])
		rest = rest[k+v+2:]
	}
	return true
}
