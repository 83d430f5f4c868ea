package abi

import "strings"

// moduleEnv is what the functions of Proxy-Wasm are imported from.
const moduleEnv = "env"

// IsWASI reports whether a module that is imported from is one of WASI preview 1.
func IsWASI(module string) bool {
	return module == "wasi_snapshot_preview1" || module == "wasi_unstable"
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
	if f.Module != moduleEnv {
		return "" // http-wasm has nothing but messages, its configuration and a log
	}
	for i := range asking {
		if strings.HasPrefix(f.Name, asking[i].prefix) {
			return asking[i].asks
		}
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

// asking is what functions of Proxy-Wasm, and of those who added to it, are for beyond the message at hand.
var asking = []struct {
	prefix string
	asks   Capability
}{
	{"proxy_http_call", Calls},
	{"proxy_grpc_", GRPC},
	{"proxy_redis_", Redis},
	{"envoy_resolve_dns", DNS},
	{"proxy_call_foreign_function", Foreign},
	{"proxy_set_shared_data", SharedData},
	{"proxy_get_shared_data", SharedData},
	{"proxy_register_shared_queue", Queues},
	{"proxy_resolve_shared_queue", Queues},
	{"proxy_enqueue_shared_queue", Queues},
	{"proxy_dequeue_shared_queue", Queues},
	{"proxy_define_metric", Metrics},
	{"proxy_record_metric", Metrics},
	{"proxy_increment_metric", Metrics},
	{"proxy_get_metric", Metrics},
	{"proxy_set_tick_period_milliseconds", Timers},
	{"proxy_clear_route_cache", Routing},
	{"proxy_set_upstream_override_host", Routing},
	{"proxy_get_upstream_hosts", Routing},
	{"proxy_get_current_time_nanoseconds", Clocks},
}
