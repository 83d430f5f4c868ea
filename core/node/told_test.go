package node_test

import (
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

// TestDeadUpstreamIsTold: an upstream that is down is told of in the log, with its endpoint and why, without a line a request.
func TestDeadUpstreamIsTold(t *testing.T) {
	r := coretest.Start(t, `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
upstreams: {api: {endpoints: ["http://127.0.0.1:1"]}}
routes: [{match: {path: /*}, auth: none, upstream: api}]
`, nil, coretest.Options{})
	for range 20 {
		if status, _, _ := r.Get("/"); status != 502 {
			t.Fatal(status)
		}
	}
	const told = `"level":"warn","upstream":"api","endpoint":"127.0.0.1:1","reason":"connect_failed"`
	coretest.Eventually(t, "it is told", func() bool { return strings.Contains(r.Log.String(), told) })
	for range 20 {
		r.Get("/")
	}
	if n := strings.Count(r.Log.String(), "requests failed"); n != 1 {
		t.Errorf("told %d times:\n%s", n, r.Log)
	}
}
