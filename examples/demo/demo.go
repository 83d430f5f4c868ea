// Package demo holds the example filter that a node is shown with. It is built, not kept: in a binary that was made by `go build`
// alone it is missing, in one that was made by `make build` it is there.
package demo

import (
	"embed"
	"errors"
)

//go:generate sh ../build.sh ../../build/wasm

//go:embed wasm
var files embed.FS

// ErrNotBuilt says that the binary was made without the filter.
var ErrNotBuilt = errors.New("this binary was built without the example filter; `make build` makes one that has it")

// Filter gives the module of examples/01-tag-filter, or ErrNotBuilt.
func Filter() ([]byte, error) {
	code, err := files.ReadFile("wasm/tag-filter.wasm")
	if err != nil {
		return nil, ErrNotBuilt
	}
	return code, nil
}
