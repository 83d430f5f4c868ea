package proxyabi

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/metric"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// figures count what becomes of a VM's calls.
type figures struct {
	failures abi.Failures
	open     atomic.Int64 // streams
	paused   atomic.Int64 // halves of them that are parked
	made     atomic.Int64 // instances
	gone     atomic.Int64 // of them, by a trap
	recycled atomic.Int64 // of them, since they had become too large

	dropped atomic.Int64 // fields that guests have set and that are left out
	told    atomic.Int64 // the second in which the log was last told of one
}

// tell writes into the log of every plugin what they have in common. It takes vm.mu.
func (vm *VM) tell(what func(*abi.Journal)) {
	vm.mu.Lock()
	plugins := slices.Clone(vm.plugins)
	vm.mu.Unlock()
	for _, p := range plugins {
		what(p.journal)
	}
}

// instances counts those that requests are given to and the one to spare, and their memory in bytes.
func (vm *VM) instances() (n, bytes int64) {
	vm.mu.Lock()
	all := vm.living()
	vm.mu.Unlock()
	for _, sh := range all {
		if size := sh.size.Load(); size >= 0 {
			n, bytes = n+1, bytes+size
		}
	}
	return n, bytes
}

// Instances implements filter.Measured. Filters that share a VM have the same.
func (f *Filter) Instances() float64 { n, _ := f.p.vm.instances(); return float64(n) }

// Memory implements filter.Measured, as Instances does.
func (f *Filter) Memory() float64 { _, b := f.p.vm.instances(); return float64(b) }

// Stopped implements filter.Measured, as Instances does.
func (f *Filter) Stopped() float64 { return f.p.vm.breaker.Gauge() }

// PhaseNames implements filter.Timed.
func (f *Filter) PhaseNames() []string { return f.p.phases.PhaseNames() }

// Spread implements filter.Timed.
func (f *Filter) Spread(phase int) *metric.Spread { return f.p.phases.Spread(phase) }

// Status is all of filter.Status that the plugin knows: where its module came from and where it is used does its owner.
// Instances, memory and failures are the VM's. Any goroutine may call.
func (p *Plugin) Status() filter.Status {
	vm := p.vm
	live, bytes := vm.instances()
	s := filter.Status{
		Name: p.o.Name, ABI: "proxy-wasm " + vm.version.String(), VM: scopeName(vm.o.Scope), Config: filter.ConfigMark(string(p.o.Config)),
		State: filter.StateServing,
		Instances: filter.Instances{
			Live: live, Max: int64(len(vm.shards)) + 1, Made: vm.made.Load(), Discarded: vm.gone.Load(), Recycled: vm.recycled.Load(),
			FailedStarts: vm.failures.Count(abi.FailedStart),
		},
		Streams:  &filter.Streams{Open: vm.open.Load(), Paused: vm.paused.Load(), Contexts: vm.open.Load() + live*int64(vm.plugged())},
		Memory:   filter.Memory{Now: bytes, High: vm.failures.High(), Cap: int64(vm.o.Memory)},
		Budget:   filter.Budget{Call: vm.o.CPU, Stream: vm.o.CPUTotal, Start: vm.o.Start},
		Phases:   p.phases.Snapshot(),
		Failures: vm.failures.Counts(), Dropped: p.journal.Lost() + vm.journal.Lost(), Last: vm.failures.Last(),
	}
	if live == 0 {
		s.State = filter.StateStarting
	}
	if left, stopped := vm.breaker.Stopped(); stopped {
		until := time.Now().Add(left)
		s.State, s.Until = filter.StateStopped, &until
	}
	if s.State != filter.StateServing && s.Last != nil {
		s.Reason = s.Last.Error
	}
	s.Links = abi.Links(vm.module.Links())
	return s
}

func (vm *VM) plugged() int {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return len(vm.plugins)
}
