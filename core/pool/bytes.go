// Package pool lends byte buffers of a few fixed sizes.
package pool

import "sync"

// Sizes of the buffers that are lent, in bytes: a request head, a body chunk, the largest head that may be configured by default.
const (
	Small  = 4 << 10
	Medium = 16 << 10
	Large  = 64 << 10
)

var small, medium, large sync.Pool

// Acquire lends a buffer of at least n bytes, full length. Above Large it is made anew and not kept on Release.
func Acquire(n int) []byte {
	var p *sync.Pool
	var size int
	switch {
	case n <= Small:
		p, size = &small, Small
	case n <= Medium:
		p, size = &medium, Medium
	case n <= Large:
		p, size = &large, Large
	default:
		return make([]byte, n)
	}
	if b, ok := p.Get().(*byte); ok {
		return unsafeSlice(b, size)
	}
	return make([]byte, size)
}

// Release takes back what Acquire lent. The caller keeps no view of it. A nil buffer is allowed.
func Release(b []byte) {
	switch cap(b) {
	case Small:
		small.Put(firstByte(b))
	case Medium:
		medium.Put(firstByte(b))
	case Large:
		large.Put(firstByte(b))
	}
}
