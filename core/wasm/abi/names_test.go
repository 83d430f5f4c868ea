package abi

import (
	"slices"
	"testing"
)

func TestAsks(t *testing.T) {
	f := func(module, name string, want Capability) {
		t.Helper()
		if have := (&Func{Module: module, Name: name}).Asks(); have != want {
			t.Errorf("%s.%s asks for %q, want %q", module, name, have, want)
		}
		if want != "" && want != Exit && !slices.Contains(Capabilities, want) {
			t.Errorf("%q is not listed", want)
		}
	}
	f("env", "proxy_http_call", Calls)
	f("env", "proxy_grpc_stream", GRPC)
	f("env", "proxy_redis_init", Redis)
	f("env", "envoy_resolve_dns", DNS)
	f("env", "proxy_call_foreign_function", Foreign)
	f("env", "proxy_get_shared_data", SharedData)
	f("env", "proxy_dequeue_shared_queue", Queues)
	f("env", "proxy_increment_metric", Metrics)
	f("env", "proxy_set_tick_period_milliseconds", Timers)
	f("env", "proxy_clear_route_cache", Routing)
	f("env", "proxy_get_current_time_nanoseconds", Clocks)
	f("env", "proxy_get_header_map_value", "")
	f("env", "abort", "")
	f("http_handler", "get_config", "")
	f("elsewhere", "proxy_http_call", "")
	for _, module := range []string{"wasi_snapshot_preview1", "wasi_unstable"} {
		f(module, "path_open", Files)
		f(module, "fd_prestat_get", Files)
		f(module, "fd_read", Files)
		f(module, "fd_write", Output)
		f(module, "sock_accept", Sockets)
		f(module, "environ_get", Environment)
		f(module, "args_sizes_get", Arguments)
		f(module, "clock_time_get", Clocks)
		f(module, "poll_oneoff", Clocks)
		f(module, "random_get", Random)
		f(module, "proc_exit", Exit)
		f(module, "thread-spawn", "")
	}
}

// No export stands in the tables twice.
func TestParts(t *testing.T) {
	for _, k := range []Kind{HTTPWasm, ProxyWasm} {
		seen := map[string]bool{}
		for _, p := range Parts(k) {
			if p.Name == "" || p.Export == "" || seen[p.Export] {
				t.Errorf("%+v", p)
			}
			seen[p.Export] = true
		}
	}
}
