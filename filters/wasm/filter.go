// Package wasm is the kind of filter behind the key wasm: modules that operators bring.
package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/httpabi"
)

// Options are what the kind needs. All of them may be zero.
type Options struct {
	CacheDir string                                     // where compiled modules are kept between processes; empty: nowhere
	Open     func(file string) (code []byte, err error) // reads a module; nil: from the file
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

	// What is told of it, as it was last asked for.
	file, onError string
	routes        map[string]int // by name: how many places of open plans
}

// New makes the kind. The caller closes it after the last plan that was built with it.
func New(o Options) *Kind {
	if o.Open == nil {
		o.Open = read
	}
	return &Kind{o: o, entries: map[key]*entry{}}
}

// Filters lists what is loaded, in no order.
func (k *Kind) Filters() []filter.Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]filter.Status, 0, len(k.entries))
	for key, e := range k.entries {
		s := e.filter.Status()
		s.File, s.SHA256, s.OnError = e.file, hex.EncodeToString(key.hash[:]), e.onError
		s.Routes, s.Places = slices.Collect(maps.Keys(e.routes)), e.refs
		list = append(list, s)
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
func (k *Kind) acquire(c *config.WasmFilter, text, route string) (*place, error) {
	if k.closed {
		return nil, errClosed
	}
	s := k.source(c)
	if s.err != nil {
		return nil, s.err
	}
	id := keyOf(c, text, s)
	if e := k.entries[id]; e != nil {
		return e.place(c, route), nil
	}
	code, err := k.o.Open(c.File)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(code) != s.hash {
		return nil, fmt.Errorf("%s is being written", c.File)
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
	e := &entry{k: k, key: id, filter: f, routes: map[string]int{}}
	k.entries[id] = e
	return e.place(c, route), nil
}

// place puts the filter on a route. k.mu is held.
func (e *entry) place(c *config.WasmFilter, route string) *place {
	e.refs++
	e.routes[route]++
	e.file, e.onError = c.File, c.OnError
	return &place{Filter: e.filter, entry: e, route: route}
}

// place is a filter at one place of one plan.
type place struct {
	*httpabi.Filter
	entry *entry
	route string
	once  sync.Once
}

// Close gives the filter up; with its last place it is closed.
func (p *place) Close() (err error) {
	p.once.Do(func() { err = p.entry.drop(p.route) })
	return err
}

func (e *entry) drop(route string) error {
	k := e.k
	k.mu.Lock()
	e.refs--
	if e.routes[route]--; e.routes[route] == 0 {
		delete(e.routes, route)
	}
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
