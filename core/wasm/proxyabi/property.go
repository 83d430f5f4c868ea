package proxyabi

import "github.com/weirproxy/weir/core/wasm"

var propertyFunctions = []wasm.HostFunc{}

// facts is what a site's properties are made of, parsed once.
type facts struct{}

func factsOf(Site) (facts, error) { return facts{}, nil }
