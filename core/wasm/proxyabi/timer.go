package proxyabi

import "github.com/weirproxy/weir/core/wasm"

var timerFunctions = []wasm.HostFunc{}

// timer is a root's tick.
type timer struct{}

// stopTimer ends a root's ticks: none is under way or follows. sh.mu is not held.
func (r *root) stopTimer() {}
