package proxyabi

import "github.com/weirproxy/weir/core/wasm"

var grpcFunctions = []wasm.HostFunc{}
