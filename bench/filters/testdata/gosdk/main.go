// Two filters written with the Go SDK of Proxy-Wasm: one reads a header, sets one, and adds one to the answer; the other looks at
// all headers and at the body. Which of them a filter is says its root_id.
package main

import (
	"encoding/json"
	"regexp"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext {
	root, err := proxywasm.GetProperty([]string{"plugin_root_id"})
	if err != nil {
		panic(err)
	}
	return &plugin{validates: string(root) == "validate"}
}

type plugin struct {
	types.DefaultPluginContext
	validates bool
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext {
	if p.validates {
		return &validation{}
	}
	return &tagging{}
}

type tagging struct{ types.DefaultHttpContext }

func (*tagging) OnHttpRequestHeaders(int, bool) types.Action {
	if v, err := proxywasm.GetHttpRequestHeader("x-one"); err == nil {
		must(proxywasm.ReplaceHttpRequestHeader("x-tag", v))
	}
	return types.ActionContinue
}

func (*tagging) OnHttpResponseHeaders(int, bool) types.Action {
	must(proxywasm.AddHttpResponseHeader("x-tag", "weir"))
	return types.ActionContinue
}

// validation refuses what looks like an attack in any header, and bodies that are no orders.
type validation struct{ types.DefaultHttpContext }

var attack = regexp.MustCompile(`(?i)<script|union\s+select|\.\./`)

func (*validation) OnHttpRequestHeaders(int, bool) types.Action {
	all, err := proxywasm.GetHttpRequestHeaders()
	must(err)
	for _, pair := range all {
		if attack.MatchString(pair[1]) {
			return refuse("refused")
		}
	}
	return types.ActionContinue
}

type order struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Items []struct {
		SKU   string   `json:"sku"`
		Count int      `json:"count"`
		Price float64  `json:"price"`
		Tags  []string `json:"tags"`
	} `json:"items"`
}

func (*validation) OnHttpRequestBody(size int, last bool) types.Action {
	if !last {
		return types.ActionPause
	}
	text, err := proxywasm.GetHttpRequestBody(0, size)
	must(err)
	var o order
	if err := json.Unmarshal(text, &o); err != nil || o.ID == 0 || len(o.Items) == 0 {
		return refuse("no order")
	}
	return types.ActionContinue
}

func refuse(why string) types.Action {
	must(proxywasm.SendHttpResponse(400, nil, []byte(why), -1))
	return types.ActionPause
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
