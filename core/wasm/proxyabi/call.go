package proxyabi

import (
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
)

var callFunctions = []wasm.HostFunc{}

// reach is the upstreams that a plugin can ask: those of the newest plan that holds it.
type reach struct{}

// Join lets the plugin ask the upstreams of a plan, until leave, which waits for what is under way.
func (p *Plugin) Join(u filter.Upstreams) (leave func()) { return func() {} }
