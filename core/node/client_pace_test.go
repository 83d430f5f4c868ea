package node_test

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/netio"
)

// TestMinRateOfStreams: a stream of HTTP/2 keeps the least rate as a connection of HTTP/1.1 does, and messages of gRPC have
// none.
func TestMinRateOfStreams(t *testing.T) {
	r := coretest.Start(t, `
version: 1
access_log: {output: "off"}
guards: {min_rate: 1KiB}
listeners: [{address: "127.0.0.1:0", h2c: true}]
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, upstream: api}]
`, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }), coretest.Options{})
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), netio.Grace+4*time.Second)
	defer cancel()
	// drip sends a byte ten times a second for as long as it may, and gives the answer.
	drip := func(contentType string) (*http.Response, time.Duration, error) {
		body, in := io.Pipe()
		go func() {
			for {
				if _, err := in.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond) // the pace that is tested
			}
		}()
		began := time.Now()
		q, _ := http.NewRequestWithContext(ctx, "POST", r.URL, body)
		q.Header.Set("Content-Type", contentType)
		answer, err := transport.RoundTrip(q)
		_ = body.Close()
		return answer, time.Since(began), err
	}
	var all sync.WaitGroup
	all.Go(func() {
		answer, took, err := drip("text/plain")
		if err != nil || answer.StatusCode != 408 || took < netio.Grace-time.Second {
			t.Errorf("%v after %s, %v", answer, took, err)
		}
	})
	all.Go(func() {
		if answer, took, err := drip("application/grpc+proto"); err == nil {
			t.Errorf("messages were cut with %s after %s", answer.Status, took)
		}
	})
	all.Wait()
}
