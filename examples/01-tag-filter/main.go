// A filter that tags requests and answers. The tag is the request's own x-tag if it has one, else what the configuration
// says; the upstream and the client both see it.
package main

import (
	"encoding/json"

	"github.com/weirproxy/weir/wasm-sdk/go/httpwasm"
)

var config = struct {
	Header string `json:"header"`
	Value  string `json:"value"`
}{Header: "x-tag", Value: "weir"}

// tag is the tag of the exchange under way: an instance serves one at a time.
var tag []byte

func init() {
	if c := httpwasm.Config(); len(c) > 0 {
		if err := json.Unmarshal(c, &config); err != nil {
			panic("configuration: " + err.Error()) // the filter is not accepted
		}
	}
	httpwasm.HandleRequest = func(r httpwasm.Request, _ httpwasm.Response) bool {
		own, ok := r.Header().Get(config.Header)
		if !ok {
			own = append(tag[:0], config.Value...)
		}
		tag = append(tag[:0], own...)
		r.Header().SetBytes(config.Header, tag)
		return httpwasm.Next
	}
	httpwasm.HandleResponse = func(_ httpwasm.Request, w httpwasm.Response, _ bool) {
		w.Header().SetBytes(config.Header, tag)
	}
}

func main() {}
