// Requests that name no team are answered here and never reach the upstream.
package main

import "github.com/weirproxy/weir/wasm-sdk/go/httpwasm"

func init() {
	httpwasm.HandleRequest = func(r httpwasm.Request, w httpwasm.Response) bool {
		if _, named := r.Header().Get("x-team"); named {
			return httpwasm.Next
		}
		w.SetStatus(403)
		w.Body().WriteString("which team are you?\n")
		return httpwasm.Stop
	}
}

func main() {}
