package proxyabi

import "github.com/weirproxy/weir/core/wasm"

var logFunctions = []wasm.HostFunc{}
