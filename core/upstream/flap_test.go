package upstream_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/upstream"
)

// TestEndpointsComeAndGo: requests go on, in either protocol, while the endpoints of their upstream are exchanged over and
// over; a stream on one that has left ends as it would have; and the connections to those that left are closed in the end.
func TestEndpointsComeAndGo(t *testing.T) {
	for name, transport := range map[string]upstream.Transport{"HTTP/1.1": {}, "HTTP/2": overH2} {
		t.Run(name, func(t *testing.T) {
			var open atomic.Int64
			start := func() string {
				s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_ = http.NewResponseController(w).EnableFullDuplex()
					buf := make([]byte, 1024)
					for {
						n, err := r.Body.Read(buf)
						_, _ = w.Write(buf[:n])
						_ = http.NewResponseController(w).Flush()
						if err != nil {
							return
						}
					}
				}))
				s.Config.Protocols = &http.Protocols{}
				s.Config.Protocols.SetHTTP1(true)
				s.Config.Protocols.SetUnencryptedHTTP2(true)
				s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
					switch state {
					case http.StateNew:
						open.Add(1)
					case http.StateClosed:
						open.Add(-1)
					}
				}
				s.Start()
				t.Cleanup(s.Close)
				return s.Listener.Addr().String()
			}
			a, b := start(), start()
			r := upstream.NewRegistry(upstream.RegistryOptions{})
			defer r.Close()
			u := reopen(t, r, upstream.Options{Transport: transport, Parse: func(_ string, doc []byte) (list []upstream.EndpointOptions, _ error) {
				for _, address := range []string{a, b} {
					if strings.Contains(string(doc), address) {
						list = append(list, upstream.EndpointOptions{Address: address, Host: "api.test"})
					}
				}
				return list, nil
			}}, a)
			pulled, feed := io.Pipe()
			back := &tee{}
			ended := make(chan answer)
			go func() { ended <- ask(u, request{method: "POST", stream: pulled, seen: back.see}) }()
			_, _ = io.WriteString(feed, "first")
			back.wait(t, "first")
			var stop atomic.Bool
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for !stop.Load() {
						if got := ask(u, request{method: "POST", body: "hello"}); got.err != nil || got.body != "hello" {
							t.Error(got)
							return
						}
					}
				})
			}
			for range 100 {
				for _, list := range []string{b, a + b, a} {
					if err := u.SetEndpoints([]byte(list)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := u.SetEndpoints([]byte(b)); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(feed, "second")
			back.wait(t, "second")
			stop.Store(true)
			wg.Wait()
			feed.Close()
			if got := <-ended; got.err != nil || got.body != "firstsecond" {
				t.Error(got)
			}
			_ = u.Close()
			coretest.Eventually(t, "all connections are closed", func() bool { return open.Load() == 0 })
		})
	}
}
