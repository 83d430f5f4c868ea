// Package wasm is the kind of filter behind the key wasm: modules that operators bring.
package wasm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/httpabi"
	modules "github.com/weirproxy/weir/core/wasm/source"
)

// Options are what the kind needs. All of them may be zero.
type Options struct {
	CacheDir string                                     // where compiled modules are kept between processes; empty: nowhere
	Open     func(file string) (code []byte, err error) // reads a module; nil: from the file or folder
	Modules  *modules.Store                             // fetches those that have an address; nil: one that keeps them in memory
	Log      zerolog.Logger
}

// Kind makes filters and shares them: those with the same code, configuration and bounds are one, on all routes and over
// reloads, so that a reload which does not change a filter keeps its instances warm. Its methods may be called
// concurrently.
type Kind struct {
	o Options

	mu      sync.Mutex
	pass    pass
	engine  *wasm.Engine // opened for the first module: a node without any need not measure its speed
	entries map[key]*entry
	closed  bool
}

// entry is a filter and how many places of plans hold it.
type entry struct {
	k      *Kind
	key    key
	filter *httpabi.Filter
	refs   int
}

// New makes the kind. The caller closes it after the last plan that was built with it.
func New(o Options) *Kind {
	if o.Open == nil {
		o.Open = modules.File
	}
	if o.Modules == nil {
		o.Modules = modules.New(modules.Options{Log: o.Log})
	}
	return &Kind{o: o, entries: map[key]*entry{}}
}

// Filter describes one filter that is loaded.
type Filter struct {
	Name   string
	SHA256 [sha256.Size]byte
	Places int // of routes, over all plans that are open
	Stats  httpabi.Stats
}

// Filters lists what is loaded, in no order.
func (k *Kind) Filters() []Filter {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]Filter, 0, len(k.entries))
	for key, e := range k.entries {
		list = append(list, Filter{key.name, key.hash, e.refs, e.filter.Stats()})
	}
	return list
}

// Close refuses further filters. Those in plans live until their plans close them; their number is the error.
func (k *Kind) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.pass = pass{}
	if n := len(k.entries); n > 0 {
		return fmt.Errorf("close wasm filters: %d still in plans", n)
	}
	if k.engine == nil {
		return nil
	}
	return k.engine.Close()
}

var errClosed = errors.New("closed")

// acquire finds a filter, or loads it. k.mu is held: one is loaded at a time, while traffic goes on.
func (k *Kind) acquire(c *config.WasmFilter, text string) (*place, error) {
	if k.closed {
		return nil, errClosed
	}
	s := k.source(c)
	if s.err != nil {
		return nil, s.err
	}
	id := keyOf(c, text, s)
	if e := k.entries[id]; e != nil {
		e.refs++
		return &place{Filter: e.filter, entry: e}, nil
	}
	code, err := k.read(c, s)
	if err != nil {
		return nil, err
	}
	if k.engine == nil {
		if k.engine, err = wasm.OpenEngine(wasm.Options{CacheDir: k.o.CacheDir}); err != nil {
			return nil, err
		}
	}
	o := httpabi.Options{
		Name: c.Name, Config: []byte(text), CPU: c.CPU, CPUTotal: c.CPUTotal, Start: c.Start, Memory: uint64(c.Memory),
		Instances: c.Instances, BodyLimit: int(c.BodyLimit), Env: s.env, Log: k.o.Log,
	}
	if o.BodyLimit == 0 {
		o.BodyLimit = -1 // a zero in a configuration means none, not the default
	}
	f, err := httpabi.Open(context.Background(), k.engine, code, o)
	if err != nil {
		return nil, err
	}
	e := &entry{k: k, key: id, filter: f, refs: 1}
	k.entries[id] = e
	return &place{Filter: f, entry: e}, nil
}

// place is a filter at one place of one plan.
type place struct {
	*httpabi.Filter
	entry *entry
	once  sync.Once
}

// Close gives the filter up; with its last place it is closed.
func (p *place) Close() (err error) {
	p.once.Do(func() { err = p.entry.drop() })
	return err
}

func (e *entry) drop() error {
	k := e.k
	k.mu.Lock()
	e.refs--
	last := e.refs == 0
	if last {
		delete(k.entries, e.key)
	}
	k.mu.Unlock()
	if !last {
		return nil
	}
	return e.filter.Close()
}
