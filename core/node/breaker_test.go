package node_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
)

const breaking = `
version: 1
log: {level: debug}
listeners: [{address: "127.0.0.1:0"}]
upstreams: {api: {endpoints: ["http://${UPSTREAM}"], breaker: {consecutive_failures: 5, open_for: 300ms, half_open_requests: 2}}}
routes:
  - {name: all, match: {path: /*}, auth: none, upstream: api}
`

func TestBreaker(t *testing.T) {
	var hits, inFlight, most atomic.Int64
	var failing atomic.Bool
	hold := make(chan struct{})
	r := coretest.Start(t, breaking, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		if r.URL.Path == "/probe" {
			if n := inFlight.Add(1); n > most.Load() {
				most.Store(n)
			}
			<-hold
			inFlight.Add(-1)
		}
		if failing.Load() {
			w.WriteHeader(500)
		}
	}), coretest.Options{})
	state := func(want int) {
		t.Helper()
		if m := grep(string(r.Node.Metrics()), "circuit_breaker_state{"); !strings.HasSuffix(m, fmt.Sprintf(" %d\n", want)) {
			t.Errorf("want %d: %s", want, m)
		}
	}
	failing.Store(true)
	for range 5 {
		if status, _, _ := r.Get("/"); status != 500 {
			t.Fatal(status)
		}
	}
	coretest.Eventually(t, "open", func() bool { return r.Node.Plan().Upstreams[0].Endpoints()[0].Breaker.State() == 2 })
	state(2)
	c := r.Client()
	c.Send(get)
	answer, body := c.Answer("GET")
	wantError(t, r, answer, body, fault.BreakerOpen)
	if hits.Load() != 5 {
		t.Errorf("%d hits", hits.Load())
	}
	failing.Store(false)
	// Then exactly two probes pass, and both close it.
	coretest.Eventually(t, "ready for probes", func() bool {
		return r.Node.Plan().Upstreams[0].Endpoints()[0].Breaker.Ready(1 << 62)
	})
	time.Sleep(300 * time.Millisecond)
	hits.Store(0)
	var wg sync.WaitGroup
	var passed, refused atomic.Int64
	for range 50 {
		wg.Go(func() {
			answer, err := http.Get(r.URL + "/probe")
			if err != nil {
				t.Error(err)
				return
			}
			answer.Body.Close()
			switch answer.StatusCode {
			case 200:
				passed.Add(1)
			case 503:
				refused.Add(1)
			}
		})
	}
	coretest.Eventually(t, "48 refused", func() bool { return refused.Load() == 48 })
	state(1)
	close(hold)
	wg.Wait()
	if passed.Load() != 2 || hits.Load() != 2 || most.Load() != 2 {
		t.Errorf("%d passed, %d hits, %d at once", passed.Load(), hits.Load(), most.Load())
	}
	coretest.Eventually(t, "closed", func() bool { return r.Node.Plan().Upstreams[0].Endpoints()[0].Breaker.State() == 0 })
}

func TestBreakerCountsNoOthersFaults(t *testing.T) {
	arrived := make(chan struct{}, 100)
	ff := &fake{response: func(x *exchange.Exchange, failed bool) (filter.Verdict, error) {
		if string(x.Request.Path) == "/filter" && !failed {
			return 0, fault.New(fault.GuestFailed, "trap")
		}
		return filter.Continue, nil
	}}
	r := coretest.Start(t, breaking, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			arrived <- struct{}{}
			<-r.Context().Done()
		}
	}), coretest.Options{Kinds: ff.kinds(false)})
	for range 8 {
		if status, _, _ := r.Get("/filter"); status != 503 {
			t.Fatal(status)
		}
	}
	for range 8 {
		c := r.Client()
		c.Send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
		<-arrived
		c.Reset()
	}
	for i := range 8 {
		c := r.Client()
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
		c.Close()
		_ = i
	}
	coretest.Eventually(t, "all are recorded", func() bool { return strings.Count(r.Access.String(), `"fault"`) >= 24 })
	if b := r.Node.Plan().Upstreams[0].Endpoints()[0].Breaker; b.State() != 0 {
		t.Errorf("the breaker is %s:\n%s", b.State(), r.Access.String())
	}
	if status, _, _ := r.Get("/"); status != 200 {
		t.Error(status)
	}
}
