//go:build linux

package wasm

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapping reserves address space for all a memory may grow to and opens it as far as it has grown: growing copies
// nothing, and the garbage collector sees none of it.
type mapping struct {
	all  []byte
	open uint64
}

func newBacking(limit uint64) backing {
	page := uint64(os.Getpagesize())
	n := max((limit+page-1)&^(page-1), page)
	all, err := unix.Mmap(-1, 0, int(n), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil
	}
	// A huge page is zeroed whole at its first touch, 0.2 ms that no budget sees coming, and an instance of 3 MB would
	// take 4. A kernel without huge pages answers with an error, which is fine.
	_ = unix.Madvise(all, unix.MADV_NOHUGEPAGE)
	return &mapping{all: all}
}

func (m *mapping) resize(size uint64) []byte {
	if size > m.open {
		if unix.Mprotect(m.all[m.open:size], unix.PROT_READ|unix.PROT_WRITE) != nil {
			return nil
		}
		m.open = size
	}
	return m.all[:size:size]
}

func (m *mapping) free() { _ = unix.Munmap(m.all) }
