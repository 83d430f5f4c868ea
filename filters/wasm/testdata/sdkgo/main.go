// Command sdkgo is one module with many plugins, each a filter as people write them with the Go SDK of Proxy-Wasm. Which of
// them a filter is says its root_id.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

// A module of this kind is a reactor: main never runs, and init is where the SDK is told.
func init() { proxywasm.SetVMContext(&vm{}) }

// plugins is what each root_id stands for.
var plugins = map[string]func(id uint32) types.PluginContext{
	"dispatch_call_on_tick":   newDispatcher,
	"foreign_call_on_tick":    newForeign,
	"helloworld":              newHello,
	"http_auth_random":        stream(newAuth),
	"http_body":               stream(newBody),
	"http_body_chunk":         stream(newChunks),
	"http_headers":            stream(newHeaders),
	"http_routing":            stream(newRouting),
	"json_validation":         stream(newJSON),
	"metrics":                 stream(newCounter),
	"multiple_dispatches":     stream(newDispatches),
	"postpone_requests":       newPostponer,
	"properties":              stream(newProperties),
	"shared_data":             newShared,
	"shared_queue_sender":     stream(newSender),
	"shared_queue_receiver":   newReceiver,
	"vm_plugin_configuration": stream(newNothing),
}

type vm struct{ types.DefaultVMContext }

func (*vm) OnVMStart(size int) types.OnVMStartStatus {
	if size == 0 {
		return types.OnVMStartStatusOK
	}
	text, err := proxywasm.GetVMConfiguration()
	if err != nil || len(text) != size {
		wrong("vm configuration of %d bytes: %q, %v", size, text, err)
		return types.OnVMStartStatusFailed
	}
	proxywasm.LogInfof("vm config: %s", text)
	return types.OnVMStartStatusOK
}

func (*vm) NewPluginContext(id uint32) types.PluginContext {
	root, err := proxywasm.GetProperty([]string{"plugin_root_id"})
	if err != nil {
		wrong("plugin_root_id: %v", err)
		return &refusing{}
	}
	if make := plugins[string(root)]; make != nil {
		return make(id)
	}
	wrong("there is no plugin %q", root)
	return &refusing{}
}

// refusing is a plugin that does not start.
type refusing struct{ types.DefaultPluginContext }

func (*refusing) OnPluginStart(int) types.OnPluginStartStatus { return types.OnPluginStartStatusFailed }

// streamPlugin is a plugin with nothing of its own: it logs its configuration and makes streams.
type streamPlugin struct {
	types.DefaultPluginContext
	make   func(id uint32, config string) types.HttpContext
	config string
}

func stream(make func(id uint32, config string) types.HttpContext) func(uint32) types.PluginContext {
	return func(uint32) types.PluginContext { return &streamPlugin{make: make} }
}

func (p *streamPlugin) OnPluginStart(size int) types.OnPluginStartStatus {
	if size == 0 {
		return types.OnPluginStartStatusOK
	}
	text, err := proxywasm.GetPluginConfiguration()
	if err != nil || len(text) != size {
		wrong("plugin configuration of %d bytes: %q, %v", size, text, err)
		return types.OnPluginStartStatusFailed
	}
	p.config = string(text)
	proxywasm.LogInfof("plugin config: %s", text)
	return types.OnPluginStartStatusOK
}

func (p *streamPlugin) NewHttpContext(id uint32) types.HttpContext { return p.make(id, p.config) }

func newNothing(uint32, string) types.HttpContext { return &types.DefaultHttpContext{} }

// must logs what should not have failed, so that a test sees it.
func must(what string, err error) {
	if err != nil {
		wrong("%s: %v", what, err)
	}
}

func wrong(format string, args ...any) { proxywasm.LogCriticalf("WRONG: "+format, args...) }
