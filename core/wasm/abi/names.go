package abi

import (
	"slices"
	"strings"
)

// How says how weir meets an import.
type How uint8

const (
	Covered How = iota // by the function of that name
	Adapted            // the name is known with another signature: calls of it answer an error
	Stubbed            // the name is unknown: calls of it answer an error
)

func (h How) String() string { return [...]string{"covered", "adapted", "stubbed"}[h] }

// Modules that functions are imported from.
const (
	moduleHTTP = "http_handler"
	moduleEnv  = "env"
)

// Signature is what weir offers under a name that is imported. The functions of WASI are the engine's, and fit.
func Signature(module, name string) (params, results []byte, ok bool) {
	for i := range hostFunctions {
		h := &hostFunctions[i]
		if h.module == module && h.name == name {
			return valueTypes(h.params), valueTypes(h.results), true
		}
	}
	return nil, nil, false
}

// Meets says how an import is met, by its name and signature.
func (f *Func) Meets() How {
	if IsWASI(f.Module) {
		if wasiGroup(f.Name) == "" {
			return Stubbed
		}
		return Covered
	}
	params, results, ok := Signature(f.Module, f.Name)
	switch {
	case !ok:
		return Stubbed
	case !slices.Equal(params, f.Params) || !slices.Equal(results, f.Results):
		return Adapted
	}
	return Covered
}

// IsWASI reports whether a module that is imported from is one of WASI preview 1.
func IsWASI(module string) bool {
	return module == "wasi_snapshot_preview1" || module == "wasi_unstable"
}

func valueTypes(s string) []byte {
	t := make([]byte, len(s))
	for i := range s {
		t[i] = 0x7f
		if s[i] == 'I' {
			t[i] = 0x7e
		}
	}
	return t
}

// Capability is something beyond the message at hand that a guest asks for by what it imports.
type Capability string

const (
	Calls       Capability = "http calls"
	GRPC        Capability = "gRPC calls"
	SharedData  Capability = "shared data"
	Queues      Capability = "shared queues"
	Metrics     Capability = "metrics"
	Timers      Capability = "timers"
	Foreign     Capability = "foreign functions"
	Routing     Capability = "routing"
	DNS         Capability = "DNS"
	Redis       Capability = "Redis"
	Files       Capability = "files"
	Sockets     Capability = "sockets"
	Environment Capability = "environment"
	Arguments   Capability = "arguments"
	Random      Capability = "random numbers"
	Clocks      Capability = "clocks"
	Output      Capability = "standard output"
	Exit        Capability = "exit"
)

// Capabilities lists them in the order in which they matter to who lets a guest in.
var Capabilities = []Capability{
	Calls, GRPC, Redis, DNS, Sockets, Files, Foreign, SharedData, Queues, Metrics, Timers, Routing, Environment, Arguments, Random, Clocks, Output,
}

// Asks says what a guest asks for by an import; empty: nothing beyond the message at hand.
func (f *Func) Asks() Capability {
	if IsWASI(f.Module) {
		return wasiGroup(f.Name)
	}
	for i := range hostFunctions {
		if h := &hostFunctions[i]; h.module == f.Module && h.name == f.Name {
			return h.asks
		}
	}
	switch {
	case f.Module != moduleEnv:
	case strings.HasPrefix(f.Name, "proxy_redis_"):
		return Redis
	case f.Name == "envoy_resolve_dns":
		return DNS
	}
	return ""
}

// wasiGroup is what a function of WASI preview 1 is for; empty: there is no such function.
func wasiGroup(name string) Capability {
	for prefix, c := range map[string]Capability{
		"args_": Arguments, "environ_": Environment, "clock_": Clocks, "random_": Random, "sock_": Sockets, "path_": Files, "fd_prestat_": Files,
	} {
		if strings.HasPrefix(name, prefix) {
			return c
		}
	}
	switch name {
	case "fd_write", "fd_fdstat_get", "fd_fdstat_set_flags", "fd_close":
		return Output
	case "poll_oneoff", "sched_yield":
		return Clocks
	case "proc_exit", "proc_raise":
		return Exit
	case "fd_advise", "fd_allocate", "fd_datasync", "fd_fdstat_set_rights", "fd_filestat_get", "fd_filestat_set_size", "fd_filestat_set_times",
		"fd_pread", "fd_pwrite", "fd_read", "fd_readdir", "fd_renumber", "fd_seek", "fd_sync", "fd_tell":
		return Files
	}
	return ""
}

// Part is one in a request's life that a guest takes by what it exports.
type Part struct {
	Name, Export string
	Unserved     string // why weir never calls it; empty: it does
}

const (
	noTCP   = "weir has no TCP filters"
	noFrame = "weir passes no METADATA frames of HTTP/2 on"
	noRule  = "nobody calls it, Envoy neither"
)

// Parts lists all of an ABI, in the order of a request's life.
func Parts(k Kind) []Part {
	if k == HTTPWasm {
		return httpParts
	}
	return proxyParts
}

var httpParts = []Part{
	{"request", "handle_request", ""},
	{"response", "handle_response", ""},
}

var proxyParts = []Part{
	{"start", "proxy_on_vm_start", ""},
	{"configuration", "proxy_on_configure", ""},
	{"configuration", "proxy_validate_configuration", noRule},
	{"connection", "proxy_on_new_connection", noTCP},
	{"connection", "proxy_on_downstream_data", noTCP},
	{"connection", "proxy_on_upstream_data", noTCP},
	{"connection", "proxy_on_downstream_connection_close", noTCP},
	{"connection", "proxy_on_upstream_connection_close", noTCP},
	{"request headers", "proxy_on_request_headers", ""},
	{"request body", "proxy_on_request_body", ""},
	{"request trailers", "proxy_on_request_trailers", ""},
	{"request metadata", "proxy_on_request_metadata", noFrame},
	{"response headers", "proxy_on_response_headers", ""},
	{"response body", "proxy_on_response_body", ""},
	{"response trailers", "proxy_on_response_trailers", ""},
	{"response metadata", "proxy_on_response_metadata", noFrame},
	{"end", "proxy_on_done", ""},
	{"log", "proxy_on_log", ""},
	{"ticks", "proxy_on_tick", ""},
	{"queues", "proxy_on_queue_ready", ""},
	{"answers to http calls", "proxy_on_http_call_response", ""},
	{"answers to gRPC calls", "proxy_on_grpc_receive_initial_metadata", ""},
	{"answers to gRPC calls", "proxy_on_grpc_receive", ""},
	{"answers to gRPC calls", "proxy_on_grpc_receive_trailing_metadata", ""},
	{"answers to gRPC calls", "proxy_on_grpc_trailing_metadata", ""},
	{"answers to gRPC calls", "proxy_on_grpc_close", ""},
	{"answers of Redis", "proxy_on_redis_call_response", "weir makes no calls to Redis for filters"},
	{"foreign functions", "proxy_on_foreign_function", "none of weir's foreign functions calls back"},
	{"DNS", "envoy_on_resolve_dns", "weir resolves no names for filters"},
	{"statistics", "envoy_on_stats_update", "weir does not push its metrics to filters"},
}

// hostFunctions are those of both ABIs: of Proxy-Wasm all versions, since real modules mix them. i is an i32, I an i64.
var hostFunctions = []struct {
	module, name, params, results string
	asks                          Capability
}{
	{moduleHTTP, "enable_features", "i", "i", ""},
	{moduleHTTP, "get_config", "ii", "i", ""},
	{moduleHTTP, "log", "iii", "", ""},
	{moduleHTTP, "log_enabled", "i", "i", ""},
	{moduleHTTP, "get_method", "ii", "i", ""},
	{moduleHTTP, "set_method", "ii", "", ""},
	{moduleHTTP, "get_uri", "ii", "i", ""},
	{moduleHTTP, "set_uri", "ii", "", ""},
	{moduleHTTP, "get_protocol_version", "ii", "i", ""},
	{moduleHTTP, "get_source_addr", "ii", "i", ""},
	{moduleHTTP, "get_header_names", "iii", "I", ""},
	{moduleHTTP, "get_header_values", "iiiii", "I", ""},
	{moduleHTTP, "set_header_value", "iiiii", "", ""},
	{moduleHTTP, "add_header_value", "iiiii", "", ""},
	{moduleHTTP, "remove_header", "iii", "", ""},
	{moduleHTTP, "read_body", "iii", "I", ""},
	{moduleHTTP, "write_body", "iii", "", ""},
	{moduleHTTP, "get_status_code", "", "i", ""},
	{moduleHTTP, "set_status_code", "i", "", ""},

	{moduleEnv, "proxy_log", "iii", "i", ""},
	{moduleEnv, "proxy_get_log_level", "i", "i", ""},
	{moduleEnv, "proxy_get_current_time_nanoseconds", "i", "i", Clocks},
	{moduleEnv, "proxy_set_tick_period_milliseconds", "i", "i", Timers},
	{moduleEnv, "proxy_get_configuration", "ii", "i", ""},
	{moduleEnv, "proxy_get_buffer_status", "iii", "i", ""},
	{moduleEnv, "proxy_get_buffer_bytes", "iiiii", "i", ""},
	{moduleEnv, "proxy_set_buffer_bytes", "iiiii", "i", ""},
	{moduleEnv, "proxy_get_header_map_size", "ii", "i", ""},
	{moduleEnv, "proxy_get_header_map_pairs", "iii", "i", ""},
	{moduleEnv, "proxy_set_header_map_pairs", "iii", "i", ""},
	{moduleEnv, "proxy_get_header_map_value", "iiiii", "i", ""},
	{moduleEnv, "proxy_add_header_map_value", "iiiii", "i", ""},
	{moduleEnv, "proxy_replace_header_map_value", "iiiii", "i", ""},
	{moduleEnv, "proxy_remove_header_map_value", "iii", "i", ""},
	{moduleEnv, "proxy_continue_stream", "i", "i", ""},
	{moduleEnv, "proxy_close_stream", "i", "i", ""},
	{moduleEnv, "proxy_continue_request", "", "i", ""},
	{moduleEnv, "proxy_continue_response", "", "i", ""},
	{moduleEnv, "proxy_clear_route_cache", "", "i", Routing},
	{moduleEnv, "proxy_send_local_response", "iiiiiiii", "i", ""},
	{moduleEnv, "proxy_http_call", "iiiiiiiiii", "i", Calls},
	{moduleEnv, "proxy_grpc_call", "iiiiiiiiiiii", "i", GRPC},
	{moduleEnv, "proxy_grpc_stream", "iiiiiiiii", "i", GRPC},
	{moduleEnv, "proxy_grpc_send", "iiii", "i", GRPC},
	{moduleEnv, "proxy_grpc_cancel", "i", "i", GRPC},
	{moduleEnv, "proxy_grpc_close", "i", "i", GRPC},
	{moduleEnv, "proxy_get_status", "iii", "i", ""},
	{moduleEnv, "proxy_set_shared_data", "iiiii", "i", SharedData},
	{moduleEnv, "proxy_get_shared_data", "iiiii", "i", SharedData},
	{moduleEnv, "proxy_register_shared_queue", "iii", "i", Queues},
	{moduleEnv, "proxy_resolve_shared_queue", "iiiii", "i", Queues},
	{moduleEnv, "proxy_enqueue_shared_queue", "iii", "i", Queues},
	{moduleEnv, "proxy_dequeue_shared_queue", "iii", "i", Queues},
	{moduleEnv, "proxy_define_metric", "iiii", "i", Metrics},
	{moduleEnv, "proxy_record_metric", "iI", "i", Metrics},
	{moduleEnv, "proxy_increment_metric", "iI", "i", Metrics},
	{moduleEnv, "proxy_get_metric", "ii", "i", Metrics},
	{moduleEnv, "proxy_get_property", "iiii", "i", ""},
	{moduleEnv, "proxy_set_property", "iiii", "i", ""},
	{moduleEnv, "proxy_call_foreign_function", "iiiiii", "i", Foreign},
	{moduleEnv, "proxy_set_effective_context", "i", "i", ""},
	{moduleEnv, "proxy_done", "", "i", ""},
	{moduleEnv, "pthread_equal", "ii", "i", ""},
	{moduleEnv, "emscripten_notify_memory_growth", "i", "", ""},
}
