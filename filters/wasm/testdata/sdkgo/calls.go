package main

import (
	"encoding/json"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// auth lets in whom another service gives an even number.
type auth struct{ types.DefaultHttpContext }

func newAuth(uint32, string) types.HttpContext { return &auth{} }

func (a *auth) OnHttpRequestHeaders(int, bool) types.Action {
	all, err := proxywasm.GetHttpRequestHeaders()
	must("request headers", err)
	for i := range all {
		if all[i][0] == ":path" {
			all[i][1] = "/uuid"
		}
	}
	if _, err := proxywasm.DispatchHttpCall("httpbin", all, nil, nil, 5000, a.answered); err != nil {
		wrong("dispatch: %v", err)
		return types.ActionContinue
	}
	return types.ActionPause
}

func (a *auth) answered(headers, size, _ int) {
	all, err := proxywasm.GetHttpCallResponseHeaders()
	must("headers of the answer", err)
	for _, h := range all {
		proxywasm.LogInfof("response header from httpbin: %s: %s", h[0], h[1])
	}
	text, err := proxywasm.GetHttpCallResponseBody(0, size)
	must("body of the answer", err)
	var answer struct{ UUID string }
	must("parse answer", json.Unmarshal(text, &answer))
	if id := strings.TrimSpace(answer.UUID); id != "" && (id[len(id)-1]-'0')%2 == 0 {
		proxywasm.LogInfo("access granted")
		must("resume", proxywasm.ResumeHttpRequest())
		return
	}
	proxywasm.LogInfo("access forbidden")
	must("answer 403", proxywasm.SendHttpResponse(403, [][2]string{{"powered-by", "proxy-wasm-go-sdk"}}, []byte("access forbidden"), -1))
}

// dispatches makes ten calls while an answer waits.
type dispatches struct {
	types.DefaultHttpContext
	id      uint32
	pending int
}

func newDispatches(id uint32, _ string) types.HttpContext { return &dispatches{id: id} }

const calls = 10

func (d *dispatches) OnHttpResponseHeaders(int, bool) types.Action {
	must("remove", proxywasm.RemoveHttpResponseHeader("server"))
	headers := [][2]string{{":method", "GET"}, {":path", "/"}, {":authority", "web.test"}}
	for range calls {
		if _, err := proxywasm.DispatchHttpCall("web", headers, nil, nil, 5000, d.answered); err != nil {
			wrong("dispatch: %v", err)
			continue
		}
		d.pending++
	}
	if d.pending == 0 {
		return types.ActionContinue
	}
	return types.ActionPause
}

func (d *dispatches) answered(int, int, int) {
	d.pending--
	if d.pending > 0 {
		proxywasm.LogInfof("pending dispatched requests: %d", d.pending)
		return
	}
	proxywasm.LogInfof("response resumed after processed %d dispatched request", calls)
	must("add", proxywasm.AddHttpResponseHeader("x-calls", "10"))
	must("resume", proxywasm.ResumeHttpResponse())
}
