package node_test

import (
	"io"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

// TestProxyProtocol: on a listener that trusts its peers with the PROXY protocol the client is whom the header names, for
// limits and for the upstream; a trusted peer without a header is cut, and of others a header is a bad request.
func TestProxyProtocol(t *testing.T) {
	const yaml = `version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0", proxy_protocol: {trusted: [TRUSTED]}}]
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, limits: [{name: each, key: ip, rate: 1/m}], upstream: api}]
`
	up := coretest.StartRaw(t, mirror)
	start := func(trusted string) *coretest.Rig {
		return coretest.Start(t, strings.Replace(yaml, "TRUSTED", trusted, 1), nil,
			coretest.Options{Env: map[string]string{"UPSTREAM": up.Address()}})
	}
	trusting, other := start("127.0.0.1/32"), start("10.0.0.0/8")
	const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	ask := func(r *coretest.Rig, head string) (int, string) {
		c := r.Client()
		c.Send(head + request)
		answer, body := c.Answer("GET")
		return answer.StatusCode, body
	}
	for _, ip := range []string{"203.0.113.7", "203.0.113.8"} {
		head := "PROXY TCP4 " + ip + " 192.0.2.2 4711 443\r\n"
		if status, body := ask(trusting, head); status != 200 || field(body, "X-Real-IP") != ip || field(body, "X-Forwarded-For") != ip {
			t.Errorf("%s: %d\n%s", ip, status, body)
		}
		if status, _ := ask(trusting, head); status != 429 {
			t.Errorf("%s, again: %d", ip, status)
		}
	}
	c := trusting.Client()
	c.Send(request)
	if text, err := io.ReadAll(c.Conn); len(text) > 0 {
		t.Errorf("without a header: %q, %v", text, err)
	}
	if status, _ := ask(other, "PROXY TCP4 203.0.113.7 192.0.2.2 4711 443\r\n"); status != 400 {
		t.Errorf("a header of somebody else: %d", status)
	}
	if status, body := ask(other, ""); status != 200 || field(body, "X-Real-IP") != "127.0.0.1" {
		t.Errorf("somebody else: %d\n%s", status, body)
	}
}
