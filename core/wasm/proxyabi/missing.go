package proxyabi

import (
	"context"
	"slices"

	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/meter"
)

// missing stands in for what a guest imports and the host does not have in that form. Real modules do so: Kinds of 0.1.0 declare
// proxy_continue_request without a result, an SDK for AssemblyScript has a proxy_grpc_call of ten parameters, and Higress'
// filters import functions that they may never call. A function of the same parameters and no result is the real one; all else
// answers that it failed.
func missing(im meter.Func, known *wasm.HostFunc) (wasm.HostFunc, bool) {
	if known != nil && slices.Equal(im.Params, known.Params) && len(im.Results) == 0 {
		fn := known.Fn
		return wasm.HostFunc{Fn: func(ctx context.Context, m api.Module, s []uint64) {
			wide := make([]uint64, len(s)+1) // it has no room for a result
			copy(wide, s)
			fn(ctx, m, wide)
		}}, true
	}
	answer := uint64(statusUnimplemented)
	if known != nil {
		answer = uint64(statusInternalFailure) // what filters in Rust bear
	}
	returns := len(im.Results) > 0
	if returns && im.Results[0] != i32 {
		answer = 0
	}
	return wasm.HostFunc{Fn: func(_ context.Context, _ api.Module, s []uint64) {
		if returns {
			s[0] = answer
		}
	}}, true
}
