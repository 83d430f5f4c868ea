package wasm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/filter"
)

// Build makes the filters that a route uses, in their order. A filter that can't be loaded is told of once, however many
// routes use it.
func (k *Kind) Build(p filter.Place) ([]filter.Placed, error) {
	s, r := p.Spec, p.Route
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pass.spec != s {
		k.pass = pass{spec: s, filters: map[string]*source{}, failed: map[string]bool{}}
	}
	var placed []filter.Placed
	var problems []error
	for i := range r.Wasm {
		use := &r.Wasm[i]
		c := find(s, use.Filter)
		if c == nil {
			problems = append(problems, use.Pos.Errorf("there is no wasm filter %q", use.Filter))
			continue
		}
		slot, ok := filter.ParseSlot(use.Slot)
		if !ok {
			problems = append(problems, use.Pos.Errorf("there is no slot %q", use.Slot))
			continue
		}
		f, err := k.acquire(c, use.Config, &p)
		if err != nil {
			// One filter may fail with one configuration and not with another.
			if text := c.Name + "\x00" + err.Error(); !k.pass.failed[text] {
				k.pass.failed[text] = true
				problems = append(problems, c.Pos.Errorf("%v", err))
			}
			continue
		}
		placed = append(placed, filter.Placed{Name: c.Name, Slot: slot, Filter: f, FailOpen: c.OnError == config.FailOpen, Key: f.entry})
	}
	return placed, errors.Join(problems...)
}

func find(s *config.Spec, name string) *config.WasmFilter {
	for i := range s.Wasm {
		if s.Wasm[i].Name == name {
			return &s.Wasm[i]
		}
	}
	return nil
}

// pass is what one reading of the configuration has found out: files are hashed once a pass.
type pass struct {
	spec    *config.Spec
	filters map[string]*source // by name
	failed  map[string]bool
}

// source is where a filter's code comes from.
type source struct {
	hash [sha256.Size]byte
	env  []string
	err  error
}

// maxModule is the most bytes of a module that are read.
const maxModule = 256 << 20

func (k *Kind) source(c *config.WasmFilter) *source {
	if s := k.pass.filters[c.Name]; s != nil {
		return s
	}
	s := &source{}
	k.pass.filters[c.Name] = s
	var code []byte
	if code, s.err = k.o.Open(c.File); s.err != nil {
		return s
	}
	s.hash = sha256.Sum256(code)
	if have := hex.EncodeToString(s.hash[:]); c.SHA256 != "" && have != c.SHA256 {
		s.err = fmt.Errorf("%s is not the module that is pinned: its sha256 is %s", c.File, have)
		return s
	}
	for i := range c.Env {
		v, err := c.Env[i].Value.Read()
		if err != nil {
			s.err = err
			return s
		}
		s.env = append(s.env, c.Env[i].Name+"="+string(v))
	}
	return s
}

func read(file string) ([]byte, error) {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no file %s", file)
	case err != nil:
		return nil, fmt.Errorf("read module: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", file)
	case info.Size() > maxModule:
		return nil, fmt.Errorf("%s is larger than %d MiB", file, maxModule>>20)
	}
	code, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	return code, nil
}
