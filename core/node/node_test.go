package node_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
)

const plain = `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {name: all, match: {path: /*}, auth: none, upstream: api}
`

func TestProxies(t *testing.T) {
	r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Method", r.Method)
		w.Header().Set("X-Target", r.RequestURI)
		_, _ = w.Write(b)
	}), coretest.Options{})
	status, header, body := r.Do("POST", "/a/b?c=d", "hello")
	if status != 200 || body != "hello" || header.Get("X-Target") != "/a/b?c=d" {
		t.Errorf("%d %v %q", status, header, body)
	}
}
