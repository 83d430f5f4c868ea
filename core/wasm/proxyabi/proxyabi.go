// Package proxyabi runs filters built for the Proxy-Wasm ABI (github.com/proxy-wasm/spec; versions 0.1.0, 0.2.0 and 0.2.1) on
// top of the metered engine. Where the specification and Envoy differ it does what Envoy does, since that is what filters have
// been tested with; where Envoy answers a status that the Rust SDK panics on, it answers the nearest one that it bears.
//
// A VM is one module with one configuration. It has several shards, each an instance with a mutex that is held during a guest
// call and no longer. A plugin is one root context in every shard. A stream is one exchange on its way past a plugin: it stays
// on its shard for life, and while its guest has paused it, it is parked: the goroutine that serves it sleeps, and any guest
// call of the shard may wake it.
package proxyabi

import (
	"context"

	"github.com/tetratelabs/wazero/api"

	"github.com/weirproxy/weir/core/wasm"
)

// HostModule is the name guests import the functions under.
const HostModule = "env"

// status is what a host function answers.
type status uint32

const (
	statusOK              status = 0
	statusNotFound        status = 1
	statusBadArgument     status = 2
	statusSerialization   status = 3
	statusParseFailure    status = 4
	statusInvalidMemory   status = 6
	statusEmpty           status = 7
	statusCasMismatch     status = 8
	statusInternalFailure status = 10
	statusUnimplemented   status = 12
)

// Maps, buffers and streams, as guests number them.
const (
	mapRequestHeaders = iota
	mapRequestTrailers
	mapResponseHeaders
	mapResponseTrailers
	mapGrpcInitial
	mapGrpcTrailing
	mapCallHeaders
	mapCallTrailers
	maps
)

const (
	bufferRequestBody = iota
	bufferResponseBody
	bufferDownstream
	bufferUpstream
	bufferCallBody
	bufferGrpcMessage
	bufferVMConfig
	bufferPluginConfig
	bufferForeign
	buffers
)

const (
	streamRequest = iota
	streamResponse
	streamDownstream
	streamUpstream
	streamKinds
)

// What a callback of a stream may answer. The specification knows the first two; filters in C++ use all.
const (
	actionContinue = iota
	actionStop     // headers: StopIteration; body: StopIterationAndBuffer
	actionEnd      // headers: ContinueAndEndStream; body: StopIterationAndWatermark
	actionStopAll  // headers: StopAllIterationAndBuffer; body: StopIterationNoBuffer
	actionHold     // headers: StopAllIterationAndWatermark
)

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
)

// function makes a host function. The signature is of parameters: i is an i32 and I an i64; all give a status.
func function(name, params string, fn func(*shard, []uint64) status) wasm.HostFunc {
	h := wasm.HostFunc{Module: HostModule, Name: name, Results: []api.ValueType{i32}}
	for _, c := range params {
		t := i32
		if c == 'I' {
			t = i64
		}
		h.Params = append(h.Params, t)
	}
	h.Fn = func(ctx context.Context, _ api.Module, s []uint64) {
		st := fn((*shard)(wasm.FromContext(ctx).Host), s)
		s[0] = uint64(st)
	}
	return h
}
