//go:build linux

package wasm

import (
	"syscall"
	"unsafe"
)

const clockThreadCPU = 3

// threadClock reads the CPU time of the calling thread in nanoseconds, and the thread's id: a goroutine may have moved
// since. Raw system calls, because neither can block and the scheduler's bookkeeping costs as much as the call.
func threadClock(ts *syscall.Timespec) (ns int64, tid int) {
	id, _, _ := syscall.RawSyscall(syscall.SYS_GETTID, 0, 0, 0)
	return clockOf(ts, int(id))
}

// clockOf is threadClock for a goroutine that is locked to the thread it gives.
func clockOf(ts *syscall.Timespec, thread int) (ns int64, tid int) {
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPU, uintptr(unsafe.Pointer(ts)), 0)
	if errno != 0 {
		return 0, 0
	}
	return ts.Nano(), thread
}
