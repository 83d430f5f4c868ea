package proxyabi

import (
	"sync"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/wasm"
)

var timerFunctions = []wasm.HostFunc{
	function("proxy_set_tick_period_milliseconds", "i", setTick),
}

// timer is a root's tick. sh.mu guards it. While it is armed, or its function runs, that counts as running.
type timer struct {
	period  time.Duration // 0: none
	due     time.Duration // on the process's clock
	armed   bool
	over    bool // the root ends: nothing comes to it by itself any more
	alarm   *time.Timer
	running sync.WaitGroup
}

// tickShare bounds what ticks cost: all of one shard's together a tenth of a core. It is the part that they leave, in tenths.
const tickShare = 10

// setTick is proxy_set_tick_period_milliseconds (period) of the root of the effective context; 0 ends its ticks. A period that
// holds already changes nothing, so that a guest which sets it with every request is called all the same.
func setTick(sh *shard, a []uint64) status {
	r := sh.root()
	if r == nil {
		return statusOK
	}
	t, period := &r.timer, time.Duration(u32(a[0]))*time.Millisecond
	if period == t.period {
		return statusOK
	}
	t.period = period
	if sh.canary || t.over || sh.fn.tick == nil {
		return statusOK
	}
	t.disarm()
	switch {
	case period == 0:
	case sh.serves.Load():
		t.arm(r, period)
	default:
		t.due = time.Duration(clock.Nano()) + period // it begins with sh.serve
	}
	return statusOK
}

// arm sets the alarm, unless it has gone off already and its function waits for sh.mu: that sees to the rest.
func (t *timer) arm(r *root, in time.Duration) {
	t.due = time.Duration(clock.Nano()) + in
	if t.armed {
		return
	}
	t.armed = true
	t.running.Add(1)
	if t.alarm == nil {
		t.alarm = time.AfterFunc(in, r.tick)
		return
	}
	t.alarm.Reset(in)
}

func (t *timer) disarm() {
	if t.armed && t.alarm.Stop() {
		t.armed = false
		t.running.Done()
	}
}

// tick is what the alarm calls.
func (r *root) tick() {
	sh, t := r.sh, &r.timer
	defer t.running.Done()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t.armed = false
	if sh.dead != nil || t.over || t.period == 0 {
		return
	}
	begin := time.Duration(clock.Nano())
	if begin < t.due {
		t.arm(r, t.due-begin) // set anew while the alarm went off
		return
	}
	before := sh.in.CPU()
	if _, err := sh.enter(&r.scope, sh.fn.tick, sh.vm.o.CPU, uint64(r.id)); err != nil {
		report(r.plugin.journal, err, nil)
		return
	}
	if t.over || t.period == 0 {
		return
	}
	rest := time.Duration(tickShare*sh.ticking()-1) * (sh.in.CPU() - before)
	now := time.Duration(clock.Nano())
	if t.armed {
		begin = t.due - t.period // the tick has set another period
	}
	t.disarm()
	t.arm(r, max(begin+t.period-now, rest))
}

// ticking is the number of roots that have ticks.
func (sh *shard) ticking() (n int) {
	for _, r := range sh.roots {
		if r.timer.period > 0 {
			n++
		}
	}
	return max(n, 1)
}

// quieten ends what comes to a root by itself, its ticks and queues' wake-ups: none follows. sh.mu is held; a tick that waits for
// that does nothing when it gets it.
func (r *root) quieten() {
	r.timer.over = true
	r.timer.disarm()
	r.stopQueues()
}
