package proxyabi

import "github.com/weirproxy/weir/core/wasm"

var fieldFunctions = []wasm.HostFunc{}

// count is the number of pairs of a map, those of its pseudo fields among them.
func (f *fields) count() int { return 0 }
