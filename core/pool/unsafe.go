package pool

import "unsafe"

// A *byte fits an interface word, a slice does not: pooling the pointer saves the 24-byte allocation of each Put.
func unsafeSlice(p *byte, n int) []byte { return unsafe.Slice(p, n) }

func firstByte(b []byte) *byte { return unsafe.SliceData(b) }
