package proxyabi

import (
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/wasm"
)

// Bounds of what guests ask of upstreams.
const (
	maxErrands = 256              // calls of one VM under way, HTTP and gRPC together
	callMost   = 10 * time.Minute // the longest that a call may take, also one without a timeout; streams of gRPC have no such bound
	callRoom   = 1 << 20          // bytes of a request, an answer or a message, or body_limit if that is more
)

// outside counts what a VM's guests have under way with upstreams.
type outside struct {
	errands atomic.Int64
	held    atomic.Int64 // bytes of requests and answers
}

// room is the most bytes of one request, answer or message.
func (vm *VM) room() int { return max(callRoom, vm.o.BodyLimit) }

// hold takes n bytes of the memory that all calls of the VM may have together: as much as one instance, or a few of the
// largest messages.
func (vm *VM) hold(n int) bool {
	if vm.held.Add(int64(n)) <= max(int64(vm.o.Memory), 4*int64(vm.room())) {
		return true
	}
	vm.held.Add(-int64(n))
	return false
}

// errand is a call that a guest has made. It runs on a goroutine of its own, whose all of it is but for what says otherwise.
type errand struct {
	sh     *shard
	root   *root
	id     uint32
	name   string // of the upstream
	y      *exchange.Exchange
	handle exchange.Handle
	bell   bell
	timer  *time.Timer // nil: it may take as long as it likes
	due    int64       // clock.Nano when its time is over
	held   int         // bytes of the VM's
	headed bool        // an answer has begun
	loose  bool        // something has panicked: who knows what still uses y
	wait   int64       // nanoseconds until it may begin
	via    *member     // guarded by the plugin's reach; nil: it uses no plan's upstreams
	rpc    *rpc        // nil: HTTP
}

// bell wakes an errand that waits for its time or for a plan when it is cancelled.
type bell chan struct{}

// Abort implements exchange.Link.
func (b bell) Abort() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// AbortRead implements exchange.Link.
func (b bell) AbortRead() { b.Abort() }

// newErrand makes one, to be filled and then begun or forgotten. sh.mu is held.
func newErrand(r *root, name []byte) *errand {
	e := &errand{sh: r.sh, root: r, name: string(name), y: exchange.Acquire(), bell: make(bell, 1)}
	e.handle = e.y.Handle()
	return e
}

// forget ends one that has no goroutine.
func (e *errand) forget() {
	if e.rpc != nil {
		e.rpc.out.discard()
	}
	exchange.Release(e.y)
}

// errands are those of a shard that its guest is waiting for, by the number that the guest knows them by. The shard's mutex
// guards them.
type errands struct {
	all    map[uint32]*errand
	last   uint32
	slot   int64 // clock.Nano when the call was due that was paced last
	rested int64 // clock.Nano when streams may bring more
}

// A guest whose every answer makes it ask again would run for ever, as would one that the other side of a stream pours messages
// on. So calls that no request's own callback makes begin at a rate that costs a shard a part of a core, after a burst; and
// between the messages of streams there is a rest as long as the guest took for them.
const (
	callEvery = 500 * time.Microsecond
	callBurst = maxErrands
	restLeast = 5 * time.Millisecond // less is saved up: so short a sleep lasts far longer than it should
)

// pace gives how long a call that is made now has to wait.
func (l *errands) pace(now int64) (wait int64) {
	l.slot = max(l.slot, now-int64(callBurst*callEvery)) + int64(callEvery)
	return max(l.slot-now, 0)
}

// rest gives how long streams have to wait after a message that took the guest so long.
func (l *errands) rest(now, took int64) (wait int64) {
	l.rested = max(l.rested, now) + took
	if wait = l.rested - now; wait < int64(restLeast) {
		return 0
	}
	return wait
}

// sleep lasts until e is cancelled at most.
func (e *errand) sleep(d int64) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(time.Duration(d))
	defer t.Stop()
	select {
	case <-t.C:
	case <-e.bell:
	}
}

// What the lowest two bits of a number say.
const (
	ticketHTTP = iota
	ticketRPC
	ticketStream
	ticketKinds = 4
)

// ticket gives a number that no errand has.
func (l *errands) ticket(kind uint32) uint32 {
	for {
		if l.last++; l.last >= 1<<30 {
			l.last = 1
		}
		id := l.last*ticketKinds | kind
		if l.all[id] == nil {
			return id
		}
	}
}

// send makes e one that is under way: run is its goroutine's. bytes are what it holds by now. Of a canary it goes nowhere, but
// the guest is not told so: one that takes a refusal for a reason to end would never be accepted.
func (sh *shard) send(e *errand, kind uint32, timeout time.Duration, bytes int, run func(*errand)) (id uint32, ok bool) {
	if len(sh.out.all) >= maxErrands || !sh.canary && !e.admit(bytes) {
		e.root.complain(tooMuch, []byte(e.name))
		e.forget()
		return 0, false
	}
	e.id = sh.out.ticket(kind)
	if sh.out.all == nil {
		sh.out.all = map[uint32]*errand{}
	}
	sh.out.all[e.id] = e
	if sh.canary {
		return e.id, true
	}
	if timeout > 0 {
		handle := e.handle
		e.due = clock.Nano() + int64(timeout)
		e.timer = time.AfterFunc(timeout, func() { handle.Cancel(errCallLate) })
	}
	if sh.entered == nil {
		e.wait = sh.out.pace(clock.Nano())
	}
	e.y.Await(e.bell)
	go func() {
		defer e.end()
		run(e)
	}()
	return e.id, true
}

// admit takes e's place among those of its VM and its plugin.
func (e *errand) admit(bytes int) bool {
	vm := e.sh.vm
	if vm.errands.Add(1) > maxErrands {
		vm.errands.Add(-1)
		return false
	}
	if !vm.hold(bytes) {
		vm.errands.Add(-1)
		return false
	}
	if !e.root.plugin.reach.begin(e) {
		vm.held.Add(-int64(bytes))
		vm.errands.Add(-1)
		return false
	}
	e.held = bytes
	return true
}

// hold takes n more bytes.
func (e *errand) hold(n int) bool {
	if !e.sh.vm.hold(n) {
		return false
	}
	e.held += n
	return true
}

// end is the last of an errand's goroutine.
func (e *errand) end() {
	if e.timer != nil {
		e.timer.Stop()
	}
	vm := e.sh.vm
	if e.rpc != nil {
		e.rpc.out.discard()
	}
	e.y.Forget(e.bell)
	if !e.loose {
		exchange.Release(e.y)
	}
	vm.held.Add(-int64(e.held))
	vm.errands.Add(-1)
	e.root.plugin.reach.end(e)
}

// guard runs f, and makes an error of a panic.
func (e *errand) guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e.loose = true
			err = errCallPanic
			e.root.plugin.journal.Log().Error().Interface("panic", r).Bytes("stack", debug.Stack()).Msg("panic during a filter's call")
		}
	}()
	return f()
}

var (
	errCallLate     = fault.New(fault.ExchangeTimeout, "a filter's call took too long")
	errCallLeft     = fault.New(fault.Draining, "the configuration of a filter's call is gone")
	errCallRecalled = fault.New(fault.FilterReset, "the filter does not wait for its call any more")
	errCallPanic    = fault.New(fault.Internal, "panic during a filter's call")
)

// awaited reports whether the guest is still there and waits for e. sh.mu is held.
func (sh *shard) awaited(e *errand) bool { return sh.dead == nil && sh.out.all[e.id] == e }

// hand tells the root context what has come, in a call of its own. sh.mu is held, and e is awaited.
func (sh *shard) hand(e *errand, m *message, fn *wasm.Func, args ...uint64) {
	if fn == nil {
		return
	}
	var all [5]uint64
	all[0], all[1] = uint64(e.root.id), uint64(e.id)
	sh.message = m
	_, err := sh.enter(&e.root.scope, fn, sh.vm.o.CPU, all[:2+copy(all[2:], args)]...)
	sh.message = nil
	if err != nil {
		report(e.root.plugin.journal, err, nil)
	}
}

// recall gives up what a root context waits for, or every one if r is nil: it will not be told. sh.mu is held.
func (sh *shard) recall(r *root) {
	for _, e := range sh.out.all {
		if r == nil || e.root == r {
			sh.giveUp(e, errCallRecalled)
		}
	}
}

// giveUp cancels e, of which the guest hears no more. sh.mu is held.
func (sh *shard) giveUp(e *errand, cause *fault.Fault) {
	delete(sh.out.all, e.id)
	if sh.canary {
		e.forget()
		return
	}
	e.handle.Cancel(cause)
}
