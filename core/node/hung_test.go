package node_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

// TestHungUpstreamOpensBreaker: an endpoint that never answers is punished also where the route's own timeout is shorter
// than the endpoint's.
func TestHungUpstreamOpensBreaker(t *testing.T) {
	r := coretest.Start(t, `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
upstreams: {api: {endpoints: ["http://${UPSTREAM}"], breaker: {consecutive_failures: 2, open_for: 1m}}}
routes:
  - {name: all, match: {path: /*}, auth: none, timeout: 50ms, upstream: api}
`, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), coretest.Options{})
	var got []int
	for range 3 {
		status, header, _ := r.Get("/")
		got = append(got, status)
		if header.Get("Date") == "" {
			t.Error("an answer of weir's own without Date")
		}
	}
	if !slices.Equal(got, []int{504, 504, 503}) {
		t.Error(got)
	}
	coretest.Eventually(t, "the breaker's opening is in the log", func() bool {
		return strings.Contains(r.Log.String(), `"state":"open"`) && strings.Contains(r.Log.String(), `"message":"circuit breaker"`)
	})
}
