package wasm

import (
	"runtime"
	"syscall"
	"time"

	"github.com/tetratelabs/wazero/api"
)

const (
	// sliceMost is the longest a guest runs without coming back to the host, in nanoseconds: the pause it can cause the
	// garbage collector.
	sliceMost = int64(100 * time.Microsecond)
	// sliceFirst is the fuel of a call's first slice, in nanoseconds. No clock is read before it ends, so calls shorter
	// than this pay nothing for it; and it bounds what code far slower than calibrated can win unseen.
	sliceFirst = int64(4 * time.Microsecond)
	// sliceFresh is the first slice over memory never touched: a page fault takes a thousand times what the store costs
	// in fuel.
	sliceFresh = int64(500 * time.Nanosecond)
	// sliceLeast keeps the slices of very slow code from being all refill.
	sliceLeast = int64(200 * time.Nanosecond)
	// overcharge is how many times its budget a call may burn in fuel while the clock says that the budget is not spent:
	// static counts charge too much for branches not taken.
	overcharge = 4
	// stolenLeast is how long an interval must have lasted to be taken for stolen time. By itself none is longer than a fraction
	// of that, but for the first that a guest becomes slow in.
	stolenLeast = int64(2 * time.Millisecond)
	// turnMost is the longest a guest runs without yielding to other goroutines.
	turnMost = int64(time.Millisecond)
	// blindMost is the most that is held against a call for the time before the first look at the clock.
	blindMost = int64(500 * time.Microsecond)
	// backstop is added to the budget to bound a call in wall time, pauses apart.
	backstop = int64(10 * time.Second)
)

// gauge bounds what one guest call spends. The clock of the thread is the measure, fuel says when to look at it. From the
// first look on the goroutine has its thread to itself: else the scheduler could run others there, on the way into the
// host, whose time would be the guest's. So no pause of the process counts, nor the work of anybody else. Calls that end
// within their first slice, the usual ones, are neither timed nor locked.
type gauge struct {
	fuel  api.MutableGlobal
	depth api.MutableGlobal
	rate  int64 // fuel in a microsecond

	budget   int64 // ns
	spent    int64 // ns, by the clock as far as there is one
	nominal  int64 // ns, by fuel alone
	granted  int64 // fuel of the running slice
	last     int64 // ns of the running slice
	slow     int64 // clock time per fuel time, in sixteenths, of late
	blind    int64 // ns by fuel before the first look at the clock
	refills  int
	locked   bool  // to its thread
	forgiven bool  // an interval of the call has been taken for stolen time
	turn     int64 // ns since the guest last yielded to other goroutines

	mark   int64 // thread clock at the start of the interval
	tid    int   // its thread, 0 for none
	carry  int64 // clock time of the interval before a pause
	began  time.Time
	paused time.Time
	away   time.Duration
	ts     syscall.Timespec
}

func (g *gauge) toFuel(ns int64) int64 { return ns*g.rate/1000 + 1 }

func (g *gauge) toNanos(fuel int64) int64 { return fuel * 1000 / g.rate }

// start opens a call with a budget in nanoseconds. Fresh says that the instance has hardly run yet.
func (g *gauge) start(budget int64, fresh bool) {
	g.budget, g.spent, g.nominal = budget, 0, 0
	first := sliceFirst
	if fresh {
		first = sliceFresh
	}
	g.grant(min(first, budget))
	g.tid, g.carry, g.forgiven = 0, 0, false
	if n := g.refills; n > 0 {
		g.slow, g.blind, g.refills = 16, 0, 0
		// What came to several refills last time likely does again: then the first interval is worth two reads of the clock. One
		// refill is no reason: such a call ended within its second slice, and is not worth more than the look at it.
		if n > 1 {
			g.lock()
			g.mark, g.tid = threadClock(&g.ts)
		}
	}
}

// stop closes a call and returns what it spent.
func (g *gauge) stop() int64 {
	g.unlock()
	used := g.toNanos(g.granted - int64(g.fuel.Get()))
	if g.refills > 0 {
		used = used * g.slow / 16
	}
	return g.spent + used
}

// refill is called by the guest when its fuel or its stack has run out. It grants a slice or panics.
func (g *gauge) refill(grown bool) {
	if int64(g.depth.Get()) < 0 {
		panic(ErrDepth)
	}
	want := g.toNanos(g.granted - int64(g.fuel.Get()))
	g.granted = int64(g.fuel.Get()) // booked
	// First the thread, then its clock: what that says is of this thread from now on.
	g.lock()
	now, tid := g.clock()
	if g.refills == 0 {
		g.began, g.away = time.Now(), 0
	}
	g.refills++
	g.nominal += want
	g.account(want, now, tid)
	if tid != 0 && tid == g.tid {
		g.turn += now - g.mark
	}
	g.carry, g.mark, g.tid = 0, now, tid
	if g.spent >= g.budget || g.nominal >= overcharge*g.budget {
		panic(ErrBudget)
	}
	if int64(time.Since(g.began)-g.away) > g.budget+backstop {
		panic(ErrBudget)
	}
	if g.turn >= turnMost {
		// A guest that runs long shares its processor: the scheduler by itself would let it run for 10 ms, and a
		// collection with GOMAXPROCS=1 wait for a dozen such turns. A yield costs up to 10 µs.
		// Not with the thread: to hand that over takes the kernel's scheduler, too.
		g.turn = 0
		g.unlock()
		runtime.Gosched()
		g.lock()
		g.mark, g.tid = threadClock(&g.ts)
	}
	next := min(min(sliceMost, g.budget-g.spent)*16/g.slow, 2*g.last)
	if grown {
		next = min(next, sliceFresh)
	}
	g.grant(max(next, sliceLeast))
}

func (g *gauge) grant(ns int64) {
	g.last = ns
	g.granted = g.toFuel(ns)
	g.fuel.Set(uint64(g.granted))
}

// account books the interval that ends now and burned want nanoseconds' worth of fuel.
func (g *gauge) account(want, now int64, tid int) {
	if tid == 0 || g.tid != tid {
		// No clock, no mark yet, or another thread: fuel is all there is.
		took := max(g.carry, want)
		if tid != 0 {
			// What is charged ahead of its cost, like the pages of a grown memory, the clock will see when it comes.
			took = max(g.carry, min(want, 2*g.last))
		}
		if g.refills == 1 {
			g.blind = took
		}
		g.spent += took
		return
	}
	took := g.forgive(g.carry+now-g.mark, want)
	ratio := max(took*16/max(want, 1), 16)
	g.spent += took
	if took > 8*want*g.slow/16+20_000 {
		// What ran before the clock was looked at may have been as slow.
		g.spent += min(g.blind*(ratio/16-1), blindMost)
	}
	g.blind = 0
	if ratio >= g.slow {
		g.slow = ratio
	} else {
		g.slow -= (g.slow - ratio) / 4
	}
}

// forgive takes an interval that lasted far longer than it could, once a call, for time that somebody took from the whole
// machine: where a hypervisor runs others on the processor the thread's clock goes on, for 14 ms at a time and more. What is as
// slow by itself is so again in the next interval, which is short then.
func (g *gauge) forgive(took, want int64) int64 {
	if g.forgiven || took < stolenLeast || took < 8*want*g.slow/16 {
		return took
	}
	g.forgiven = true
	return min(took, g.budget/4)
}

// pause stops the clock for a host function that blocks, and gives the thread to others meanwhile.
func (g *gauge) pause() {
	now, tid := g.clock()
	if g.tid != 0 && g.tid == tid {
		g.carry += now - g.mark
	}
	g.paused = time.Now()
	g.unlock()
}

func (g *gauge) resume() {
	g.lock()
	g.mark, g.tid = threadClock(&g.ts)
	g.away += time.Since(g.paused)
}

// clock is threadClock, which need not ask for the thread where it cannot have changed since the mark.
func (g *gauge) clock() (ns int64, tid int) {
	if g.locked && g.tid != 0 {
		return clockOf(&g.ts, g.tid)
	}
	return threadClock(&g.ts)
}

func (g *gauge) lock() {
	if !g.locked {
		runtime.LockOSThread()
		g.locked = true
	}
}

func (g *gauge) unlock() {
	if g.locked {
		runtime.UnlockOSThread()
		g.locked = false
	}
}

// burn charges host work to the guest.
func (g *gauge) burn(ns int64) {
	g.fuel.Set(g.fuel.Get() - uint64(g.toFuel(ns)))
}
