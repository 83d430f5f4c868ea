package main

import (
	"bytes"
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// Milliseconds between ticks. A filter's log is bounded: what logs much ticks slowly.
const (
	tick     = 20
	slowTick = 60
)

// dispatcher calls an upstream that answers and one that is dead, by turns.
type dispatcher struct {
	types.DefaultPluginContext
	id    uint32
	turns int
	calls int
}

func newDispatcher(id uint32) types.PluginContext { return &dispatcher{id: id} }

func (d *dispatcher) OnPluginStart(int) types.OnPluginStartStatus {
	must("set tick", proxywasm.SetTickPeriodMilliSeconds(slowTick))
	return types.OnPluginStartStatusOK
}

func (d *dispatcher) OnTick() {
	upstream := []string{"web", "dead"}[d.turns%2]
	d.turns++
	headers := [][2]string{{":method", "GET"}, {":authority", "web.test"}, {":path", "/ok"}, {"accept", "*/*"}}
	_, err := proxywasm.DispatchHttpCall(upstream, headers, nil, nil, 5000, d.answered)
	must("dispatch to "+upstream, err)
}

func (d *dispatcher) answered(headers, _, _ int) {
	d.calls++
	proxywasm.LogInfof("called %d for contextID=%d", d.calls, d.id)
	all, err := proxywasm.GetHttpCallResponseHeaders()
	must("headers of an answer", err)
	if len(all) != headers {
		wrong("%d headers were announced, %d came", headers, len(all))
	}
	for _, h := range all {
		if h[0] == ":status" {
			proxywasm.LogInfof("response header for contextID=%d: %s: %s", d.id, h[0], h[1])
		}
	}
}

func (*dispatcher) NewHttpContext(uint32) types.HttpContext { return &types.DefaultHttpContext{} }

// foreign compresses and uncompresses.
type foreign struct {
	types.DefaultPluginContext
	calls int
}

func newForeign(uint32) types.PluginContext { return &foreign{} }

func (f *foreign) OnPluginStart(int) types.OnPluginStartStatus {
	must("set tick", proxywasm.SetTickPeriodMilliSeconds(slowTick))
	return types.OnPluginStartStatusOK
}

func (f *foreign) OnTick() {
	text := bytes.Repeat([]byte("hello world! "), 20)
	small, err := proxywasm.CallForeignFunction("compress", text)
	if err != nil {
		wrong("compress: %v", err)
		return
	}
	f.calls++
	proxywasm.LogInfof("foreign function (compress) called: %d, result: %x", f.calls, small)
	back, err := proxywasm.CallForeignFunction("uncompress", small)
	if err != nil || !bytes.Equal(back, text) {
		wrong("uncompress: %d bytes, %v", len(back), err)
	}
}

func (*foreign) NewHttpContext(uint32) types.HttpContext { return &types.DefaultHttpContext{} }

// hello tells the time.
type hello struct{ types.DefaultPluginContext }

func newHello(uint32) types.PluginContext { return &hello{} }

func (*hello) OnPluginStart(int) types.OnPluginStartStatus {
	proxywasm.LogInfo("OnPluginStart from Go!")
	must("set tick", proxywasm.SetTickPeriodMilliSeconds(tick))
	return types.OnPluginStartStatusOK
}

func (*hello) OnTick() { proxywasm.LogInfof("It's %d", time.Now().UnixNano()) }

func (*hello) NewHttpContext(uint32) types.HttpContext { return &types.DefaultHttpContext{} }

// postponer holds each request until a tick.
type postponer struct {
	types.DefaultPluginContext
	held []uint32
}

func newPostponer(uint32) types.PluginContext { return &postponer{} }

func (p *postponer) OnPluginStart(int) types.OnPluginStartStatus {
	must("set tick", proxywasm.SetTickPeriodMilliSeconds(tick))
	return types.OnPluginStartStatusOK
}

func (p *postponer) OnTick() {
	for _, id := range p.held {
		must("set effective context", proxywasm.SetEffectiveContext(id))
		proxywasm.LogInfof("resume request with contextID=%d", id)
		must("resume", proxywasm.ResumeHttpRequest())
	}
	p.held = p.held[:0]
}

func (p *postponer) NewHttpContext(id uint32) types.HttpContext {
	return &postponed{plugin: p, id: id}
}

type postponed struct {
	types.DefaultHttpContext
	plugin *postponer
	id     uint32
}

func (p *postponed) OnHttpRequestHeaders(int, bool) types.Action {
	proxywasm.LogInfof("postpone request with contextID=%d", p.id)
	p.plugin.held = append(p.plugin.held, p.id)
	return types.ActionPause
}
