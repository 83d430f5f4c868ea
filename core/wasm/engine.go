// Package wasm runs WebAssembly guests that cannot hurt the node: their CPU is metered, their memory capped, and a
// crash costs one instance.
//
// An Engine loads modules; a Module is compiled once however often it is loaded and makes Instances; a Stock keeps a
// bounded number of instances ready. Nothing here knows what guests are for: host functions are handed in by the caller.
package wasm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"unsafe"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/weirproxy/weir/core/wasm/folder"
	"github.com/weirproxy/weir/core/wasm/meter"
)

// Options configures an Engine.
type Options struct {
	// CacheDir keeps compiled code between processes. It is made with mode 0700 if missing. What lies in it is run as
	// native code: a folder that others may write to, or that is another user's, is refused with folder.ErrShared. Empty:
	// compiled code lives as long as its module.
	CacheDir string
	// Rate is the fuel a core burns in a microsecond. Zero: measured by OpenEngine, which takes up to 20 ms.
	Rate int64
	// Unmetered runs guests without metering their CPU and their stack. It is for measuring what that costs, and for
	// nothing else: a guest may hang the process, budgets mean nothing, and Instance.CPU holds only what host functions burned.
	Unmetered bool
}

// Engine loads modules. One serves a process. Its methods may be called concurrently.
type Engine struct {
	cacheDir string
	rate     int64
	plain    bool          // Options.Unmetered
	compile  chan struct{} // one compilation at a time, so that a reload leaves cores to traffic

	mu     sync.Mutex
	codes  map[codeKey]*code
	closed bool
}

// OpenEngine makes an engine and, unless Options.Rate is given, measures how fast this machine burns fuel.
func OpenEngine(o Options) (*Engine, error) {
	e := &Engine{cacheDir: o.CacheDir, rate: o.Rate, plain: o.Unmetered, compile: make(chan struct{}, 1), codes: map[codeKey]*code{}}
	if e.cacheDir != "" {
		c, err := wazero.NewCompilationCacheWithDir(e.cacheDir)
		if err != nil {
			return nil, fmt.Errorf("open wasm cache %s: %w", e.cacheDir, err)
		}
		_ = c.Close(context.Background())
		if err := ownCache(e.cacheDir); err != nil {
			return nil, fmt.Errorf("open wasm cache: what lies there is run as native code, and %w", err)
		}
	}
	if e.rate <= 0 {
		r, err := calibrate()
		if err != nil {
			return nil, fmt.Errorf("calibrate fuel: %w", err)
		}
		e.rate = r
	}
	return e, nil
}

// ownCache looks at the folder and at those in it that hold compiled code, one for each version of the compiler.
func ownCache(dir string) error {
	below, err := filepath.Glob(filepath.Join(dir, "wazero-*"))
	if err != nil {
		return err
	}
	for _, at := range append(below, dir) {
		if err := folder.Own(at); err != nil {
			return err
		}
	}
	return nil
}

// Rate is the fuel a core burns in a microsecond.
func (e *Engine) Rate() int64 { return e.rate }

// Close refuses further loads. Modules and instances still open keep working until they are closed; their number is
// the error.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	if n := len(e.codes); n > 0 {
		return fmt.Errorf("close wasm engine: %d modules still open", n)
	}
	return nil
}

// errClosed is what a closed engine, module, instance or stock answers.
var errClosed = errors.New("closed")

// codeKey is all that the compiled form of a module depends on. Host functions are compared by the identity of the
// slice that lists them, and ModuleOptions.Missing by whether there is one.
type codeKey struct {
	hash    [sha256.Size]byte
	hosts   *HostFunc
	n       int
	missing bool
}

// code is a compiled module with the runtime it lives in. It is counted: by the Modules loaded from it and by their
// instances.
type code struct {
	e        *Engine
	key      codeKey
	refs     int // guarded by e.mu
	runtime  wazero.Runtime
	cache    wazero.CompilationCache
	compiled wazero.CompiledModule
	info     meter.Info
	links    []Link
	memory   uint64 // cap in bytes
	stack    int64
}

func keyOf(b []byte, o *ModuleOptions) codeKey {
	h := sha256.New()
	h.Write(b)
	fmt.Fprint(h, " ", meter.Version, o.Memory, o.Stack, o.Limits)
	k := codeKey{hosts: unsafe.SliceData(o.Host), n: len(o.Host), missing: o.Missing != nil}
	h.Sum(k.hash[:0])
	return k
}

// Load rewrites, checks and compiles a module, or shares the compiled code of one loaded before from the same bytes
// with the same limits and the same slice of host functions. It runs no guest code. The bytes are not kept. Compiling
// cannot be interrupted; ctx bounds the wait for other compilations.
func (e *Engine) Load(ctx context.Context, b []byte, o ModuleOptions) (*Module, error) {
	o.setDefaults()
	key := keyOf(b, &o)
	select {
	case e.compile <- struct{}{}:
		defer func() { <-e.compile }()
	case <-ctx.Done():
		return nil, fmt.Errorf("load module %s: %w", o.Name, ctx.Err())
	}
	e.mu.Lock()
	c, closed := e.codes[key], e.closed
	if c != nil {
		c.refs++
	}
	e.mu.Unlock()
	if closed {
		if c != nil {
			c.release()
		}
		return nil, fmt.Errorf("load module %s: engine %w", o.Name, errClosed)
	}
	if c == nil {
		var err error
		if c, err = e.build(b, key, &o); err != nil {
			return nil, fmt.Errorf("load module %s: %w", o.Name, err)
		}
		e.mu.Lock()
		e.codes[key] = c
		e.mu.Unlock()
	}
	return newModule(c, o), nil
}

// build compiles what Load found no code for.
func (e *Engine) build(b []byte, key codeKey, o *ModuleOptions) (*code, error) {
	limits := o.Limits
	limits.MemoryPages = uint32(o.Memory / meter.PageSize)
	// One page over the cap: so it is the allocator, which takes note, that refuses what is too much.
	limits.MemoryMax = min(limits.MemoryPages+1, 1<<16)
	limits.Stack = o.Stack
	limits.Unmetered = e.plain
	out, info, err := meter.Rewrite(b, limits)
	if err != nil {
		return nil, err
	}
	l := linker{hosts: o.Host, missing: o.Missing}
	if err = l.link(info.Imports); err != nil {
		return nil, err
	}
	c := &code{e: e, key: key, refs: 1, info: info, links: l.links, memory: o.Memory, stack: o.Stack}
	if e.cacheDir != "" {
		// A cache that cannot be read must not keep a good module from loading: once more without.
		if err = c.open(out, l.picked, e.cacheDir, limits.MemoryMax); err == nil {
			return c, nil
		}
	}
	if err = c.open(out, l.picked, "", limits.MemoryMax); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *code) open(b []byte, hosts []HostFunc, cacheDir string, pages uint32) (err error) {
	ctx := context.Background()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("compile: %v", r)
		}
		if err != nil {
			c.close()
		}
	}()
	cfg := wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(pages).
		WithDebugInfoEnabled(false)
	if cacheDir != "" {
		if c.cache, err = wazero.NewCompilationCacheWithDir(cacheDir); err != nil {
			return err
		}
		cfg = cfg.WithCompilationCache(c.cache)
	}
	c.runtime = wazero.NewRuntimeWithConfig(ctx, cfg)
	if err = c.hostModules(ctx, hosts); err != nil {
		return err
	}
	c.compiled, err = c.runtime.CompileModule(experimental.WithCompilationWorkers(ctx, 1), b)
	return err
}

// hostModules instantiates what the module imports, and nothing more.
func (c *code) hostModules(ctx context.Context, hosts []HostFunc) error {
	byModule := map[string]wazero.HostModuleBuilder{}
	for _, h := range append(hosts, HostFunc{Module: meter.ImportModule, Name: meter.ImportName, Fn: outOfFuel}) {
		b := byModule[h.Module]
		if b == nil {
			b = c.runtime.NewHostModuleBuilder(h.Module)
			byModule[h.Module] = b
		}
		b.NewFunctionBuilder().WithGoModuleFunction(h.Fn, h.Params, h.Results).WithName(h.Name).Export(h.Name)
	}
	for name, b := range byModule {
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("provide host module %s: %w", name, err)
		}
	}
	return nil
}

// close frees the runtime and all that was made in it.
func (c *code) close() {
	ctx := context.Background()
	if c.compiled != nil {
		_ = c.compiled.Close(ctx)
	}
	if c.runtime != nil {
		_ = c.runtime.Close(ctx)
	}
	if c.cache != nil {
		_ = c.cache.Close(ctx)
	}
	c.compiled, c.runtime, c.cache = nil, nil, nil
}

func (c *code) retain() {
	c.e.mu.Lock()
	c.refs++
	c.e.mu.Unlock()
}

func (c *code) release() {
	c.e.mu.Lock()
	c.refs--
	last := c.refs == 0
	if last {
		delete(c.e.codes, c.key)
	}
	c.e.mu.Unlock()
	if last {
		c.close()
	}
}
