package proxyabi

import (
	"errors"
	"slices"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// pick finds a shard for a new stream and locks it: one that nobody is in at the moment, if there is one. trial says that the
// stream decides whether a VM that was stopped comes back. The caller unlocks.
func (vm *VM) pick(hint uint64) (sh *shard, trial bool, err error) {
	ok, trial := vm.breaker.Allow()
	if !ok {
		vm.failures.Add(abi.FailedStopped)
		return nil, false, errStopped
	}
	for again := true; again; {
		if sh, again = vm.seek(hint); sh != nil {
			return sh, trial, nil
		}
	}
	if trial {
		vm.breaker.Settled(false)
	}
	vm.failures.Add(abi.FailedStart)
	vm.ask()
	return nil, false, errStarting
}

// seek makes one try at it. again says that a shard's place has been taken by another meanwhile.
func (vm *VM) seek(hint uint64) (sh *shard, again bool) {
	n := uint64(len(vm.shards))
	var busy *shard
	for i := range n {
		s := vm.shards[(hint+i)%n].Load()
		if !s.mu.TryLock() {
			busy = s
			continue
		}
		if s.takes() {
			return s, false
		}
		again = again || vm.shards[(hint+i)%n].Load() != s
		s.mu.Unlock()
	}
	if busy == nil {
		return nil, again
	}
	busy.mu.Lock()
	if busy.takes() {
		return busy, false
	}
	busy.mu.Unlock()
	return nil, true
}

// takes reports whether a stream may begin. sh.mu is held.
func (sh *shard) takes() bool { return sh.dead == nil && !sh.retired }

// die ends a shard whose guest has trapped in a call for sc. sh.mu is held. Its memory is freed, its parked streams are woken,
// and the spare takes its place.
func (sh *shard) die(sc *scope, err error) {
	if sh.dead != nil {
		return
	}
	vm := sh.vm
	sh.dead = err
	sh.recall(nil)
	sh.in.Close()
	sh.size.Store(-1)
	for _, r := range sh.roots {
		r.quieten()
	}
	sh.mail.close()
	sh.scopes.each(func(s *scope) {
		if st := s.stream; st != nil {
			st.request.rouse()
			st.response.rouse()
		}
	})
	vm.failures.Note(abi.FailureOf(err), err)
	if sh.canary || !sh.placed {
		return
	}
	vm.gone.Add(1)
	trial := sc.stream != nil && sc.stream.trial
	if trial {
		sc.stream.trial = false
	}
	if d := vm.breaker.Failed(trial); d > 0 {
		vm.tell(func(j *abi.Journal) { j.Stopped(d) })
	}
	vm.replace(sh)
}

// replace puts the spare in the place of a shard that has died or is worn, if there is one, and has another built.
func (vm *VM) replace(sh *shard) {
	vm.mu.Lock()
	if vm.spare == sh {
		vm.spare = nil
		vm.retired = append(vm.retired, sh)
	}
	for i := range vm.shards {
		if vm.shards[i].Load() == sh && vm.ready() {
			vm.place(i, vm.spare)
			vm.spare = nil
		}
	}
	vm.mu.Unlock()
	vm.ask()
}

// place gives requests to a shard from now on; the one that stood there ends with its last stream. vm.mu is held.
func (vm *VM) place(i int, sh *shard) {
	vm.retired = append(vm.retired, vm.shards[i].Swap(sh))
	sh.serve()
}

// retire puts the spare in the place of a shard that is worn: it ends with its last stream. sh.mu is held.
func (vm *VM) retire(sh *shard) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if !vm.ready() || vm.closed {
		return
	}
	for i := range vm.shards {
		if vm.shards[i].Load() == sh {
			vm.place(i, vm.spare)
			vm.spare, sh.retired = nil, true
			vm.recycled.Add(1)
			vm.ask() // for another spare; and no stream may be left whose end would have it swept
			return
		}
	}
}

// ask has the builder look whether there is something to build.
func (vm *VM) ask() {
	select {
	case vm.build <- struct{}{}:
	default:
	}
}

// rebuild is the builder: it replaces dead shards and keeps a spare, one at a time and with pauses, so that a guest that traps
// at every call costs a part of a core and no more.
func (vm *VM) rebuild() {
	defer vm.builder.Done()
	pause := buildPause
	for {
		select {
		case <-vm.stop:
			return
		case <-vm.build:
		}
		for vm.wants() {
			begin := clock.Nano()
			if err := vm.buildOne(); err != nil {
				vm.failures.Note(abi.FailedStart, err)
				report(vm.journal, err, nil)
				pause = min(2*max(pause, time.Second/2), time.Minute)
			} else {
				pause = max(buildPause, 4*time.Duration(clock.Nano()-begin))
			}
			vm.sweep()
			t := time.NewTimer(pause)
			select {
			case <-vm.stop:
				t.Stop()
				return
			case <-t.C:
			}
		}
		vm.sweep()
	}
}

// buildPause is the least time between two instances that are built.
const buildPause = 10 * time.Millisecond

// wants reports whether an instance is to be built.
func (vm *VM) wants() bool {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return !vm.closed && (!vm.ready() || vm.fallen() >= 0)
}

// ready reports whether the spare can take a place. vm.mu is held.
func (vm *VM) ready() bool { return vm.spare != nil && !vm.spare.gone() }

// fallen is the place of a dead shard that none has taken; −1: there is none. vm.mu is held.
func (vm *VM) fallen() int {
	for i := range vm.shards {
		if vm.shards[i].Load().gone() {
			return i
		}
	}
	return -1
}

// buildOne makes an instance and admits it.
func (vm *VM) buildOne() error {
	vm.mu.Lock()
	plugins := append([]*Plugin(nil), vm.plugins...)
	vm.mu.Unlock()
	sh, err := vm.newShard(plugins, false)
	if err != nil {
		return err
	}
	return vm.admit(sh)
}

// admit puts an instance where it is needed, with the plugins that there are by then.
func (vm *VM) admit(sh *shard) error {
	for {
		vm.mu.Lock()
		came, gone := sh.behind(vm.plugins)
		if came == nil && gone == nil {
			if i := vm.fallen(); i >= 0 {
				vm.place(i, sh)
			} else {
				if vm.spare != nil {
					vm.retired = append(vm.retired, vm.spare) // it has died
				}
				vm.spare = sh
			}
			vm.mu.Unlock()
			return nil
		}
		vm.mu.Unlock()
		if gone != nil {
			sh.drop(gone)
			continue
		}
		sh.mu.Lock()
		err := sh.configure(came)
		sh.mu.Unlock()
		if err != nil {
			sh.end()
			return err
		}
	}
}

// behind gives a plugin that came while an instance was built and one that was closed; nil: there is none. Nobody else knows
// the instance.
func (sh *shard) behind(plugins []*Plugin) (came, gone *Plugin) {
	for _, p := range plugins {
		if sh.rootOf(p) == nil {
			came = p
		}
	}
	for _, r := range sh.roots {
		if !slices.Contains(plugins, r.plugin) {
			gone = r.plugin
		}
	}
	return came, gone
}

// sweep closes retired shards whose last stream has ended.
func (vm *VM) sweep() {
	vm.mu.Lock()
	var over []*shard
	kept := vm.retired[:0]
	for _, sh := range vm.retired {
		if sh.idle() && !vm.stands(sh) {
			over = append(over, sh)
		} else {
			kept = append(kept, sh)
		}
	}
	clear(vm.retired[len(kept):])
	vm.retired = kept
	vm.mu.Unlock()
	for _, sh := range over {
		sh.end()
	}
}

// stands reports whether a shard is still where requests look for one. vm.mu is held.
func (vm *VM) stands(sh *shard) bool {
	for i := range vm.shards {
		if vm.shards[i].Load() == sh {
			return true
		}
	}
	return false
}

// report logs a trap with the guest's stack.
func report(j *abi.Journal, err error, id []byte) {
	if !j.Admit() {
		return
	}
	e := j.Log().Warn().Err(err)
	if id != nil {
		e = e.Bytes("request_id", id)
	}
	var trap *wasm.Trap
	if errors.As(err, &trap) && trap.Stack != "" {
		e = e.Str("stack", trap.Stack[:min(len(trap.Stack), abi.MaxLine)])
	}
	e.Msg("filter failed")
}
