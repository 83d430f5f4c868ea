package proxyabi

import (
	"context"
	"slices"

	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// functions is the ABI: the union of all versions, since real modules mix them. One slice for all modules, because compiled
// code is shared by it.
var functions = slices.Concat(logFunctions, bufferFunctions, streamFunctions, fieldFunctions, propertyFunctions, foreignFunctions,
	callFunctions, grpcFunctions, sharedFunctions, queueFunctions, metricFunctions, timerFunctions, emscriptenFunctions)

// emscriptenFunctions are not of the ABI: modules that emscripten or the compiler of AssemblyScript links import them all the
// same.
var emscriptenFunctions = []wasm.HostFunc{
	abi.Abort,
	function("pthread_equal", "ii", func(_ *shard, a []uint64) status {
		if uint32(a[0]) == uint32(a[1]) {
			return 1
		}
		return 0
	}),
	{Module: HostModule, Name: "emscripten_notify_memory_growth", Params: []api.ValueType{i32}, Fn: func(context.Context, api.Module, []uint64) {}},
}
