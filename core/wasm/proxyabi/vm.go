package proxyabi

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// Options are what a VM is given and may use. A zero field takes its default.
type Options struct {
	Name      string        // for logs and errors
	ID        string        // vm_id: what proxy_get_property("plugin_vm_id") gives
	Scope     string        // whose shared data and queues are seen: the ID, or where there is none Private and a name
	Config    []byte        // what proxy_on_vm_start finds
	CPU       time.Duration // budget of one call; 5 ms
	CPUTotal  time.Duration // of all calls for one exchange; 50 ms
	Start     time.Duration // of an instance's start, and of a plugin's configuration; 2 s
	Pause     time.Duration // the most that an exchange may be paused at a time; 1 min
	Memory    uint64        // cap of one instance in bytes; 32 MiB
	Shards    int           // GOMAXPROCS
	BodyLimit int           // bytes of a body that may be held back for the guest; below 0: none; 1 MiB
	Env       []string      // KEY=VALUE
	Tags      []Tag         // labels that are cut out of metrics' names
	Log       zerolog.Logger
	Shared    *Shared // the process's
}

func (o *Options) setDefaults() {
	set(&o.CPU, 5*time.Millisecond)
	set(&o.CPUTotal, max(50*time.Millisecond, o.CPU))
	set(&o.Start, 2*time.Second)
	set(&o.Pause, time.Minute)
	set(&o.Memory, 32<<20)
	set(&o.Shards, runtime.GOMAXPROCS(0))
	set(&o.BodyLimit, 1<<20)
	o.BodyLimit = max(o.BodyLimit, 0)
	if o.Shared == nil {
		o.Shared = NewShared()
	}
}

func set[T int | uint64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// VM is one module with one configuration, in several instances. Its methods may be called concurrently.
type VM struct {
	o       Options
	module  *wasm.Module
	version abi.Version     // that the module is built for
	idle    map[string]bool // exports that do nothing
	journal *abi.Journal    // of what no plugin does
	space   *space
	breaker abi.Breaker
	shards  []atomic.Pointer[shard] // never nil; a dead one stands until another has been built

	mu      sync.Mutex // after a shard's own
	plugins []*Plugin
	spare   *shard // ready to take a dead one's place; nil: being built
	retired []*shard
	closed  bool
	build   chan struct{} // asks the builder to look; room for one
	stop    chan struct{}
	builder sync.WaitGroup

	figures
	outside
}

// Open loads a module and starts it with its first plugin: an instance is made, started, configured and given a request to work
// on before the VM is accepted, then one for every shard and one to spare. The error is one line. The bytes are not kept; the
// caller closes the plugin, then the VM, and the engine after it.
func Open(ctx context.Context, e *wasm.Engine, code []byte, o Options, first PluginOptions) (*VM, *Plugin, error) {
	o.setDefaults()
	vm := &VM{o: o, idle: idle(code), build: make(chan struct{}, 1), stop: make(chan struct{}), shards: make([]atomic.Pointer[shard], o.Shards)}
	vm.journal = abi.NewJournal(o.Log, o.Name)
	m, err := e.Load(ctx, code, wasm.ModuleOptions{
		Name: o.Name, Memory: o.Memory, Start: o.Start, Host: functions, Missing: missing, Env: o.Env, Log: vm.journal.Output,
	})
	if err != nil {
		return nil, nil, vm.refusal(err)
	}
	vm.module, vm.version, vm.space = m, versionOf(m), o.Shared.enter(o.Scope)
	p, err := vm.plugin(first)
	if err == nil {
		vm.plugins = []*Plugin{p}
		err = vm.canary(vm.plugins)
	}
	for i := 0; i < len(vm.shards) && err == nil; i++ {
		var sh *shard
		if sh, err = vm.newShard(vm.plugins, false); err == nil {
			vm.shards[i].Store(sh)
		}
	}
	if err == nil {
		vm.spare, err = vm.newShard(vm.plugins, false)
	}
	if err != nil {
		_ = vm.Close()
		return nil, nil, vm.refusal(err)
	}
	for i := range vm.shards {
		vm.shards[i].Load().serve()
	}
	vm.builder.Add(1)
	go vm.rebuild()
	return vm, p, nil
}

func (vm *VM) refusal(err error) error { return abi.Refusal(err, vm.o.Start, vm.o.Memory) }

func (vm *VM) plugin(o PluginOptions) (*Plugin, error) {
	p := &Plugin{vm: vm, o: o, journal: abi.NewJournal(vm.o.Log, o.Name)}
	return p, nil
}

// Add configures one more plugin in every shard. If one refuses, none has it.
func (vm *VM) Add(o PluginOptions) (*Plugin, error) {
	p, err := vm.plugin(o)
	if err != nil {
		return nil, err
	}
	vm.mu.Lock()
	with := append(slices.Clone(vm.plugins), p)
	vm.mu.Unlock()
	if err := vm.canary(with); err != nil {
		return nil, vm.refusal(err)
	}
	vm.mu.Lock()
	vm.plugins = append(vm.plugins, p)
	all := vm.living()
	vm.mu.Unlock()
	for _, sh := range all {
		sh.mu.Lock()
		if sh.dead == nil && sh.rootOf(p) == nil {
			err = sh.configure(p)
		}
		sh.mu.Unlock()
		if err != nil {
			_ = p.Close()
			return nil, vm.refusal(err)
		}
	}
	return p, nil
}

// living lists the shards that are to know of every plugin. vm.mu is held.
func (vm *VM) living() []*shard {
	var all []*shard
	for i := range vm.shards {
		if sh := vm.shards[i].Load(); sh != nil {
			all = append(all, sh)
		}
	}
	if vm.spare != nil {
		all = append(all, vm.spare)
	}
	return append(all, vm.retired...)
}

// Close ends the plugin: its root contexts are told and deleted. No stream of it is open, and none follows.
func (p *Plugin) Close() error {
	vm := p.vm
	vm.mu.Lock()
	vm.plugins = slices.DeleteFunc(vm.plugins, func(q *Plugin) bool { return q == p })
	all := vm.living()
	vm.mu.Unlock()
	for _, sh := range all {
		sh.drop(p)
	}
	p.reach.close()
	return nil
}

// Close frees the instances and the module. Its plugins have been closed.
func (vm *VM) Close() error {
	vm.mu.Lock()
	closed := vm.closed
	vm.closed = true
	vm.mu.Unlock()
	if closed {
		return nil
	}
	close(vm.stop)
	vm.builder.Wait()
	vm.mu.Lock()
	all := vm.living()
	vm.spare, vm.retired = nil, nil
	plugins := vm.plugins
	vm.mu.Unlock()
	for _, sh := range all {
		sh.end()
	}
	for _, p := range plugins { // of a VM that could not be opened
		p.reach.close()
	}
	vm.o.Shared.leave(vm.space)
	return vm.module.Close()
}

var errStartFalse = errors.New("proxy_on_vm_start answered false")

// newShard makes an instance and configures plugins in it. Nobody else knows it yet.
func (vm *VM) newShard(plugins []*Plugin, canary bool) (*shard, error) {
	sh := &shard{vm: vm, shared: vm.o.Shared, canary: canary}
	sh.space = vm.space
	if canary {
		sh.shared = NewShared()
		sh.space = sh.shared.enter(vm.o.Scope)
	}
	if err := sh.start(plugins); err != nil {
		sh.end()
		return nil, sh.because(err)
	}
	vm.failures.Grown(sh.size.Load())
	vm.made.Add(1)
	return sh, nil
}

func (sh *shard) start(plugins []*Plugin) (err error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer func() {
		if err != nil && sh.dead == nil {
			sh.dead = err
		}
	}()
	in, err := sh.vm.module.Instantiate(context.Background(), wasm.InstanceOptions{Setup: func(in *wasm.Instance) error {
		in.Host, sh.in = unsafe.Pointer(sh), in
		return nil
	}})
	if err != nil {
		return err
	}
	if err = sh.fn.look(in, sh.vm.idle); err == nil {
		err = sh.runMain()
	}
	for i := 0; i < len(plugins) && err == nil; i++ {
		err = sh.configure(plugins[i])
	}
	sh.placed = err == nil && !sh.canary
	sh.size.Store(int64(in.Memory().Size()))
	return err
}

// runMain calls a main function that is exported beside _initialize, as C++ guests have it.
func (sh *shard) runMain() error {
	for _, name := range []string{"main", "__main_void"} {
		if !sh.vm.module.Exports("_initialize") || !sh.vm.module.Exports(name) {
			continue
		}
		f, err := sh.in.Func(name)
		if err != nil || f.Params() > 2 || f.Results() > 1 {
			return err
		}
		clear(sh.stack[:])
		if err := sh.in.Call(f, sh.vm.o.Start, sh.stack[:]); err != nil {
			return fmt.Errorf("run %s: %w", name, err)
		}
		return nil
	}
	return nil
}

// launch starts the VM in a shard, once, with the root context of the first plugin that comes: guests look that up in
// proxy_on_vm_start.
func (sh *shard) launch(r *root) error {
	if sh.launched || sh.fn.vmStart == nil {
		return nil
	}
	sh.launched, sh.starting = true, true
	ok, err := sh.enter(&r.scope, sh.fn.vmStart, sh.vm.o.Start, uint64(r.id), uint64(len(sh.vm.o.Config)))
	sh.starting = false
	switch {
	case err != nil:
		return fmt.Errorf("run proxy_on_vm_start: %w", err)
	case ok == 0:
		return errStartFalse
	}
	return nil
}

// newRoot makes a plugin's root context.
func (sh *shard) newRoot(p *Plugin) (*root, error) {
	r := &root{sh: sh, plugin: p}
	r.root = r
	sh.add(&r.scope)
	sh.roots = append(sh.roots, r)
	if sh.fn.contextCreate == nil {
		return r, nil
	}
	if _, err := sh.enter(&r.scope, sh.fn.contextCreate, sh.vm.o.Start, uint64(r.id), 0); err != nil {
		return nil, fmt.Errorf("run proxy_on_context_create: %w", err)
	}
	return r, nil
}

// configure gives a plugin its root context and its configuration. The first of a shard starts the VM there: it may come later
// than the shard, which was built between two plugins. sh.mu is held.
func (sh *shard) configure(p *Plugin) error {
	r := sh.rootOf(p)
	if r == nil {
		var err error
		if r, err = sh.newRoot(p); err != nil {
			return err
		}
	}
	if err := sh.launch(r); err != nil {
		return err
	}
	if sh.fn.configure == nil {
		return nil
	}
	ok, err := sh.enter(&r.scope, sh.fn.configure, sh.vm.o.Start, uint64(r.id), uint64(len(p.o.Config)))
	switch {
	case err != nil:
		return fmt.Errorf("run proxy_on_configure: %w", err)
	case ok == 0:
		return fmt.Errorf("proxy_on_configure of %s answered false: the filter refuses its configuration", p.o.Name)
	}
	return nil
}

func (sh *shard) rootOf(p *Plugin) *root {
	for _, r := range sh.roots {
		if r.plugin == p {
			return r
		}
	}
	return nil
}

// doneWait is how long a root context that has asked for time may take until it is deleted.
const doneWait = time.Second

// drop tells a plugin's root context that it ends, and deletes it. One that has asked for time still has its ticks and what it
// waits for: proxy_done ends that.
func (sh *shard) drop(p *Plugin) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r := sh.rootOf(p)
	if r == nil {
		return
	}
	if sh.dead == nil && sh.fn.done != nil {
		ok, err := sh.enter(&r.scope, sh.fn.done, sh.vm.o.CPU, uint64(r.id))
		r.pending = err == nil && ok == 0 && !sh.canary // nothing comes to a canary
	}
	for until := time.Now().Add(doneWait); r.pending && sh.dead == nil && time.Now().Before(until); {
		sh.mu.Unlock()
		time.Sleep(time.Millisecond)
		sh.mu.Lock()
	}
	r.quieten()
	sh.mu.Unlock()
	r.timer.running.Wait()
	sh.mu.Lock()
	if sh.dead == nil && sh.fn.delete != nil {
		_, _ = sh.enter(&r.scope, sh.fn.delete, sh.vm.o.CPU, uint64(r.id))
	}
	sh.recall(r)
	sh.scopes.remove(r.id)
	sh.roots = slices.DeleteFunc(sh.roots, func(o *root) bool { return o == r })
}

// end closes a shard's instance. No stream is open.
func (sh *shard) end() {
	sh.mu.Lock()
	roots := slices.Clone(sh.roots)
	sh.mu.Unlock()
	for _, r := range roots {
		sh.drop(r.plugin)
	}
	sh.mail.close()
	sh.mail.wait()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.dead == nil {
		sh.dead = errEnded
	}
	if sh.in != nil {
		sh.in.Close()
	}
	sh.size.Store(-1)
}

var errEnded = errors.New("the instance has been closed")
