package abi

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm"
)

// Abort is what guests in AssemblyScript import to say that they give up: where their message and file lie, the line and the
// column. It traps.
var Abort = wasm.HostFunc{
	Module: "env", Name: "abort",
	Params: []api.ValueType{api.ValueTypeI32, api.ValueTypeI32, api.ValueTypeI32, api.ValueTypeI32},
	Fn: func(ctx context.Context, _ api.Module, s []uint64) {
		m := wasm.FromContext(ctx).Memory()
		panic(fmt.Errorf("aborted at %s:%d:%d: %s", utf16(m, uint32(s[1])), uint32(s[2]), uint32(s[3]), utf16(m, uint32(s[0]))))
	},
}

// maxAbort is the most of a message that is told.
const maxAbort = 256

// utf16 reads a text of AssemblyScript: UTF-16, its length in bytes stands before it. What is no ASCII is a question mark.
func utf16(m *wasm.Memory, at uint32) string {
	n, ok := m.Uint32(at - 4)
	if !ok || at < 4 {
		return ""
	}
	p, ok := m.Read(at, min(n, maxAbort)&^1)
	if !ok {
		return ""
	}
	out := make([]byte, 0, len(p)/2)
	for i := 0; i < len(p); i += 2 {
		c := p[i]
		if p[i+1] != 0 || c < ' ' || c > '~' {
			c = '?'
		}
		out = append(out, c)
	}
	return string(out)
}
