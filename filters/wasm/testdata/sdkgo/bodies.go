package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// body changes a whole body: that of the request or of the response, as a header of the request says.
type body struct {
	types.DefaultHttpContext
	where, how string
	size       int
}

func newBody(uint32, string) types.HttpContext { return &body{} }

func (b *body) OnHttpRequestHeaders(int, bool) types.Action {
	b.where, _ = proxywasm.GetHttpRequestHeader("buffer-replace-at")
	b.how, _ = proxywasm.GetHttpRequestHeader("buffer-operation")
	if b.where == "request" {
		must("remove content-length", proxywasm.RemoveHttpRequestHeader("content-length"))
	}
	return types.ActionContinue
}

func (b *body) OnHttpResponseHeaders(int, bool) types.Action {
	b.size = 0
	if b.where == "response" {
		must("remove content-length", proxywasm.RemoveHttpResponseHeader("content-length"))
	}
	return types.ActionContinue
}

func (b *body) OnHttpRequestBody(size int, last bool) types.Action {
	return b.change("request", size, last, proxywasm.GetHttpRequestBody, operations{
		proxywasm.AppendHttpRequestBody, proxywasm.PrependHttpRequestBody, proxywasm.ReplaceHttpRequestBody})
}

func (b *body) OnHttpResponseBody(size int, last bool) types.Action {
	return b.change("response", size, last, proxywasm.GetHttpResponseBody, operations{
		proxywasm.AppendHttpResponseBody, proxywasm.PrependHttpResponseBody, proxywasm.ReplaceHttpResponseBody})
}

type operations struct{ behind, before, instead func([]byte) error }

func (b *body) change(where string, size int, last bool, get func(int, int) ([]byte, error), o operations) types.Action {
	if b.where != where {
		return types.ActionContinue
	}
	if size < b.size {
		wrong("the %s body shrank from %d to %d", where, b.size, size)
	}
	b.size = size
	if !last {
		return types.ActionPause
	}
	text, err := get(0, size)
	must("get body", err)
	if len(text) != size {
		wrong("%d bytes of %d", len(text), size)
	}
	proxywasm.LogInfof("original %s body: %s", where, text)
	switch b.how {
	case "append":
		err = o.behind([]byte("[this is appended body]"))
	case "prepend":
		err = o.before([]byte("[this is prepended body]"))
	default:
		err = o.instead([]byte("[this is replaced body]"))
	}
	must(b.how, err)
	return types.ActionContinue
}

// chunks looks for a word in a body that streams by, without keeping more than the word's length.
type chunks struct {
	types.DefaultHttpContext
	tail          []byte
	number, total int
}

func newChunks(uint32, string) types.HttpContext { return &chunks{} }

func (c *chunks) OnHttpRequestBody(size int, last bool) types.Action {
	const word = "pattern"
	var chunk []byte
	if size > 0 { // of nothing the SDK says that it is not found
		var err error
		chunk, err = proxywasm.GetHttpRequestBody(0, size)
		must("get chunk", err)
	}
	if len(chunk) != size {
		wrong("%d bytes of %d", len(chunk), size)
	}
	c.number++
	c.total += size
	proxywasm.LogInfof("chunk %d of %d bytes, %d in all, last: %t", c.number, size, c.total, last)
	seen := append(c.tail, chunk...)
	if bytes.Contains(seen, []byte(word)) {
		proxywasm.LogInfof("pattern found in chunk: %d", c.number)
		must("answer 403", proxywasm.SendHttpResponse(403, [][2]string{{"powered-by", "proxy-wasm-go-sdk"}}, []byte("not this"), -1))
		return types.ActionPause
	}
	c.tail = bytes.Clone(seen[max(0, len(seen)-len(word)+1):])
	return types.ActionContinue
}

// validation lets in only bodies that are JSON objects with the keys of its configuration.
type validation struct {
	types.DefaultHttpContext
	keys []string
}

func newJSON(_ uint32, config string) types.HttpContext {
	var c struct{ Required []string }
	must("configuration", json.Unmarshal([]byte(config), &c))
	return &validation{keys: c.Required}
}

func (v *validation) OnHttpRequestHeaders(_ int, last bool) types.Action {
	kind, err := proxywasm.GetHttpRequestHeader("content-type")
	if err != nil || kind != "application/json" || last {
		return v.refuse("content-type is no json")
	}
	return types.ActionContinue
}

func (v *validation) OnHttpRequestBody(size int, last bool) types.Action {
	if !last {
		return types.ActionPause
	}
	text, err := proxywasm.GetHttpRequestBody(0, size)
	must("get body", err)
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		return v.refuse("body is no json")
	}
	for _, k := range v.keys {
		if object[k] == nil {
			return v.refuse(fmt.Sprintf("%q is missing", k))
		}
	}
	return types.ActionContinue
}

func (v *validation) refuse(why string) types.Action {
	proxywasm.LogInfof("refused: %s", why)
	must("answer 403", proxywasm.SendHttpResponse(403, nil, []byte(why), -1))
	return types.ActionPause
}
