// Package httpabi runs filters built for the http-wasm handler ABI (github.com/http-wasm/http-wasm-abi, http-handler):
// the nineteen functions of module http_handler on top of the metered engine, and a filter.Filter that calls guests.
//
// Where the reference host (http-wasm-host-go) has defects this one differs on purpose. Request trailers are the
// request's; Host is the request's authority; a request body that was replaced, or read in part, is framed anew; fields
// of the answer may be changed without buffering it, since they have not been sent yet; and a guest that trapped is
// never used again.
//
// What goes wrong with a body while a guest reads it (the client left, more than body_limit came) does not trap the guest:
// it is told that the body has ended, and the exchange fails once it has returned. Trapping would cost an instance, and
// let any client take a filter out of service by sending half a request.
package httpabi

import (
	"github.com/tetratelabs/wazero/api"
)

// HostModule is the name guests import the functions under.
const HostModule = "http_handler"

// Features that a guest may enable.
const (
	featureBufferRequest  = 1 << 0
	featureBufferResponse = 1 << 1
	featureTrailers       = 1 << 2
	features              = featureBufferRequest | featureBufferResponse | featureTrailers
)

// Kinds of header sections.
const (
	requestHeader = iota
	responseHeader
	requestTrailer
	responseTrailer
)

// Kinds of bodies.
const (
	requestBody = iota
	responseBody
)

// Caps on what a guest may make the host keep for one exchange.
const (
	maxTarget  = 8 << 10   // bytes of a target
	maxMethod  = 32        // bytes of a method
	maxFields  = 256       // fields of a section
	maxWritten = 256 << 10 // bytes of names, values and targets that one exchange may set
)

// What a guest must export, and how it is called.
const (
	exportMemory   = "memory"
	exportRequest  = "handle_request"
	exportResponse = "handle_response"
)

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
)
