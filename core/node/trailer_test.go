package node_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
)

// TestIdentityInTrailers: a trailer section is no way around the guard, for a server that merges trailers into its headers.
func TestIdentityInTrailers(t *testing.T) {
	r := coretest.Start(t, strings.Replace(identified, "%s", "drop", 1), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, r.Trailer)
	}), coretest.Options{Files: map[string]string{"secret": hmacSecret}})
	answer := r.Raw("POST /open HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"+
		"2\r\nab\r\n0\r\nX-Sum: 1\r\nX-uSER-id: mallory\r\n\r\n", time.Second)
	if !strings.HasPrefix(answer, "HTTP/1.1 200 ") || strings.Contains(answer, "mallory") || !strings.Contains(answer, "X-Sum:[1]") {
		t.Error(answer)
	}
}

// TestCredentialInTrailers: a field that weir sets, and in which a credential may come, is the client's in the header only.
func TestCredentialInTrailers(t *testing.T) {
	yaml := strings.Replace(identified, "require: [exp]", `require: [exp], from: ["header:x-token"]`, 1)
	yaml = strings.Replace(strings.Replace(yaml, "%s", "drop", 1), "x-user-id:", "x-token:", 1)
	r := coretest.Start(t, yaml, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, r.Trailer)
	}), coretest.Options{Files: map[string]string{"secret": hmacSecret}})
	answer := r.Raw("POST /open HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"+
		"2\r\nab\r\n0\r\nX-Sum: 1\r\nX-Token: mallory\r\n\r\n", time.Second)
	if !strings.HasPrefix(answer, "HTTP/1.1 200 ") || strings.Contains(answer, "mallory") || !strings.Contains(answer, "X-Sum:[1]") {
		t.Error(answer)
	}
}
