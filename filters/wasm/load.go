package wasm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
	"github.com/weirproxy/weir/core/wasm/folder"
	"github.com/weirproxy/weir/core/wasm/httpabi"
	"github.com/weirproxy/weir/core/wasm/proxyabi"
)

// site is one place that a filter is put on.
type site struct {
	c *config.WasmFilter
	p *filter.Place
}

// load makes a filter of a module. k.building is held.
func (k *Kind) load(c *config.WasmFilter, id key, s *source) (made, error) {
	if v := k.vm(id.vm); v != nil {
		return v.add(c, id) // the instances are there: one more plugin in them
	}
	code, err := k.read(c, s)
	if err != nil {
		return nil, err
	}
	if k.engine == nil {
		if k.engine, err = k.openEngine(); err != nil {
			return nil, err
		}
	}
	built, err := abi.Detect(abi.Scan(code))
	if err != nil {
		return nil, err
	}
	if built.Kind == abi.ProxyWasm {
		return k.openVM(c, id, s, code, built)
	}
	if keys := foreign(c); len(keys) > 0 {
		return nil, fmt.Errorf("it is an http-wasm filter, and these keys are for those of Proxy-Wasm: %s; take them out", strings.Join(keys, ", "))
	}
	f, err := httpabi.Open(context.Background(), k.engine, code, httpabi.Options{
		Name: c.Name, Config: []byte(id.config), CPU: c.CPU, CPUTotal: c.CPUTotal, Start: c.Start, Memory: uint64(c.Memory),
		Instances: c.Instances, BodyLimit: bodyLimit(c), Env: s.env, Log: k.o.Log,
	})
	if err != nil {
		return nil, err
	}
	return httpFilter{f}, nil
}

// openEngine makes the engine: one that keeps no compiled code on disk, where others could put in theirs.
func (k *Kind) openEngine() (*wasm.Engine, error) {
	e, err := wasm.OpenEngine(wasm.Options{CacheDir: k.o.CacheDir})
	if errors.Is(err, folder.ErrShared) {
		k.o.Log.Warn().Err(err).Msg("compiled modules are not kept: chmod go-w would help")
		return wasm.OpenEngine(wasm.Options{})
	}
	return e, err
}

// foreign lists the keys given that mean nothing to http-wasm. Nothing in a configuration is ignored.
func foreign(c *config.WasmFilter) (keys []string) {
	for _, k := range []struct {
		name  string
		given bool
	}{
		{"calls", len(c.Calls) > 0}, {"vm_id", c.VMID != ""}, {"vm_config", c.VMConfig != ""}, {"root_id", c.RootID != ""},
		{"stop_iteration", c.StopIteration}, {"properties", c.Properties == config.PropertiesKong}, {"tags", len(c.Tags) > 0},
		{"pause", c.Pause != 0 && c.Pause != config.DefaultPause},
	} {
		if k.given {
			keys = append(keys, k.name)
		}
	}
	return keys
}

// bodyLimit is what both ABIs understand: a zero in a configuration means none, not the default.
func bodyLimit(c *config.WasmFilter) int {
	if c.BodyLimit == 0 {
		return -1
	}
	return int(c.BodyLimit)
}

// httpFilter is a filter of http-wasm: the same wherever it stands.
type httpFilter struct{ *httpabi.Filter }

func (f httpFilter) at(*site) (watched, func(), error) { return f.Filter, func() {}, nil }

// vm is instances of a Proxy-Wasm module with the filters that share them.
type vm struct {
	k    *Kind
	key  vmKey
	vm   *proxyabi.VM
	refs int // of plugins; k.mu guards it
}

// vm finds instances and counts one more plugin of theirs; nil: there are none.
func (k *Kind) vm(id vmKey) *vm {
	k.mu.Lock()
	defer k.mu.Unlock()
	v := k.vms[id]
	if v != nil {
		v.refs++
	}
	return v
}

// openVM makes the instances for a first filter. k.building is held.
func (k *Kind) openVM(c *config.WasmFilter, id key, s *source, code []byte, built abi.ABI) (made, error) {
	scope := c.VMID
	if scope == "" {
		scope = proxyabi.Private + c.Name
	}
	var tags []proxyabi.Tag
	for _, t := range c.Tags {
		tags = append(tags, proxyabi.Tag{Name: t.Name, Pattern: t.Pattern})
	}
	m, p, err := proxyabi.Open(context.Background(), k.engine, code, proxyabi.Options{
		Name: c.Name, ID: c.VMID, Scope: scope, Config: []byte(c.VMConfig), CPU: c.CPU, CPUTotal: c.CPUTotal, Start: c.Start,
		Pause: c.Pause, Memory: uint64(c.Memory), Shards: c.Instances, BodyLimit: bodyLimit(c), Env: s.env, Tags: tags, Log: k.o.Log,
		Shared: k.shared,
	}, plugin(c, id))
	if err != nil {
		return nil, err
	}
	v := &vm{k: k, key: id.vm, vm: m, refs: 1}
	k.mu.Lock()
	k.vms[id.vm] = v
	k.mu.Unlock()
	if links := p.Status().Links; links != nil || !built.Marked {
		e, text := k.o.Log.Warn().Str("filter", c.Name).Stringer("abi", built), "filter loaded, though it does not say which version of Proxy-Wasm it is built for"
		if links != nil {
			text = "filter loaded, but not all that it imports is there: calls of what is stubbed fail"
			e = list(list(e, "stubbed", links.Stubbed), "adapted", links.Adapted)
		}
		e.Msg(text)
	}
	return &proxyFilter{vm: v, Plugin: p}, nil
}

// list adds names to a line, if there are any.
func list(e *zerolog.Event, key string, names []string) *zerolog.Event {
	if len(names) > 0 {
		e = e.Strs(key, names)
	}
	return e
}

func plugin(c *config.WasmFilter, id key) proxyabi.PluginOptions {
	return proxyabi.PluginOptions{
		Name: c.Name, RootID: c.RootID, Config: []byte(id.config), Calls: c.Calls, Kong: c.Properties == config.PropertiesKong,
		StopIteration: c.StopIteration,
	}
}

// add puts one more filter, which has been counted, into the instances.
func (v *vm) add(c *config.WasmFilter, id key) (made, error) {
	p, err := v.vm.Add(plugin(c, id))
	if err != nil {
		_ = v.drop()
		return nil, err
	}
	return &proxyFilter{vm: v, Plugin: p}, nil
}

// drop counts one plugin less. With the last one the instances are closed.
func (v *vm) drop() error {
	k := v.k
	k.mu.Lock()
	v.refs--
	last := v.refs == 0
	if last && k.vms[v.key] == v {
		delete(k.vms, v.key)
	}
	k.mu.Unlock()
	if !last {
		return nil
	}
	return v.vm.Close()
}

// proxyFilter is a filter of Proxy-Wasm: a plugin in the instances of its module.
type proxyFilter struct {
	vm *vm
	*proxyabi.Plugin
}

func (f *proxyFilter) at(s *site) (watched, func(), error) {
	r := s.p.Route
	where := proxyabi.Site{Route: r.Name, Upstream: r.Upstream, RouteMetadata: r.Metadata, FailOpen: s.c.OnError == config.FailOpen}
	for i := range s.p.Spec.Upstreams {
		if u := &s.p.Spec.Upstreams[i]; u.Name == r.Upstream {
			where.UpstreamMetadata = u.Metadata
		}
	}
	out, err := f.At(where)
	if err != nil {
		return nil, nil, err
	}
	return out, f.Join(s.p.Upstreams), nil
}

// Close closes the plugin, and with the last one the instances.
func (f *proxyFilter) Close() error { return errors.Join(f.Plugin.Close(), f.vm.drop()) }
