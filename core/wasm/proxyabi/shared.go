package proxyabi

import "github.com/weirproxy/weir/core/wasm"

var sharedFunctions = []wasm.HostFunc{}

// Shared is what VMs share: data by key, queues and metrics. One serves a process. Safe for concurrent use.
type Shared struct{}

// NewShared makes an empty one.
func NewShared() *Shared { return &Shared{} }
