package proxyabi

import (
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// PluginOptions are what one root context is given.
type PluginOptions struct {
	Name   string // of the filter
	RootID string // proxy_get_property("plugin_root_id"), by which a module knows which of its plugins is meant
	Config []byte // what proxy_on_configure finds
	Calls  []string
	Kong   bool // properties are texts, as Kong has them

	StopIteration bool // StopIteration in a header phase still lets the body come to the guest
}

// Plugin is a root context in every shard of a VM.
type Plugin struct {
	vm    *VM
	o     PluginOptions
	reach reach
	// What it logs stands under its own name, also where several share a VM.
	journal *abi.Journal
	phases  abi.Phases
}

// Site is where a plugin stands: one route of one plan.
type Site struct {
	Route, Upstream                 string // names; Upstream is empty if the route has none, or several
	RouteMetadata, UpstreamMetadata string // JSON objects; empty: none
	FailOpen                        bool
}

// Filter is a plugin at a site. It is a filter.Filter.
type Filter struct {
	p     *Plugin
	site  Site
	facts facts
}

// At makes the plugin a filter at a site. The filter holds nothing of its own.
func (p *Plugin) At(site Site) (*Filter, error) {
	facts, err := factsOf(site)
	return &Filter{p: p, site: site, facts: facts}, err
}

// Close implements filter.Filter: the plugin is closed by whoever opened it.
func (f *Filter) Close() error { return nil }

var _ filter.Filter = (*Filter)(nil)
