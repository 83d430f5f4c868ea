package abi

import (
	"slices"
	"testing"

	"github.com/weirproxy/weir/core/wasm"
)

func TestLinks(t *testing.T) {
	if l := Links([]wasm.Link{{Module: "env", Name: "a", How: wasm.Covered}}); l != nil {
		t.Errorf("%+v", l)
	}
	l := Links([]wasm.Link{{Module: "env", Name: "a", How: wasm.Stubbed}, {Module: "env", Name: "b"}, {Module: "x", Name: "c", How: wasm.Adapted}})
	if l == nil || !slices.Equal(l.Stubbed, []string{"env.a"}) || !slices.Equal(l.Adapted, []string{"x.c"}) {
		t.Errorf("%+v", l)
	}
}
