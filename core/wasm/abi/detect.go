package abi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kind is one of the two families of filters.
type Kind uint8

const (
	HTTPWasm  Kind = 1 + iota // github.com/http-wasm/http-wasm-abi, the handler ABI
	ProxyWasm                 // github.com/proxy-wasm/spec
)

func (k Kind) String() string {
	switch k {
	case HTTPWasm:
		return "http-wasm"
	case ProxyWasm:
		return "Proxy-Wasm"
	}
	return "unknown"
}

// Version is one of Proxy-Wasm. Later ones are greater.
type Version uint8

const (
	V0_1_0 Version = 1 + iota
	V0_2_0
	V0_2_1
	V0_2_100 // Higress's own
)

func (v Version) String() string {
	if v == 0 || int(v) > len(markers) {
		return "unknown"
	}
	return versionOf(markers[v-1])
}

// ABI is what a module is built for.
type ABI struct {
	Kind    Kind
	Version Version // of Proxy-Wasm; 0 for http-wasm
	Marked  bool    // the module says its version itself; an unmarked one is treated as 0.1.0, and deserves a warning
}

func (a ABI) String() string {
	if a.Kind == ProxyWasm {
		return a.Kind.String() + " " + a.Version.String()
	}
	return a.Kind.String()
}

const marker = "proxy_abi_version_"

// markers are what modules export to say their version, in its order.
var markers = []string{marker + "0_1_0", marker + "0_2_0", marker + "0_2_1", marker + "0_2_100"}

func versionOf(name string) string {
	return strings.ReplaceAll(strings.TrimPrefix(name, marker), "_", ".")
}

// Detect finds the ABI of a module. A marker decides; of several the latest counts. The error says what the module looks like
// instead; one that says that it is no module at all is ErrForm.
func Detect(o *Outline) (ABI, error) {
	if o.form != nil {
		return ABI{}, o.form
	}
	for i, name := range slices.Backward(markers) {
		if o.Export(name) != nil {
			return ABI{ProxyWasm, Version(i + 1), true}, nil
		}
	}
	for i := range o.Exports {
		if name := o.Exports[i].Name; strings.HasPrefix(name, marker) {
			return ABI{}, fmt.Errorf("it is built for Proxy-Wasm %.20q, which weir does not know: 0.1.0, 0.2.0, 0.2.1 and 0.2.100 it does", versionOf(name))
		}
	}
	switch {
	case o.Export("handle_request") != nil:
		return ABI{Kind: HTTPWasm}, nil
	case o.Export("proxy_on_context_create") != nil, o.Export("proxy_on_vm_start") != nil:
		return ABI{Kind: ProxyWasm, Version: V0_1_0}, nil
	}
	return ABI{}, errors.New("it is no filter of an ABI that weir knows (Proxy-Wasm, http-wasm): " + o.guess())
}

// guess says what a module looks like that is of no ABI.
func (o *Outline) guess() string {
	from := map[string]bool{}
	for i := range o.Imports {
		f := &o.Imports[i]
		from[f.Module] = true
		switch {
		case f.Module == "gojs" || f.Module == "go":
			return "it is a Go program for the browser (GOOS=js); GOOS=wasip1 and -buildmode=c-shared make filters"
		case strings.HasPrefix(f.Module, "__wbindgen") || strings.HasPrefix(f.Name, "__wbindgen") || strings.HasPrefix(f.Name, "__wbg"):
			return "it is built for JavaScript by wasm-bindgen"
		case strings.HasPrefix(f.Module, "wasi:"):
			return fmt.Sprintf("it is taken out of a component of the component model (it imports %.60q)", f.Module)
		}
	}
	wasi := from["wasi_snapshot_preview1"] || from["wasi_unstable"]
	switch {
	case o.Malformed != "":
		return "it is damaged: " + o.Malformed
	case from["http_handler"] || from["env"] && o.imports("proxy_"):
		return "it imports the functions of one, but does not export what is to be called; was it linked as a program, or stripped of its exports?"
	case o.Export("_start") != nil && wasi:
		return "it is a WASI command, a program with a main function of its own; filters are built as libraries (Go: -buildmode=c-shared, Rust: crate-type cdylib)"
	case o.Export("_initialize") != nil && wasi:
		return "it is a WASI library (it exports " + o.list() + ")"
	case len(o.Exports) == 0:
		return "it exports no function"
	}
	return "it exports " + o.list()
}

func (o *Outline) imports(prefix string) bool {
	return slices.ContainsFunc(o.Imports, func(f Func) bool { return strings.HasPrefix(f.Name, prefix) })
}

// list names the first exports.
func (o *Outline) list() string {
	var names []string
	for i := range o.Exports {
		if len(names) == 5 {
			names = append(names, fmt.Sprintf("%d more", len(o.Exports)-5))
			break
		}
		names = append(names, fmt.Sprintf("%.40q", o.Exports[i].Name))
	}
	return strings.Join(names, ", ")
}
