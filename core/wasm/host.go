package wasm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm/meter"
)

// HostFunc is a function the host offers to guests. Fn finds its instance with FromContext and its arguments in the
// stack, where it leaves its results: the upper half of an i32 argument holds anything, so it must be converted to
// uint32 first. It may panic with an error to trap the guest.
type HostFunc struct {
	Module  string
	Name    string
	Params  []api.ValueType
	Results []api.ValueType
	Fn      api.GoModuleFunc
}

// FromContext returns the instance that calls a host function, given the context it is called with.
func FromContext(ctx context.Context) *Instance {
	in, _ := ctx.(*Instance)
	return in
}

// outOfFuel is the function that rewritten code calls when its fuel or its stack has run out.
func outOfFuel(ctx context.Context, _ api.Module, _ []uint64) { FromContext(ctx).refill() }

// link picks the host functions a module imports, from hosts first and from WASI then. The error names every import
// that nobody offers and every one that is offered with another signature.
func link(imports []meter.Func, hosts []HostFunc) ([]HostFunc, error) {
	var picked []HostFunc
	var problems []string
	seen := map[[2]string]bool{}
	for _, im := range imports {
		h, ok := find(hosts, im)
		if !ok {
			h, ok = wasiFunc(im.Module, im.Name)
		}
		if !ok {
			problems = append(problems, fmt.Sprintf("%s.%s is not offered", im.Module, im.Name))
			continue
		}
		if !slices.Equal(h.Params, im.Params) || !slices.Equal(h.Results, im.Results) {
			problems = append(problems, fmt.Sprintf("%s.%s has type %s, the module wants %s", im.Module, im.Name,
				signature(h.Params, h.Results), signature(im.Params, im.Results)))
			continue
		}
		if k := [2]string{im.Module, im.Name}; !seen[k] {
			seen[k] = true
			picked = append(picked, h)
		}
	}
	if len(problems) > 0 {
		return nil, errors.New("link imports: " + strings.Join(problems, "; "))
	}
	return picked, nil
}

func find(hosts []HostFunc, im meter.Func) (HostFunc, bool) {
	for _, h := range hosts {
		if h.Name == im.Name && h.Module == im.Module {
			return h, true
		}
	}
	return HostFunc{}, false
}

func signature(params, results []byte) string {
	return "(" + typeNames(params) + ")→(" + typeNames(results) + ")"
}

func typeNames(ts []byte) string {
	names := make([]string, len(ts))
	for i, t := range ts {
		names[i] = api.ValueTypeName(t)
	}
	return strings.Join(names, ",")
}
