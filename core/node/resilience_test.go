package node_test

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/fault"
)

// with is the logged configuration with more keys of its upstream.
func with(keys string) string {
	return strings.Replace(logged, `["http://${UPSTREAM}"]`, `["http://${UPSTREAM}"], `+keys, 1)
}

func TestRetriesByConfiguration(t *testing.T) {
	var n atomic.Int64
	r := through(t, with("retry: {retries: 1, on: [connect, reset, 503], ratio: 100%}"), func(u *coretest.Client) {
		for {
			head := u.Head()
			if head == "" {
				return
			}
			switch n.Add(1) % 3 {
			case 0:
				u.Reset()
				return
			case 1:
				u.Send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
			default:
				u.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		}
	})
	c := r.Client()
	for range 30 {
		c.Send(get)
		if answer, body := c.Answer("GET"); answer.StatusCode == 200 && body != "ok" {
			t.Errorf("%d %q", answer.StatusCode, body)
		}
	}
	coretest.Eventually(t, "retries are counted, each try by itself", func() bool {
		m := string(r.Node.Metrics())
		return !strings.Contains(m, `weir_upstream_retries_total{upstream="api"} 0`) && strings.Contains(m, `weir_upstream_retries_total{upstream="api"} `)
	})
	coretest.Eventually(t, "tries are in the log", func() bool { return strings.Contains(r.Access.String(), `"tries":2`) })
}

// A route's timeout ends a wait for a retry, too, and is the answer, once.
func TestRouteTimeoutOverRetries(t *testing.T) {
	var hits atomic.Int64
	yaml := strings.Replace(with("retry: {retries: 10, on: [503], ratio: 100%}"), "auth: none", "auth: none, timeout: 300ms", 1)
	r := through(t, yaml, func(u *coretest.Client) {
		for u.Head() != "" {
			if hits.Add(1) > 3 { // the fourth try hangs
				_, _ = u.Rest()
				return
			}
			u.Send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
		}
	})
	c := r.Client()
	began := time.Now()
	c.Send(get)
	answer, body := c.Answer("GET")
	took := time.Since(began)
	wantError(t, r, answer, body, fault.ExchangeTimeout)
	if took < 290*time.Millisecond || took > soon || hits.Load() != 4 {
		t.Errorf("%s, %d hits", took, hits.Load())
	}
}

func TestQueueByConfiguration(t *testing.T) {
	hold := make(chan struct{})
	r := coretest.Start(t, with("max_in_flight: 1, queue: {max: 1, wait: 10s}"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-hold
	}), coretest.Options{})
	var wg sync.WaitGroup
	u := r.Node.Plan().Upstreams[0]
	for i := range 2 { // one in flight, one that waits
		wg.Go(func() {
			if status, _, _ := r.Get("/"); status != 200 {
				t.Error(status)
			}
		})
		coretest.Eventually(t, "the request is there", func() bool { return u.InFlight()+u.Waiting() == i+1 })
	}
	for _, want := range []string{"in_flight", "waiting"} {
		if m := grep(string(r.Node.Metrics()), "weir_upstream_requests_"+want+"{"); !strings.Contains(m, `} 1`) {
			t.Error(m)
		}
	}
	c := r.Client()
	c.Send(get)
	answer, body := c.Answer("GET")
	wantError(t, r, answer, body, fault.UpstreamBusy)
	if answer.Header.Get("Retry-After") != "1" {
		t.Error(answer.Header)
	}
	close(hold)
	wg.Wait()
}

func TestH2UpstreamByConfiguration(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Proto", r.Proto)
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", "1")
	})
	plain := httptest.NewUnstartedServer(handler)
	plain.Config.Protocols = &http.Protocols{}
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Start()
	defer plain.Close()
	secure := httptest.NewUnstartedServer(handler)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	for scheme, s := range map[string]*httptest.Server{"http": plain, "https": secure} {
		yaml := strings.Replace(with("protocol: h2, tls: {ca: ca.pem, server_name: example.com}"), "http://${UPSTREAM}", scheme+"://${UPSTREAM}", 1)
		r := coretest.Start(t, yaml, nil, coretest.Options{
			Env: map[string]string{"UPSTREAM": s.Listener.Addr().String()}, Files: map[string]string{"ca.pem": ca},
		})
		body := strings.Repeat("0123456789", 50_000)
		for range 3 {
			c := r.Client()
			go c.Send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nContent-Length: 500000\r\n\r\n" + body)
			answer, got := c.Answer("POST")
			if answer.StatusCode != 200 || got != body || answer.Header.Get("X-Proto") != "HTTP/2.0" || answer.Trailer.Get("X-Sum") != "1" {
				t.Errorf("%s: %d, %d bytes, %v %v", scheme, answer.StatusCode, len(got), answer.Header, answer.Trailer)
			}
		}
		if _, _, opened := r.Node.Plan().Upstreams[0].Endpoints()[0].Stats(); opened != 1 {
			t.Errorf("%s: %d connections", scheme, opened)
		}
	}
}

func TestProxyProtocolByConfiguration(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) }))
		s.Listener = &proxyproto.Listener{Listener: s.Listener}
		s.Start()
		defer s.Close()
		r := coretest.Start(t, with("proxy_protocol: "+version), nil, coretest.Options{Env: map[string]string{"UPSTREAM": s.Listener.Addr().String()}})
		for range 2 {
			c := r.Client()
			c.Send(get)
			if _, body := c.Answer("GET"); body != c.LocalAddr().String() {
				t.Errorf("%s: %s, want %s", version, body, c.LocalAddr())
			}
		}
	}
}
