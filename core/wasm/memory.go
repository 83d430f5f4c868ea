package wasm

import (
	"encoding/binary"

	"github.com/tetratelabs/wazero/experimental"
)

// Memory is a guest's linear memory as the host sees it. Offsets come from guests: every method checks them and answers
// false for what lies outside. Views are valid until the guest runs again, because a guest may grow its memory, and
// never beyond the instance's return to its stock: the pages are unmapped when an instance is closed.
type Memory struct {
	b       []byte // what the guest may use now
	limit   uint64
	grown   bool // since the last refill
	refused bool // a growth was refused for the cap
	backing backing
}

// backing is where the bytes come from: pages mapped outside the Go heap, or a slice where there is no mmap.
type backing interface {
	resize(size uint64) []byte // nil if it cannot be had; what is gained reads as zero
	free()
}

// Size is the memory's size in bytes.
func (m *Memory) Size() uint64 { return uint64(len(m.b)) }

// Read returns a view of n bytes at off.
func (m *Memory) Read(off, n uint32) ([]byte, bool) {
	end := uint64(off) + uint64(n)
	if end > uint64(len(m.b)) {
		return nil, false
	}
	return m.b[off:end:end], true
}

// Write copies p to off. Nothing is written if it does not fit.
func (m *Memory) Write(off uint32, p []byte) bool {
	if uint64(off)+uint64(len(p)) > uint64(len(m.b)) {
		return false
	}
	copy(m.b[off:], p)
	return true
}

// WriteString copies s to off. Nothing is written if it does not fit.
func (m *Memory) WriteString(off uint32, s string) bool {
	if uint64(off)+uint64(len(s)) > uint64(len(m.b)) {
		return false
	}
	copy(m.b[off:], s)
	return true
}

// Uint32 reads a little-endian integer at off.
func (m *Memory) Uint32(off uint32) (uint32, bool) {
	p, ok := m.Read(off, 4)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint32(p), true
}

// PutUint32 writes a little-endian integer at off.
func (m *Memory) PutUint32(off, v uint32) bool {
	p, ok := m.Read(off, 4)
	if ok {
		binary.LittleEndian.PutUint32(p, v)
	}
	return ok
}

// PutUint64 writes a little-endian integer at off.
func (m *Memory) PutUint64(off uint32, v uint64) bool {
	p, ok := m.Read(off, 8)
	if ok {
		binary.LittleEndian.PutUint64(p, v)
	}
	return ok
}

// Allocate implements experimental.MemoryAllocator for the one memory of an instance.
func (m *Memory) Allocate(_, top uint64) experimental.LinearMemory {
	m.limit = min(m.limit, top)
	m.backing = newBacking(m.limit)
	return m
}

// Reallocate implements experimental.LinearMemory.
func (m *Memory) Reallocate(size uint64) []byte {
	if size > m.limit || m.backing == nil {
		m.refused = true
		return nil
	}
	b := m.backing.resize(size)
	if b == nil {
		m.refused = true
		return nil
	}
	m.b, m.grown = b, true
	return b
}

// Free implements experimental.LinearMemory. It may be called more than once.
func (m *Memory) Free() {
	if m.backing != nil {
		m.backing.free()
	}
	m.b, m.backing = nil, nil
}

// slice backs a memory by the Go heap, for systems without mmap.
type slice struct{ b []byte }

func (s *slice) resize(size uint64) []byte {
	if s.b == nil || size > uint64(cap(s.b)) {
		s.b = append(make([]byte, 0, size), s.b...)
	}
	// The spare capacity has never been handed out, so it is still zero.
	s.b = s.b[:size]
	return s.b[:size:size]
}

func (s *slice) free() { s.b = nil }
