package wasm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/filter"
)

// Build makes the filters that a route uses, in their order. A filter that can't be loaded is told of once, however many
// routes use it.
func (k *Kind) Build(p filter.Place) ([]filter.Placed, error) {
	s, r := p.Spec, p.Route
	k.building.Lock()
	defer k.building.Unlock()
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

func (k *Kind) source(c *config.WasmFilter) *source {
	if s := k.pass.filters[c.Name]; s != nil {
		return s
	}
	s := &source{}
	k.pass.filters[c.Name] = s
	var code []byte
	if c.URL != "" {
		code, s.err = k.o.Modules.Get(c.URL, c.SHA256)
	} else {
		code, s.err = k.o.Open(c.File)
	}
	if s.err != nil {
		return s
	}
	s.hash = sha256.Sum256(code)
	if have := hex.EncodeToString(s.hash[:]); c.SHA256 != "" && have != c.SHA256 {
		s.err = fmt.Errorf("%s is not the module that is pinned: its sha256 is %s, not %s", c.File, have, c.SHA256)
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

// read gives the code that source has looked at.
func (k *Kind) read(c *config.WasmFilter, s *source) ([]byte, error) {
	if c.URL != "" {
		return k.o.Modules.Kept(s.hash)
	}
	code, err := k.o.Open(c.File)
	if err == nil && sha256.Sum256(code) != s.hash {
		err = fmt.Errorf("%s is being written", c.File)
	}
	return code, err
}
