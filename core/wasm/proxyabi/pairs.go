package proxyabi

import (
	"encoding/binary"
	"time"

	"github.com/weirproxy/weir/core/wasm/abi"
)

// A serialised map is a number n of pairs, n times the lengths of a name and a value, and n times the name and the value
// themselves, each with a zero byte behind it. Numbers are of 32 bits, little-endian. An empty map is no bytes at all.

// Bounds on what a guest may serialise, which are Envoy's.
const (
	maxPairs     = 1024
	maxPairBytes = 1 << 20
)

// pairCost is what a pair costs the host, without its bytes. It is charged, since a guest spends next to nothing on asking.
const pairCost = 20 * time.Nanosecond

// pairBytes is the length of a serialised map.
func pairBytes(n, size int) int {
	if n == 0 {
		return 0
	}
	return 4 + 8*n + size + 2*n
}

// getPairs writes a map straight into guest memory.
func getPairs(sh *shard, a []uint64) status {
	f, ok := sh.fieldsOf(u32(a[0]))
	if !ok {
		return statusBadArgument
	}
	n, size := f.measure()
	sh.in.Burn(pairCost*time.Duration(n) + time.Duration(size/4))
	dst, st := sh.reserve(a[1], a[2], pairBytes(n, size))
	if st != statusOK || n == 0 {
		return st
	}
	w := pairWriter{head: dst[4:], body: dst[4+8*n:]}
	binary.LittleEndian.PutUint32(dst, uint32(n))
	f.write(&w)
	return statusOK
}

// write hands the pairs of a map, in the order that guests see, to w.
func (f *fields) write(w *pairWriter) {
	for _, name := range f.before() {
		if value, ok := f.extra(name); ok {
			w.pair(name, value)
		}
	}
	for i := range f.h.Len() {
		if fd := f.h.At(i); known(fd) {
			w.pair(abi.ViewString(fd.Name), fd.Value)
		}
	}
	for _, name := range behind {
		if value, ok := f.extra(name); ok {
			w.pair(name, value)
		}
	}
}

// pairWriter writes pairs where room has been made for them: lengths to head, names and values to body.
type pairWriter struct{ head, body []byte }

// pair writes one; its name in lower case.
func (w *pairWriter) pair(name string, value []byte) {
	n := w.sizes(len(name), len(value))
	for i := range name {
		n[i] = abi.LowerByte(name[i])
	}
	n[len(name)] = 0
	v := n[len(name)+1:]
	v[copy(v, value)] = 0
}

// sizes writes the lengths of a pair and gives the place where the pair itself belongs.
func (w *pairWriter) sizes(name, value int) (place []byte) {
	binary.LittleEndian.PutUint32(w.head, uint32(name))
	binary.LittleEndian.PutUint32(w.head[4:], uint32(value))
	w.head = w.head[8:]
	place = w.body
	w.body = w.body[name+value+2:]
	return place
}

// pairs reads a serialised map.
type pairs struct {
	n    int    // that are left
	head []byte // their lengths
	body []byte // names and values
}

// parsePairs begins to read what a guest has serialised. What is malformed, or more than Envoy takes, is an empty map.
func parsePairs(b []byte) (p pairs) {
	if len(b) < 4 || len(b) > maxPairBytes {
		return p
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	if n > maxPairs || uint64(len(b)) < 4+8*n {
		return p
	}
	total := 4 + 8*n
	for i := range int(n) {
		at := b[4+8*i:]
		total += uint64(binary.LittleEndian.Uint32(at)) + uint64(binary.LittleEndian.Uint32(at[4:])) + 2
	}
	if total != uint64(len(b)) {
		return p
	}
	return pairs{n: int(n), head: b[4 : 4+8*n], body: b[4+8*n:]}
}

// next gives the next pair, a view of what was parsed; ok is false at the end.
func (p *pairs) next() (name, value []byte, ok bool) {
	if p.n == 0 {
		return nil, nil, false
	}
	k, v := binary.LittleEndian.Uint32(p.head), binary.LittleEndian.Uint32(p.head[4:])
	name, value = p.body[:k:k], p.body[k+1:k+1+v:k+1+v]
	p.n, p.head, p.body = p.n-1, p.head[8:], p.body[k+v+2:]
	return name, value, true
}

// setPairs makes a map what the guest says. Pseudo fields that it does not name stay what they were.
func setPairs(sh *shard, a []uint64) status {
	f, ok := sh.fieldsOf(u32(a[0]))
	if !ok {
		return statusBadArgument
	}
	b, ok := sh.read(a[1], a[2])
	if !ok {
		return statusInvalidMemory
	}
	if f.h == nil || !f.open {
		sh.refuse("", "the map cannot be changed now")
		return statusOK
	}
	f.h.Truncate(0)
	sh.changed(&f)
	sized, p := false, parsePairs(b)
	sh.in.Burn(5*pairCost*time.Duration(p.n) + time.Duration(len(b)/2))
	for name, value, ok := p.next(); ok; name, value, ok = p.next() {
		sized = sized || sh.lower(name) == nameLength
		sh.set(&f, name, value, true)
	}
	if !sized {
		f.unsize()
	}
	return statusOK
}
