// Reads a header, sets one, and adds one to the answer; for http-wasm. All of it is done before the request goes on: not every
// host takes headers of an answer later.
package main

import "github.com/weirproxy/weir/wasm-sdk/go/httpwasm"

func init() {
	httpwasm.HandleRequest = func(r httpwasm.Request, w httpwasm.Response) bool {
		if v, ok := r.Header().Get("x-one"); ok {
			r.Header().SetBytes("x-tag", v)
		}
		w.Header().Add("x-tag", "weir")
		return httpwasm.Next
	}
}

func main() {}
