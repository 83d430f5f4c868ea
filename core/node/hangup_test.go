package node_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weirproxy/weir/core/coretest"
)

// TestSlowReaderHoldsNoUpstream: a client that takes nothing of an answer that has been read to its end holds no place
// among the upstream's requests in flight.
func TestSlowReaderHoldsNoUpstream(t *testing.T) {
	asked := make(chan struct{}, 10)
	r := coretest.Start(t, `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0", h2c: true}]
upstreams: {api: {endpoints: ["http://${UPSTREAM}"], max_in_flight: 1}}
routes: [{match: {path: /*}, auth: none, upstream: api}]
`, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		_, _ = io.WriteString(w, "hello")
	}), coretest.Options{})
	nc, err := net.Dial("tcp", r.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	go func() { _, _ = io.Copy(io.Discard, nc) }()
	var block bytes.Buffer
	pack := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/"}} {
		if err := pack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			t.Fatal(err)
		}
	}
	frame := http2.NewFramer(nc, nil)
	_, _ = io.WriteString(nc, http2.ClientPreface)
	_ = frame.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}) // nothing may be sent
	_ = frame.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	<-asked
	coretest.Eventually(t, "another request is served", func() bool {
		status, _, body := r.Get("/")
		return status == 200 && body == "hello"
	})
}
