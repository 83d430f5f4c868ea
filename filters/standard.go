// Package filters lists the kinds of filters that are built in.
package filters

import (
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/source"
	"github.com/weirproxy/weir/filters/headers"
	"github.com/weirproxy/weir/filters/wasm"
)

// Options are what filters share between plans.
type Options struct {
	StateDir string                                     // modules, also compiled ones, are kept in its folder wasm; empty: nowhere
	Open     func(file string) (code []byte, err error) // reads a Wasm module; nil: from the file
	Log      zerolog.Logger
}

// Set is the kinds with what they share.
type Set struct {
	Wasm *wasm.Kind
}

// Open makes the set. It opens nothing before a plan needs it. The caller closes the set after the last plan.
func Open(o Options) *Set {
	cache := ""
	if o.StateDir != "" {
		cache = filepath.Join(o.StateDir, "wasm")
	}
	store := source.New(source.Options{StateDir: o.StateDir, Log: o.Log})
	return &Set{Wasm: wasm.New(wasm.Options{CacheDir: cache, Open: o.Open, Modules: store, Log: o.Log})}
}

// Standard is the table of kinds: filters in one slot stand in this order.
func (s *Set) Standard() []filter.Kind {
	return []filter.Kind{
		{Name: "response headers", Build: headers.Response}, // of every answer, whatever the filters below did
		{Name: "wasm", Build: s.Wasm.Build},
		{Name: "request headers", Build: headers.Request}, // last: what was proved about a client replaces what filters left
	}
}

// Close frees what was shared. Its error says what is still in use.
func (s *Set) Close() error { return s.Wasm.Close() }
