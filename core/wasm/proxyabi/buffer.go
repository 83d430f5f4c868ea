package proxyabi

import "github.com/weirproxy/weir/core/wasm"

var bufferFunctions = []wasm.HostFunc{}
