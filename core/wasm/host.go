package wasm

import (
	"context"
	"errors"
	"slices"
	"strconv"
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

// How says how an import was met.
type How uint8

const (
	Covered How = iota // by the function of that name
	Adapted            // the name is known with another signature: by ModuleOptions.Missing
	Stubbed            // the name is unknown: by ModuleOptions.Missing
)

func (h How) String() string {
	switch h {
	case Covered:
		return "covered"
	case Adapted:
		return "adapted"
	}
	return "stubbed"
}

// Link is one import of a module: a name that is imported with several signatures is several of them.
type Link struct {
	Module, Name string
	How          How
}

// linker meets a module's imports.
type linker struct {
	hosts    []HostFunc
	missing  func(meter.Func, *HostFunc) (HostFunc, bool)
	picked   []HostFunc
	links    []Link
	problems []string
}

// link picks the host functions a module imports, each under the name it has in the rewritten module. The error names
// every import that nobody offers and every one that is offered with another signature.
func (l *linker) link(imports []meter.Func) error {
	seen := map[[2]string]bool{}
	for i := range imports {
		im := &imports[i]
		k := [2]string{im.Module, im.As}
		if seen[k] {
			continue
		}
		seen[k] = true
		h, how, ok := l.pick(im)
		if !ok {
			continue
		}
		h.Module, h.Name, h.Params, h.Results = im.Module, im.As, im.Params, im.Results
		l.picked = append(l.picked, h)
		l.links = append(l.links, Link{im.Module, im.Name, how})
	}
	if more := len(l.problems) - problemsMost; more > 0 {
		l.problems = append(l.problems[:problemsMost], strconv.Itoa(more)+" more")
	}
	if len(l.problems) > 0 {
		return errors.New("link imports: " + strings.Join(l.problems, "; "))
	}
	return nil
}

// problemsMost is how many imports an error names.
const problemsMost = 20

// pick finds the function for one import: the hosts' before WASI's, and Missing's if neither fits.
func (l *linker) pick(im *meter.Func) (HostFunc, How, bool) {
	var known *HostFunc
	for i := range l.hosts {
		h := &l.hosts[i]
		if h.Name != im.Name || h.Module != im.Module {
			continue
		}
		if h.fits(im) {
			return *h, Covered, true
		}
		if known == nil {
			known = h
		}
	}
	if known == nil {
		if w, ok := wasiFunc(im.Module, im.Name); ok {
			if w.fits(im) {
				return w, Covered, true
			}
			known = &w
		}
	}
	if l.missing != nil {
		if h, ok := l.missing(*im, known); ok && h.Fn != nil {
			if known != nil {
				return h, Adapted, true
			}
			return h, Stubbed, true
		}
	}
	if known == nil {
		l.problem(im, "is not offered")
	} else {
		l.problem(im, "has type "+signature(known.Params, known.Results)+", the module wants "+signature(im.Params, im.Results))
	}
	return HostFunc{}, 0, false
}

func (l *linker) problem(im *meter.Func, text string) {
	l.problems = append(l.problems, im.Module+"."+im.Name+" "+text)
}

func (h *HostFunc) fits(im *meter.Func) bool {
	return slices.Equal(h.Params, im.Params) && slices.Equal(h.Results, im.Results)
}

func signature(params, results []byte) string {
	return "(" + typeNames(params) + ")→(" + typeNames(results) + ")"
}

func typeNames(ts []byte) string {
	names := make([]string, len(ts))
	for i, t := range ts {
		if names[i] = api.ValueTypeName(t); t == 0x7b {
			names[i] = "v128"
		}
	}
	return strings.Join(names, ",")
}
