package wasm

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// nestMost caps calls within calls: guest to host to guest. Each takes a stack of its own.
const nestMost = 8

// freshUses is the number of calls after which an instance is taken to have touched the memory it works in.
const freshUses = 8

// plainConfig gives guests nothing: no clock, file or argument comes from wazero's own system layer, and no function is
// run by it.
var plainConfig = wazero.NewModuleConfig().WithName("").WithStartFunctions()

// InstanceOptions says how instances are set up.
type InstanceOptions struct {
	// Setup is called before any guest code runs; it sets Host. May be nil.
	Setup func(*Instance) error
	// Ready is called after the guest's start functions; it may call the guest. May be nil.
	Ready func(*Instance) error
}

// Instance is a guest with its memory and globals. It is used by one goroutine at a time. It is itself the context that
// its host functions are called with, so that they find it by one type assertion.
type Instance struct {
	// Host points to what the layer above keeps for this instance. Set it in InstanceOptions.Setup and convert it back
	// in host functions: neither costs an allocation or a lookup.
	Host unsafe.Pointer

	m     *Module
	mod   api.Module
	mem   Memory
	gauge gauge
	log   [2]lineBuffer

	level  int
	total  int64
	uses   int
	until  time.Time // set by the stock: old from then on
	trap   *Trap
	closed bool
}

// Deadline implements context.Context. There is none: budgets are CPU time.
func (in *Instance) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (in *Instance) Done() <-chan struct{} { return nil }

// Err implements context.Context.
func (in *Instance) Err() error { return nil }

// Value implements context.Context.
func (in *Instance) Value(any) any { return nil }

// Func is an exported function of one instance.
type Func struct {
	Tag uint8 // the caller's own

	in      *Instance
	name    string
	fn      api.Function
	params  int
	results int
	busy    bool
}

// Name is what the function is exported as.
func (f *Func) Name() string { return f.name }

// Params and Results are the numbers of values the function takes and gives.
func (f *Func) Params() int  { return f.params }
func (f *Func) Results() int { return f.results }

// Instantiate makes an instance and runs its start section, then _initialize if it is exported, else _start, all within
// ModuleOptions.Start of CPU time; proc_exit(0) in them is no failure. A guest that fails is closed.
func (m *Module) Instantiate(ctx context.Context, o InstanceOptions) (in *Instance, err error) {
	if !m.retain() {
		return nil, fmt.Errorf("instantiate %s: module %w", m.o.Name, errClosed)
	}
	in = &Instance{m: m}
	in.mem.limit = m.code.memory
	defer func() {
		if err != nil {
			in.Close()
			in, err = nil, fmt.Errorf("instantiate %s: %w", m.o.Name, err)
		}
	}()
	if err = in.open(ctx); err != nil {
		return in, err
	}
	if o.Setup != nil {
		if err = o.Setup(in); err != nil {
			return in, err
		}
	}
	if err = in.runStart(); err != nil {
		return in, err
	}
	if o.Ready != nil {
		err = o.Ready(in)
	}
	return in, err
}

func (in *Instance) open(ctx context.Context) (err error) {
	defer func() {
		// wazero panics when the allocator has no memory to give.
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrMemory, r)
		}
	}()
	c := in.m.code
	in.mod, err = c.runtime.InstantiateModule(experimental.WithMemoryAllocator(ctx, &in.mem), c.compiled, plainConfig)
	if err != nil {
		return err
	}
	g := &in.gauge
	g.fuel, _ = in.mod.ExportedGlobal(c.info.Fuel).(api.MutableGlobal)
	g.depth, _ = in.mod.ExportedGlobal(c.info.Depth).(api.MutableGlobal)
	if g.fuel == nil || g.depth == nil {
		return errors.New("fuel is not exported")
	}
	g.rate, g.slow = c.e.rate, 16
	return nil
}

func (in *Instance) runStart() error {
	left := in.m.o.Start
	names := []string{in.m.code.info.Start, "_initialize"}
	if !in.m.Exports("_initialize") {
		names[1] = "_start"
	}
	for i, name := range names {
		if name == "" || i == 1 && !in.m.Exports(name) {
			continue
		}
		f, err := in.function(name)
		if err != nil {
			return err
		}
		if f.params+f.results > 0 {
			return fmt.Errorf("%s takes or gives values", name)
		}
		before := in.total
		if err := in.Call(f, left, nil); err != nil {
			if exit := (Exit{}); !errors.As(err, &exit) || exit.Code != 0 {
				return fmt.Errorf("run %s: %w", name, err)
			}
			// The stack was unwound without giving frames back.
			in.trap = nil
			in.gauge.depth.Set(uint64(in.m.code.stack))
		}
		if left -= time.Duration(in.total - before); left <= 0 {
			return fmt.Errorf("run %s: %w", name, ErrBudget)
		}
	}
	return nil
}

// Func looks up an exported function. It allocates the function's stack: call it once per instance and name, and keep
// what it returns. A Func may be called again from a host function that it called itself, at the price of another
// stack; guests' allocators are best kept in a Func of their own.
func (in *Instance) Func(name string) (*Func, error) {
	if !in.m.Exports(name) {
		return nil, fmt.Errorf("module %s does not export function %s", in.m.o.Name, name)
	}
	return in.function(name)
}

func (in *Instance) function(name string) (*Func, error) {
	if in.closed {
		return nil, fmt.Errorf("instance of %s is %w", in.m.o.Name, errClosed)
	}
	fn := in.mod.ExportedFunction(name)
	if fn == nil {
		return nil, fmt.Errorf("module %s does not export function %s", in.m.o.Name, name)
	}
	d := fn.Definition()
	return &Func{in: in, name: name, fn: fn, params: len(d.ParamTypes()), results: len(d.ResultTypes())}, nil
}

// Call runs a guest function within a CPU budget. The stack holds the arguments and then the results; it must be as long
// as the longer of the two. A call from within a host function runs on what is left of the outer call's budget, and
// budget is ignored. It allocates nothing unless the guest traps.
//
// After any error but a short stack the instance is dead: every later Call gives the same error.
func (in *Instance) Call(f *Func, budget time.Duration, stack []uint64) error {
	if len(stack) < f.params || len(stack) < f.results {
		return errShortStack
	}
	if in.trap != nil {
		return in.trap
	}
	if in.closed {
		return errClosed
	}
	if in.level > 0 {
		return in.nested(f, stack)
	}
	in.level = 1
	in.uses++
	in.mem.refused = false
	in.gauge.start(int64(budget), in.uses <= freshUses)
	f.busy = true
	err := f.fn.CallWithStack(in, stack)
	f.busy = false
	in.level = 0
	in.total += in.gauge.stop()
	if err != nil && in.trap == nil {
		in.trap = newTrap(err, &in.mem)
	}
	if in.trap != nil {
		return in.trap
	}
	return nil
}

var errShortStack = errors.New("stack too short for the function's values")

func (in *Instance) nested(f *Func, stack []uint64) error {
	if in.level >= nestMost {
		in.trap = &Trap{Err: ErrDepth}
		return in.trap
	}
	fn := f.fn
	if f.busy {
		// The engine's function object holds the stack of the call under way.
		fn = in.mod.ExportedFunction(f.name)
	} else {
		f.busy = true
		defer func() { f.busy = false }()
	}
	in.level++
	err := fn.CallWithStack(in, stack)
	in.level--
	if err != nil && in.trap == nil {
		in.trap = newTrap(err, &in.mem)
	}
	if in.trap != nil {
		return in.trap
	}
	return nil
}

// refill is what the guest calls when its fuel or stack has run out.
func (in *Instance) refill() {
	if in.trap != nil {
		// A host function went on after a nested call had trapped.
		panic(in.trap)
	}
	grown := in.mem.grown
	in.mem.grown = false
	in.gauge.refill(grown)
}

// Pause and Resume bracket a wait within a host function: it counts neither as the guest's CPU time nor towards the
// wall-clock backstop. Other host work counts as the guest's, so that a guest cannot have the host work without end.
// They do not nest, and the guest must not be called between them.
func (in *Instance) Pause() { in.gauge.pause() }

// Resume ends what Pause began.
func (in *Instance) Resume() { in.gauge.resume() }

// Burn charges d to the running call, for host work whose cost is known ahead.
func (in *Instance) Burn(d time.Duration) { in.gauge.burn(int64(d)) }

// Memory is the guest's linear memory, of size 0 if it has none.
func (in *Instance) Memory() *Memory { return &in.mem }

// Module is what the instance was made from.
func (in *Instance) Module() *Module { return in.m }

// CPU is what all finished calls have spent, by the thread's clock where calls were long enough to look at it and by
// fuel else. The difference between two readings is what the calls between them cost: read before and after each call it
// gives the distribution of calls without a clock of the caller's, and costs nothing. What a call spends that never
// looked at the clock, some 4 µs and less, holds the guest's instructions and what host functions burned, not the way in
// and out of the guest.
func (in *Instance) CPU() time.Duration { return time.Duration(in.total) }

// Uses is the number of finished calls from the host.
func (in *Instance) Uses() int { return in.uses }

// Broken reports whether a call has trapped.
func (in *Instance) Broken() bool { return in.trap != nil }

// Close frees the instance and its memory: no view of it may be used any more. It may be called more than once, but not
// from within a call.
func (in *Instance) Close() {
	if in.closed {
		return
	}
	in.closed = true
	for fd := range in.log {
		in.log[fd].flush(in.m.o.Log, fd+1)
	}
	if in.mod != nil {
		_ = in.mod.Close(context.Background())
	}
	in.mem.Free()
	in.m.code.release()
}
