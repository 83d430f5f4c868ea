package proxyabi

import (
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm"
)

var streamFunctions = []wasm.HostFunc{}

var (
	errStopped  = fault.New(fault.GuestFailed, "filter failed too often and is stopped for a while")
	errStarting = fault.New(fault.GuestBusy, "no instance of the filter is ready")
)

// Request implements filter.Filter.
func (f *Filter) Request(x *exchange.Exchange, slot int) (filter.Verdict, error) {
	return filter.Continue, nil
}

// Response implements filter.Filter.
func (f *Filter) Response(x *exchange.Exchange, slot int, failed bool) (filter.Verdict, error) {
	return filter.Continue, nil
}

// Close implements filter.Filter: the plugin is whose it was.
func (f *Filter) Close() error { return nil }

func (vm *VM) canary() error { return nil }
