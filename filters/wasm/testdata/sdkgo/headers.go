package main

import (
	"errors"
	"math/rand/v2"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// headers logs every header of both ways and adds two to the answer.
type headers struct {
	types.DefaultHttpContext
	id    uint32
	value string
}

func newHeaders(id uint32, config string) types.HttpContext {
	return &headers{id: id, value: config}
}

func (h *headers) OnHttpRequestHeaders(n int, _ bool) types.Action {
	all, err := proxywasm.GetHttpRequestHeaders()
	must("request headers", err)
	if len(all) != n {
		wrong("%d request headers were announced, %d came", n, len(all))
	}
	for _, pair := range all {
		proxywasm.LogInfof("request header --> %s: %s", pair[0], pair[1])
	}
	return types.ActionContinue
}

func (h *headers) OnHttpResponseHeaders(int, bool) types.Action {
	must("add", proxywasm.AddHttpResponseHeader("x-wasm-header", h.value))
	must("replace", proxywasm.ReplaceHttpResponseHeader("x-proxy-wasm-go-sdk-example", "http_headers"))
	must("remove", proxywasm.RemoveHttpResponseHeader("x-internal"))
	must("remove what is not there", proxywasm.RemoveHttpResponseHeader("x-never"))
	all, err := proxywasm.GetHttpResponseHeaders()
	must("response headers", err)
	for _, pair := range all {
		proxywasm.LogInfof("response header <-- %s: %s", pair[0], pair[1])
	}
	return types.ActionContinue
}

func (h *headers) OnHttpStreamDone() { proxywasm.LogInfof("%d finished", h.id) }

// routing sends half of the requests to the canary.
type routing struct{ types.DefaultHttpContext }

func newRouting(uint32, string) types.HttpContext { return &routing{} }

func (*routing) OnHttpRequestHeaders(int, bool) types.Action {
	host := "primary.test"
	if rand.IntN(2) == 0 {
		host = "canary.test"
	}
	before, err := proxywasm.GetHttpRequestHeader(":authority")
	must("get :authority", err)
	must("set :authority", proxywasm.ReplaceHttpRequestHeader(":authority", host))
	proxywasm.LogInfof("%s becomes %s", before, host)
	return types.ActionContinue
}

// counter counts the values of a header, in metrics with tags in their names.
type counter struct{ types.DefaultHttpContext }

func newCounter(uint32, string) types.HttpContext { return &counter{} }

var counters = map[string]proxywasm.MetricCounter{}

func (*counter) OnHttpRequestHeaders(int, bool) types.Action {
	value, err := proxywasm.GetHttpRequestHeader("my-custom-header")
	if err != nil {
		return types.ActionContinue
	}
	c, ok := counters[value]
	if !ok {
		c = proxywasm.DefineCounterMetric("custom_header_value_counts_value=" + value + "_reporter=wasmgosdk")
		counters[value] = c
	}
	before := c.Value()
	c.Increment(1)
	proxywasm.LogInfof("%s: %d before", value, before)
	return types.ActionContinue
}

// properties lets in who has the header that the route's metadata name.
type properties struct{ types.DefaultHttpContext }

func newProperties(uint32, string) types.HttpContext { return &properties{} }

func (*properties) OnHttpRequestHeaders(int, bool) types.Action {
	name, err := proxywasm.GetProperty([]string{"route_metadata", "filter_metadata", "envoy.filters.http.wasm", "auth"})
	switch {
	case errors.Is(err, types.ErrorStatusNotFound):
		proxywasm.LogInfo("no auth header for route")
		return types.ActionContinue
	case err != nil:
		wrong("route metadata: %v", err)
		return types.ActionContinue
	}
	proxywasm.LogInfof("auth header is %q", name)
	if value, err := proxywasm.GetHttpRequestHeader(string(name)); err == nil && value != "" {
		return types.ActionContinue
	}
	must("answer 401", proxywasm.SendHttpResponse(401, nil, []byte("who are you?"), -1))
	return types.ActionPause
}
