// Package wasm is the kind of filter behind the key wasm: modules that operators bring, of whichever ABI.
package wasm

import (
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
	"github.com/weirproxy/weir/core/wasm/proxyabi"
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
	o      Options
	shared *proxyabi.Shared

	building sync.Mutex // held while a plan's filters are made, which may take seconds; comes before mu
	pass     pass
	engine   *wasm.Engine // opened for the first module: a node without any need not measure its speed

	mu      sync.Mutex // held for moments
	entries map[key]*entry
	vms     map[vmKey]*vm
	closed  bool
}

// entry is a filter and how many places of plans hold it.
type entry struct {
	k    *Kind
	key  key
	made made
	refs int

	// What is told of it, as it was last asked for.
	file, url, onError string
	routes             map[string]int // by name: how many places of open plans
}

// made is a loaded filter of either ABI.
type made interface {
	// at puts it on a route. leave is called when it is taken off, before the filter is closed.
	at(s *site) (f watched, leave func(), err error)
	Status() filter.Status
	Close() error
}

// watched is a filter with all that is told of it.
type watched interface {
	filter.Filter
	filter.Measured
	filter.Timed
}

// New makes the kind. The caller closes it after the last plan that was built with it.
func New(o Options) *Kind {
	if o.Open == nil {
		o.Open = modules.File
	}
	if o.Modules == nil {
		o.Modules = modules.New(modules.Options{Log: o.Log})
	}
	return &Kind{o: o, shared: proxyabi.NewShared(), entries: map[key]*entry{}, vms: map[vmKey]*vm{}}
}

// Filters lists what is loaded, in no order.
func (k *Kind) Filters() []filter.Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]filter.Status, 0, len(k.entries))
	for key, e := range k.entries {
		s := e.made.Status()
		s.File, s.URL, s.SHA256, s.OnError = e.file, e.url, hex.EncodeToString(key.vm.hash[:]), e.onError
		s.Routes, s.Places = slices.Collect(maps.Keys(e.routes)), e.refs
		list = append(list, s)
	}
	return list
}

// AppendMetrics appends the metrics that filters have defined, in Prometheus text format.
func (k *Kind) AppendMetrics(dst []byte) []byte { return k.shared.AppendMetrics(dst) }

// Close refuses further filters. Those in plans live until their plans close them; their number is the error.
func (k *Kind) Close() error {
	k.building.Lock()
	defer k.building.Unlock()
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

// acquire finds a filter, or loads it, and puts it on a route. k.building is held: one is loaded at a time, while traffic goes
// on and other plans close.
func (k *Kind) acquire(c *config.WasmFilter, text string, p *filter.Place) (*place, error) {
	if k.isClosed() {
		return nil, errClosed
	}
	s := k.source(c)
	if s.err != nil {
		return nil, s.err
	}
	id := keyOf(c, text, s)
	e := k.held(id, nil, c, p)
	if e == nil {
		f, err := k.load(c, id, s)
		if err != nil {
			return nil, err
		}
		e = k.held(id, f, c, p)
	}
	f, leave, err := e.made.at(&site{c: c, p: p})
	if err != nil {
		_ = e.drop(p.Route.Name)
		return nil, err
	}
	return &place{watched: f, entry: e, route: p.Route.Name, leave: leave}, nil
}

func (k *Kind) isClosed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closed
}

// held gives the entry of a key with one more place; if there is none, one of made, or nil if that is nil.
func (k *Kind) held(id key, made made, c *config.WasmFilter, p *filter.Place) *entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.entries[id]
	if e == nil {
		if made == nil {
			return nil
		}
		e = &entry{k: k, key: id, made: made, routes: map[string]int{}}
		k.entries[id] = e
	}
	e.refs++
	e.routes[p.Route.Name]++
	e.file, e.url, e.onError = c.File, modules.Redacted(c.URL), c.OnError
	return e
}

// place is a filter at one place of one plan.
type place struct {
	watched
	entry *entry
	route string
	leave func()
	once  sync.Once
}

// Close gives the filter up; with its last place it is closed.
func (p *place) Close() (err error) {
	p.once.Do(func() {
		p.leave()
		err = p.entry.drop(p.route)
	})
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
	return e.made.Close()
}
