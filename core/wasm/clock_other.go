//go:build !linux

package wasm

import "syscall"

// threadClock answers thread 0, which stands for no clock: fuel alone is the budget.
func threadClock(*syscall.Timespec) (ns int64, tid int) { return 0, 0 }

// clockOf is the same.
func clockOf(*syscall.Timespec, int) (ns int64, tid int) { return 0, 0 }
