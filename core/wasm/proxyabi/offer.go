package proxyabi

import (
	"slices"

	"github.com/weirproxy/weir/core/wasm"
)

// Offered lists what guests may import, for who tells of it. The functions in it work on a VM's instances only.
func Offered() []wasm.HostFunc { return slices.Clone(functions) }
