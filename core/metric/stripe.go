package metric

import (
	"math/bits"
	"runtime"
	_ "unsafe" // for go:linkname
)

// line is the distance at which two cores do not share a cache line; 128 because x86 fetches lines in pairs and some
// arm64 lines are that long.
const line = 128

// stripes is a power of two, one for every core the process may get, so that a later GOMAXPROCS finds room too.
var stripes = min(64, 1<<bits.Len(uint(max(runtime.NumCPU(), runtime.GOMAXPROCS(0))-1)))

// Stripe names the stripe of the processor the caller runs on. A caller that counts several things at once asks once and
// uses the AddAt and ObserveAt methods. A stale answer costs time, never counts.
//
// A random stripe would need no link to the runtime, but meets another core on every other add: with two cores counting
// at once an add costs 15 ns, on one shared word 9, on the processor's own stripe 5 as if it were alone
// (BenchmarkStripe).
func Stripe() int {
	p := procPin()
	procUnpin()
	return p & (stripes - 1)
}

//go:linkname procPin runtime.procPin
func procPin() int

//go:linkname procUnpin runtime.procUnpin
func procUnpin()

// Stripes is the number of different answers of Stripe, a power of two.
func Stripes() int { return stripes }
