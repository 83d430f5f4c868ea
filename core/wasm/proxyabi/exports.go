package proxyabi

import (
	"fmt"

	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// exports are the functions of a guest that the host may call; nil: it does not have it, and is not called.
type exports struct {
	alloc            *wasm.Func
	contextCreate    *wasm.Func
	vmStart          *wasm.Func
	configure        *wasm.Func
	tick             *wasm.Func
	queueReady       *wasm.Func
	requestHeaders   *wasm.Func
	requestBody      *wasm.Func
	requestTrailers  *wasm.Func
	responseHeaders  *wasm.Func
	responseBody     *wasm.Func
	responseTrailers *wasm.Func
	callResponse     *wasm.Func
	grpcInitial      *wasm.Func
	grpcReceive      *wasm.Func
	grpcTrailing     *wasm.Func
	grpcClose        *wasm.Func
	done             *wasm.Func
	log              *wasm.Func
	delete           *wasm.Func

	// For streams, to whom no result of them matters: those that do something. nil: none, or not that one.
	begins *wasm.Func   // contextCreate
	ends   []*wasm.Func // log, done and delete: the order that Envoy has
}

// exported is what a guest may export: under which names, the first that is there counts, and with how many parameters, all
// i32. result says that it gives an i32.
var exported = []struct {
	names  []string
	params []int
	result bool
	phase  abi.Phase
	at     func(*exports) **wasm.Func
}{
	{[]string{"proxy_on_memory_allocate", "malloc"}, []int{1}, true, abi.PhaseStart, func(e *exports) **wasm.Func { return &e.alloc }},
	{[]string{"proxy_on_context_create"}, []int{2}, false, abi.PhaseStart, func(e *exports) **wasm.Func { return &e.contextCreate }},
	{[]string{"proxy_on_vm_start"}, []int{2}, true, abi.PhaseStart, func(e *exports) **wasm.Func { return &e.vmStart }},
	{[]string{"proxy_on_configure"}, []int{2}, true, abi.PhaseConfigure, func(e *exports) **wasm.Func { return &e.configure }},
	{[]string{"proxy_on_tick"}, []int{1}, false, abi.PhaseTick, func(e *exports) **wasm.Func { return &e.tick }},
	{[]string{"proxy_on_queue_ready"}, []int{2}, false, abi.PhaseQueue, func(e *exports) **wasm.Func { return &e.queueReady }},
	{[]string{"proxy_on_request_headers"}, []int{3, 2}, true, abi.PhaseRequestHeaders, func(e *exports) **wasm.Func { return &e.requestHeaders }},
	{[]string{"proxy_on_request_body"}, []int{3}, true, abi.PhaseRequestBody, func(e *exports) **wasm.Func { return &e.requestBody }},
	{[]string{"proxy_on_request_trailers"}, []int{2}, true, abi.PhaseRequestTrailers, func(e *exports) **wasm.Func { return &e.requestTrailers }},
	{[]string{"proxy_on_response_headers"}, []int{3, 2}, true, abi.PhaseResponseHeaders, func(e *exports) **wasm.Func { return &e.responseHeaders }},
	{[]string{"proxy_on_response_body"}, []int{3}, true, abi.PhaseResponseBody, func(e *exports) **wasm.Func { return &e.responseBody }},
	{[]string{"proxy_on_response_trailers"}, []int{2}, true, abi.PhaseResponseTrailers, func(e *exports) **wasm.Func { return &e.responseTrailers }},
	{[]string{"proxy_on_http_call_response"}, []int{5}, false, abi.PhaseCallResponse, func(e *exports) **wasm.Func { return &e.callResponse }},
	{[]string{"proxy_on_grpc_receive_initial_metadata"}, []int{3}, false, abi.PhaseCallResponse, func(e *exports) **wasm.Func { return &e.grpcInitial }},
	{[]string{"proxy_on_grpc_receive"}, []int{3}, false, abi.PhaseCallResponse, func(e *exports) **wasm.Func { return &e.grpcReceive }},
	{[]string{"proxy_on_grpc_receive_trailing_metadata", "proxy_on_grpc_trailing_metadata"}, []int{3}, false, abi.PhaseCallResponse,
		func(e *exports) **wasm.Func { return &e.grpcTrailing }},
	{[]string{"proxy_on_grpc_close"}, []int{3}, false, abi.PhaseCallResponse, func(e *exports) **wasm.Func { return &e.grpcClose }},
	{[]string{"proxy_on_done"}, []int{1}, true, abi.PhaseDone, func(e *exports) **wasm.Func { return &e.done }},
	{[]string{"proxy_on_log"}, []int{1}, false, abi.PhaseDone, func(e *exports) **wasm.Func { return &e.log }},
	{[]string{"proxy_on_delete"}, []int{1}, false, abi.PhaseDone, func(e *exports) **wasm.Func { return &e.delete }},
}

// idle lists the exports that do nothing, for lifelong use: an outline refers to the module's bytes.
func idle(code []byte) map[string]bool {
	o := abi.Scan(code)
	names := map[string]bool{}
	for _, x := range exported {
		for _, name := range x.names {
			if o.Idle(name) {
				names[name] = true
			}
		}
	}
	return names
}

// look finds a guest's exports in an instance. idle are those that do nothing.
func (e *exports) look(in *wasm.Instance, idle map[string]bool) error {
	m := in.Module()
	for _, x := range exported {
		for _, name := range x.names {
			if !m.Exports(name) {
				continue
			}
			if err := typed(m, name, x.params, x.result); err != nil {
				return err
			}
			f, err := in.Func(name)
			if err != nil {
				return err
			}
			f.Tag = uint8(x.phase)
			*x.at(e) = f
			break
		}
	}
	busy := func(f *wasm.Func) bool { return f != nil && !idle[f.Name()] }
	if busy(e.contextCreate) {
		e.begins = e.contextCreate
	}
	for _, f := range [...]*wasm.Func{e.log, e.done, e.delete} {
		if busy(f) {
			e.ends = append(e.ends, f)
		}
	}
	return nil
}

// typed checks an export's type: calling it by another would be nonsense.
func typed(m *wasm.Module, name string, params []int, result bool) error {
	for _, f := range m.Info().Exports {
		if f.Name != name {
			continue
		}
		for _, n := range params {
			if len(f.Params) == n && allI32(f.Params) && allI32(f.Results) && (len(f.Results) == 1) == result {
				return nil
			}
		}
		return fmt.Errorf("the module exports %s with another type than Proxy-Wasm has", name)
	}
	return nil
}

func allI32(types []byte) bool {
	for _, t := range types {
		if t != i32 {
			return false
		}
	}
	return len(types) < 8
}

// versionOf reads the mark that a module bears: an export that is never called. One without is taken for the oldest.
func versionOf(m *wasm.Module) abi.Version {
	switch {
	case m.Exports("proxy_abi_version_0_2_100"):
		return abi.V0_2_100
	case m.Exports("proxy_abi_version_0_2_1"):
		return abi.V0_2_1
	case m.Exports("proxy_abi_version_0_2_0"):
		return abi.V0_2_0
	}
	return abi.V0_1_0
}
