package proxyabi

import "github.com/weirproxy/weir/core/wasm"

var foreignFunctions = []wasm.HostFunc{}
