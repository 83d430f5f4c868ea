package main

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// shared counts requests over all instances. Each begins with 0 where there is nothing yet: who sets what is absent is never
// refused, so that later is too late.
type shared struct{ streamPlugin }

func newShared(uint32) types.PluginContext {
	return &shared{streamPlugin{make: func(uint32, string) types.HttpContext { return &sharing{} }}}
}

const sharedKey = "shared_data_key"

func (s *shared) OnPluginStart(size int) types.OnPluginStartStatus {
	if _, _, err := proxywasm.GetSharedData(sharedKey); errors.Is(err, types.ErrorStatusNotFound) {
		must("set the first", proxywasm.SetSharedData(sharedKey, make([]byte, 8), 0))
	}
	return s.streamPlugin.OnPluginStart(size)
}

type sharing struct{ types.DefaultHttpContext }

func (s *sharing) OnHttpRequestHeaders(int, bool) types.Action {
	for {
		value, cas, err := proxywasm.GetSharedData(sharedKey)
		if err != nil || len(value) != 8 {
			wrong("shared data: %q, %v", value, err)
			return types.ActionContinue
		}
		n := binary.LittleEndian.Uint64(value) + 1
		err = proxywasm.SetSharedData(sharedKey, binary.LittleEndian.AppendUint64(nil, n), cas)
		if errors.Is(err, types.ErrorStatusCasMismatch) {
			continue
		}
		must("set", err)
		proxywasm.LogInfof("shared value: %d", n)
		return types.ActionContinue
	}
}

// sender puts the headers of both ways into queues of another VM.
type sender struct{ types.DefaultHttpContext }

func newSender(uint32, string) types.HttpContext { return &sender{} }

const (
	receiverVM    = "receiver"
	requestQueue  = "http_request_headers"
	responseQueue = "http_response_headers"
	dataQueue     = "tcp_data_hashes"
)

func (s *sender) OnHttpRequestHeaders(int, bool) types.Action {
	all, err := proxywasm.GetHttpRequestHeaders()
	must("request headers", err)
	s.send(requestQueue, all)
	return types.ActionContinue
}

func (s *sender) OnHttpResponseHeaders(int, bool) types.Action {
	all, err := proxywasm.GetHttpResponseHeaders()
	must("response headers", err)
	s.send(responseQueue, all)
	return types.ActionContinue
}

func (s *sender) send(queue string, all [][2]string) {
	id, err := proxywasm.ResolveSharedQueue(receiverVM, queue)
	if err != nil {
		wrong("resolve %s: %v", queue, err)
		return
	}
	for _, h := range all {
		text := fmt.Sprintf(`{"key": %q,"value": %q}`, h[0], h[1])
		must("enqueue", proxywasm.EnqueueSharedQueue(id, []byte(text)))
		proxywasm.LogInfof("enqueued data: %s", text)
	}
}

// receiver empties its queues.
type receiver struct {
	types.DefaultPluginContext
	id    uint32
	names map[uint32]string
}

func newReceiver(id uint32) types.PluginContext {
	return &receiver{id: id, names: map[uint32]string{}}
}

func (r *receiver) OnPluginStart(int) types.OnPluginStartStatus {
	for _, name := range []string{requestQueue, responseQueue, dataQueue} {
		id, err := proxywasm.RegisterSharedQueue(name)
		if err != nil {
			wrong("register %s: %v", name, err)
			return types.OnPluginStartStatusFailed
		}
		r.names[id] = name
	}
	return types.OnPluginStartStatusOK
}

func (r *receiver) OnQueueReady(queue uint32) {
	data, err := proxywasm.DequeueSharedQueue(queue)
	switch {
	case errors.Is(err, types.ErrorStatusEmpty): // another instance was faster
	case err != nil:
		wrong("dequeue from %s: %v", r.names[queue], err)
	default:
		proxywasm.LogInfof("(contextID=%d) dequeued data from %s: %s", r.id, r.names[queue], data)
	}
}

func (r *receiver) NewHttpContext(uint32) types.HttpContext { return &types.DefaultHttpContext{} }
