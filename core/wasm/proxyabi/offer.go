package proxyabi

import (
	"fmt"
	"slices"

	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// Offered lists what guests may import, for who tells of it. The functions in it work on a VM's instances only.
func Offered() []wasm.HostFunc { return slices.Clone(functions) }

// Check says which export of a guest has a type that it cannot be called by, as Open does.
func Check(o *abi.Outline) error {
	for _, x := range exported {
		for _, name := range x.names {
			f := o.Export(name)
			if f == nil {
				continue
			}
			if !slices.Contains(x.params, len(f.Params)) || !allI32(f.Params) || !allI32(f.Results) || (len(f.Results) == 1) != x.result {
				return fmt.Errorf("the module exports %s with another type than Proxy-Wasm has", name)
			}
			break
		}
	}
	return nil
}
