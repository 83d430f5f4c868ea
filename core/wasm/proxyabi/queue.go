package proxyabi

import "github.com/weirproxy/weir/core/wasm"

var queueFunctions = []wasm.HostFunc{}
