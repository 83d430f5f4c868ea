package abi

import (
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
)

// Links lists what of a module's imports is not there as it asks for it; nil if all is.
func Links(all []wasm.Link) *filter.Links {
	l := &filter.Links{}
	for _, i := range all {
		switch i.How {
		case wasm.Stubbed:
			l.Stubbed = append(l.Stubbed, i.Module+"."+i.Name)
		case wasm.Adapted:
			l.Adapted = append(l.Adapted, i.Module+"."+i.Name)
		}
	}
	if len(l.Stubbed)+len(l.Adapted) == 0 {
		return nil
	}
	return l
}
