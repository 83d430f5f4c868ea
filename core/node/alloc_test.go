package node_test

import (
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

const answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Fri, 20 Nov 2026 10:00:00 GMT\r\nServer: still\r\nContent-Length: 12\r\n\r\nhello world\n"

const endless = `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
upstreams: {api: {endpoints: ["http://${UPSTREAM}"], keepalive: {max_requests: 0}}}
routes:
  - {name: all, match: {path: /*}, auth: none, upstream: api}
`

// TestPathAllocatesNothing measures the whole process: client, weir and upstream, over real sockets.
func TestPathAllocatesNothing(t *testing.T) {
	up := coretest.StartStill(t, answer)
	r := coretest.Start(t, endless, nil, coretest.Options{Env: map[string]string{"UPSTREAM": up.Address()}})
	e := r.NewExchanger("GET /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test/1.0\r\nAccept: */*\r\nCookie: a=b\r\n\r\n")
	coretest.AllocFloor(t, e.Run)
}
