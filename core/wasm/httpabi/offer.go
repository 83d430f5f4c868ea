package httpabi

import (
	"fmt"
	"slices"

	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// Offered lists what guests may import, for who tells of it. The functions in it work on a filter's instances only.
func Offered() []wasm.HostFunc { return slices.Clone(functions) }

// Check says what a guest lacks of what it must export, as Open does.
func Check(o *abi.Outline) error {
	if err := lacking(o); err != nil {
		return err
	}
	for _, e := range exported {
		if f := o.Export(e.name); !slices.Equal(f.Params, e.params) || !slices.Equal(f.Results, e.results) {
			return fmt.Errorf("the module exports %s with another type than %s", e.name, e.signature)
		}
	}
	return nil
}
