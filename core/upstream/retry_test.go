package upstream_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/upstream"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// counted is an upstream whose first requests are dealt with by bad, all later ones answered.
type counted struct {
	*coretest.Raw
	mu     sync.Mutex
	heads  []string
	bodies []string
}

func (c *counted) seen() (heads, bodies []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.heads...), append([]string(nil), c.bodies...)
}

func startCounted(t testing.TB, bad int, deal func(u *coretest.Client)) *counted {
	c := &counted{}
	c.Raw = coretest.StartRaw(t, func(u *coretest.Client) {
		for {
			head, body := message(u)
			if head == "" {
				return
			}
			c.mu.Lock()
			c.heads, c.bodies = append(c.heads, head), append(c.bodies, body)
			n := len(c.heads)
			c.mu.Unlock()
			if n <= bad {
				deal(u)
				return
			}
			u.Send(okAnswer)
		}
	})
	return c
}

// all is every retry that can be had.
func all(retries int) *upstream.RetryOptions {
	return &upstream.RetryOptions{Retries: retries, Connect: true, Reset: true, Statuses: []int{502, 503, 504}, Ratio: 0.2}
}

func TestRetries(t *testing.T) {
	reset := func(u *coretest.Client) { u.Reset() }
	fin := func(u *coretest.Client) {}
	status := func(code int) func(u *coretest.Client) {
		return func(u *coretest.Client) { u.Send(fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 3\r\n\r\nbad", code)) }
	}
	cut := func(u *coretest.Client) { u.Send("HTTP/1.1 200 OK\r\nContent-Le") }
	slow := func(u *coretest.Client) { _, _ = u.Rest() }
	key := []string{"Idempotency-Key", "a"}
	kilo := strings.Repeat("x", 1000)
	// f: with one bad answer, how many requests does the upstream see, and how does it end?
	f := func(name string, o *upstream.RetryOptions, deal func(u *coretest.Client), r request, hits int, want answer) {
		t.Helper()
		s := startCounted(t, 1, deal)
		u := open(t, upstream.Options{Retry: o, Transport: upstream.Transport{ResponseHeader: 300 * time.Millisecond}}, s.Address())
		a := ask(u, r)
		heads, bodies := s.seen()
		if len(heads) != hits || a.tries != hits || a.status != want.status || a.kind() != want.kind() || a.body != want.body {
			t.Errorf("%s: %d hits, %v", name, len(heads), a)
			return
		}
		for i := 1; i < len(heads); i++ {
			if bodies[i] != bodies[0] || !strings.Contains(heads[i], fmt.Sprintf("\r\nX-Weir-Attempt: %d\r\n", i+1)) {
				t.Errorf("%s: try %d: %q %q", name, i+1, heads[i], bodies[i])
			}
		}
		if strings.Contains(heads[0], "X-Weir-Attempt") && len(r.fields) == 0 {
			t.Errorf("%s: %q", name, heads[0])
		}
		if u.Retries() != int64(hits-1) {
			t.Errorf("%s: %d retries counted", name, u.Retries())
		}
	}
	good, bad := answer{status: 200, body: "ok"}, answer{status: 503, body: "bad"}
	failed := func(k fault.Kind) answer { return answer{err: fault.New(k, "")} }
	f("GET, reset", all(1), reset, request{}, 2, good)
	f("GET, closed", all(1), fin, request{}, 2, good)
	f("GET, 502", all(1), status(502), request{}, 2, good)
	f("GET, 503", all(1), status(503), request{}, 2, good)
	f("GET, 504", all(1), status(504), request{}, 2, good)
	f("HEAD", all(1), reset, request{method: "HEAD"}, 2, answer{status: 200})
	f("OPTIONS", all(1), reset, request{method: "OPTIONS"}, 2, good)
	f("GET with a body", all(1), reset, request{body: kilo}, 2, good)
	f("GET with a body that streams", all(1), status(503), request{stream: strings.NewReader(kilo)}, 2, good)
	f("POST with a key", all(1), reset, request{method: "POST", body: kilo, fields: key}, 2, good)
	f("POST with a key that streams", all(1), reset, request{method: "POST", stream: strings.NewReader(kilo), fields: key}, 2, good)
	f("PUT with a key, 60 KB", all(1), status(503), request{method: "PUT", body: strings.Repeat("y", 60<<10), fields: key}, 2, good)
	// What has been run once, perhaps, is not run again.
	for _, method := range []string{"POST", "PATCH", "PUT", "DELETE"} {
		f(method, all(1), reset, request{method: method, body: kilo}, 1, failed(fault.UpstreamReset))
		f(method, all(1), fin, request{method: method}, 1, failed(fault.ResponseTruncated))
		f(method, all(1), status(503), request{method: method}, 1, bad)
	}
	// Nor what is not in memory any more.
	f("70 KB", all(1), status(503), request{method: "PUT", body: strings.Repeat("y", 70<<10), fields: key}, 1, bad)
	f("70 KB that stream", all(1), status(503), request{method: "PUT", stream: strings.NewReader(strings.Repeat("y", 70<<10)), fields: key}, 1, bad)
	// Nor an answer that has begun, a wait that is over, a retry, what no option names.
	f("cut head", all(1), cut, request{}, 1, failed(fault.ResponseTruncated))
	f("timeout", all(1), slow, request{}, 1, failed(fault.UpstreamTimeout))
	f("a retry", all(1), reset, request{fields: []string{"x-weir-attempt", "2"}}, 1, failed(fault.UpstreamReset))
	f("500", all(1), status(500), request{}, 1, answer{status: 500, body: "bad"})
	f("not reset", &upstream.RetryOptions{Retries: 1, Connect: true, Statuses: []int{503}, Ratio: 0.2}, reset, request{}, 1, failed(fault.UpstreamReset))
	f("not 503", &upstream.RetryOptions{Retries: 1, Connect: true, Reset: true, Ratio: 0.2}, status(503), request{}, 1, bad)
	f("none", nil, reset, request{}, 1, failed(fault.UpstreamReset))
}

// The last answer is the client's when retries are used up.
func TestRetriesEnd(t *testing.T) {
	s := startCounted(t, 100, func(u *coretest.Client) { u.Send("HTTP/1.1 503 X\r\nContent-Length: 3\r\n\r\nbad") })
	a := ask(open(t, upstream.Options{Retry: all(2)}, s.Address()), request{})
	if a.status != 503 || a.body != "bad" || a.err != nil || a.tries != 3 {
		t.Errorf("%v", a)
	}
}

// A connection that could not be made is no request: any method goes to the other endpoint, with all of its body.
func TestRetryOnAnotherEndpoint(t *testing.T) {
	s := startCounted(t, 0, nil)
	o := all(1)
	o.Ratio = 1
	u := open(t, upstream.Options{Retry: o}, closedPort(t), s.Address())
	body := strings.Repeat("x", 100<<10)
	const n = 10
	for range n {
		if a := ask(u, request{method: "POST", stream: strings.NewReader(body)}); a.status != 200 {
			t.Fatalf("%v", a)
		}
	}
	_, bodies := s.seen()
	for _, b := range bodies {
		if b != body {
			t.Errorf("%d bytes of a body", len(b))
		}
	}
	if len(bodies) != n || u.Retries() != n/2 {
		t.Errorf("%d requests, %d retries", len(bodies), u.Retries())
	}
}

// Every endpoint hears of its own tries.
func TestBreakerHearsEachTry(t *testing.T) {
	bad := startCounted(t, 100, func(u *coretest.Client) { u.Reset() })
	good := startCounted(t, 0, nil)
	u := open(t, upstream.Options{Retry: all(1), Breaker: &upstream.BreakerOptions{ConsecutiveFailures: 2, OpenFor: time.Hour}}, bad.Address(), good.Address())
	for range 10 {
		if a := ask(u, request{}); a.status != 200 {
			t.Fatalf("%v", a)
		}
	}
	heads, _ := bad.seen()
	requests, failures, _ := u.Endpoints()[0].Stats()
	if len(heads) != 2 || requests != 2 || failures != 2 || u.Endpoints()[0].Breaker.State() != upstream.BreakerOpen {
		t.Errorf("%d hits, %d requests, %d failures, breaker %s", len(heads), requests, failures, u.Endpoints()[0].Breaker.State())
	}
	if _, failures, _ := u.Endpoints()[1].Stats(); failures != 0 {
		t.Errorf("%d failures of the good one", failures)
	}
}

// A request that is a half-open breaker's probe is not retried, not on another endpoint either.
func TestProbesAreNotRetried(t *testing.T) {
	var hits atomic.Int64
	bad := coretest.StartRaw(t, func(u *coretest.Client) { u.Head(); hits.Add(1); u.Reset() })
	good := startCounted(t, 0, nil)
	o := &upstream.BreakerOptions{ConsecutiveFailures: 1, OpenFor: 50 * time.Millisecond}
	u := open(t, upstream.Options{Retry: all(5), Breaker: o}, bad.Address(), good.Address())
	if a := ask(u, request{}); a.status != 200 || a.tries != 2 || hits.Load() != 1 { // opens it
		t.Errorf("%v, %d hits", a, hits.Load())
	}
	coretest.Eventually(t, "a probe", func() bool {
		a := ask(u, request{})
		if a.tries != 1 {
			t.Fatal(a)
		}
		return a.kind() == fault.UpstreamReset
	})
	if hits.Load() != 2 {
		t.Errorf("%d hits after one probe", hits.Load())
	}
}

// Nor does a retry take the place of a probe.
func TestRetriesAreNoProbes(t *testing.T) {
	var hits atomic.Int64
	s := coretest.StartRaw(t, func(u *coretest.Client) { u.Head(); hits.Add(1); u.Reset() })
	o := &upstream.BreakerOptions{ConsecutiveFailures: 1, OpenFor: time.Nanosecond} // half-open as soon as it has opened
	u := open(t, upstream.Options{Retry: all(5), Breaker: o}, s.Address())
	if a := ask(u, request{}); a.tries != 1 || hits.Load() != 1 {
		t.Errorf("%v, %d hits", a, hits.Load())
	}
	if a := ask(u, request{}); a.kind() != fault.UpstreamReset || hits.Load() != 2 { // the place was given back
		t.Errorf("%v, %d hits", a, hits.Load())
	}
}

// The wait before a retry ends with the exchange, at once.
func TestRetryWaitIsCancelled(t *testing.T) {
	u := open(t, upstream.Options{Retry: &upstream.RetryOptions{Retries: 1000, Connect: true, Ratio: 1000}}, closedPort(t))
	for range 2 { // pays off the credit, then saves up
		ask(u, request{fields: []string{"x-weir-attempt", "2"}})
	}
	began := time.Now()
	a := ask(u, request{cancel: func(h exchange.Handle) {
		time.AfterFunc(100*time.Millisecond, func() { h.Cancel(fault.New(fault.ExchangeTimeout, "")) })
	}})
	if took := time.Since(began); a.kind() != fault.ExchangeTimeout || a.tries < 2 || took > 200*time.Millisecond {
		t.Errorf("%v after %s", a, took)
	}
}

// The budget is kept over a reload, and bounds what an upstream sees that fails: of n requests, from the first on, there are
// never more than a fifth retries beside the three on credit, which the first fifteen pay off.
func TestAmplification(t *testing.T) {
	var hits atomic.Int64
	s := coretest.StartRaw(t, func(u *coretest.Client) {
		for {
			if head, _ := message(u); head == "" {
				return
			}
			hits.Add(1)
			u.Send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
		}
	})
	r := upstream.NewRegistry(upstream.RegistryOptions{})
	defer r.Close()
	u := reopen(t, r, upstream.Options{Retry: all(3)}, s.Address())
	n := int64(size(1000, 60_000))
	var sent atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for i := sent.Add(1); i <= n; i = sent.Add(1) {
				ask(u, request{})
			}
		})
		next := reopen(t, r, upstream.Options{Retry: all(3)}, s.Address())
		defer next.Close()
	}
	wg.Wait()
	_ = u.Close()
	if got := hits.Load(); float64(got) > 1.2*float64(n) || got < n+n/10 {
		t.Errorf("%d of %d requests reached the upstream", got, n)
	}
}

// One in ten fails: all of them are saved by a retry.
func TestRetriesSaveTheFew(t *testing.T) {
	var hits atomic.Int64
	s := coretest.StartRaw(t, func(u *coretest.Client) {
		for {
			if head, _ := message(u); head == "" {
				return
			}
			if hits.Add(1)%10 == 0 {
				u.Send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			u.Send(okAnswer)
		}
	})
	u := open(t, upstream.Options{Retry: all(1)}, s.Address())
	failed := 0
	n := size(500, 20_000)
	for range n {
		if ask(u, request{}).status != 200 {
			failed++
		}
	}
	if failed*100 > n {
		t.Errorf("%d of %d failed", failed, n)
	}
}
