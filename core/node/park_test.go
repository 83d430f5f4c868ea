package node_test

import (
	"context"
	"net"
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

// parking is a filter whose exchanges wait until somebody lets them go on, or they are cancelled.
type parking struct {
	answers bool          // they wait in Response
	resume  chan struct{} // closed: go on
	waiting atomic.Int64
	woken   atomic.Int64 // by Cancel
}

func newParking(answers bool) *parking {
	return &parking{answers: answers, resume: make(chan struct{})}
}

// waiter is one parked exchange.
type waiter chan struct{}

func (w waiter) AbortRead() {}
func (w waiter) Abort() {
	select {
	case w <- struct{}{}:
	default:
	}
}

var errTrap = fault.New(fault.GuestFailed, "woken without a reason")

func (p *parking) park(x *exchange.Exchange) (filter.Verdict, error) {
	w := make(waiter, 1)
	x.Await(w)
	defer x.Forget(w)
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	select {
	case <-w:
		p.woken.Add(1)
		return filter.Continue, errTrap
	case <-p.resume:
		return filter.Continue, nil
	}
}

func (p *parking) Request(x *exchange.Exchange, _ int) (filter.Verdict, error) {
	if p.answers {
		return filter.Continue, nil
	}
	return p.park(x)
}

func (p *parking) Response(x *exchange.Exchange, _ int, failed bool) (filter.Verdict, error) {
	if !p.answers || failed {
		return filter.Continue, nil
	}
	return p.park(x)
}

func (*parking) Close() error { return nil }

// kinds makes it a filter that may fail: who is woken because the exchange is over does not go on for that.
func (p *parking) kinds() []filter.Kind {
	return placedOn(map[string][]filter.Placed{"all": {{Name: "parks", Filter: p, FailOpen: true}}})
}

// TestParkedClientsGoAway: exchanges that wait in a filter end when their clients leave, and no failure is the filter's.
func TestParkedClientsGoAway(t *testing.T) {
	const n = 100
	for _, answers := range []bool{false, true} {
		p := newParking(answers)
		var asked atomic.Int64
		r := coretest.Start(t, strings.Replace(counted, `"127.0.0.1:0"`, `"127.0.0.1:0", h2c: true`, 1), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			asked.Add(1)
		}), coretest.Options{Kinds: p.kinds()})
		wait := func(what string, n int64) {
			t.Helper()
			coretest.Eventually(t, what, func() bool { return p.waiting.Load() == n })
		}
		for name, leave := range map[string]func(*coretest.Client){
			"reset": func(c *coretest.Client) { c.Reset() },
			"end":   func(c *coretest.Client) { _ = c.Conn.(*net.TCPConn).CloseWrite() },
		} {
			all := make([]*coretest.Client, n)
			for i := range all {
				all[i] = r.Client()
				post := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf"
				if answers { // the upstream wants all of it first
					post += "other."
				}
				all[i].Send([]string{get, post}[i%2])
			}
			wait("all wait", n)
			for _, c := range all {
				leave(c)
			}
			wait("none waits after "+name, 0)
		}
		// On one connection of HTTP/2: each stream by itself, and then the connection with all that are left.
		c := http2Client(t, r, false)
		each, cancelEach := context.WithCancel(context.Background())
		rest, cancelRest := context.WithCancel(context.Background())
		var ended sync.WaitGroup
		for i := range n {
			ctx := each
			if i%2 > 0 {
				ctx = rest
			}
			ended.Go(func() {
				req, _ := http.NewRequestWithContext(ctx, "GET", r.URL, nil)
				if answer, err := c.Do(req); err == nil {
					answer.Body.Close()
					t.Error(answer.Status)
				}
			})
		}
		wait("all streams wait", n)
		cancelEach()
		wait("half of them wait", n/2)
		cancelRest()
		wait("none waits", 0)
		ended.Wait()
		if got := p.woken.Load(); got != 3*n {
			t.Errorf("%d woken, want %d", got, 3*n)
		}
		if !answers && asked.Load() > 0 {
			t.Errorf("%d requests went on to the upstream", asked.Load())
		}
		wantRecord(t, r, fault.ClientGone, "")
		wantNoFailure(t, r)
		// And who stays is served.
		close(p.resume)
		wants(t, r, "/", 200, "")
	}
}

// TestParkedTimeout: the route's time runs out for who waits in a filter, too, and the client is told.
func TestParkedTimeout(t *testing.T) {
	for _, answers := range []bool{false, true} {
		p := newParking(answers)
		r := coretest.Start(t, strings.Replace(strings.Replace(counted, "auth: none", "auth: none, timeout: 50ms", 1), `"127.0.0.1:0"`, `"127.0.0.1:0", h2c: true`, 1),
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), coretest.Options{Kinds: p.kinds()})
		wants(t, r, "/", 504, "")
		if answer, _ := fetch(t, http2Client(t, r, false), "GET", r.URL, ""); answer.StatusCode != 504 {
			t.Error(answer.Status)
		}
		wantRecord(t, r, fault.ExchangeTimeout, `"status_code":504`)
		wantNoFailure(t, r)
		if p.woken.Load() != 2 {
			t.Errorf("%d woken", p.woken.Load())
		}
	}
}

// TestParkedDrain: a node that drains lets those go on that wait in a filter, and ends the others when it has no more time.
func TestParkedDrain(t *testing.T) {
	for _, goes := range []bool{true, false} {
		p := newParking(false)
		yaml := strings.Replace(strings.Replace(counted, `"127.0.0.1:0"`, `"127.0.0.1:0", h2c: true`, 1), "routes:", "timeouts: {drain: 300ms}\nroutes:", 1)
		if goes {
			yaml = strings.Replace(yaml, "300ms", "20s", 1)
		}
		r := coretest.Start(t, yaml, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), coretest.Options{Kinds: p.kinds()})
		one := r.Client()
		one.Send(get)
		two := make(chan int, 1)
		c := http2Client(t, r, false)
		go func() {
			answer, err := c.Get(r.URL)
			if err != nil {
				two <- 0
				return
			}
			answer.Body.Close()
			two <- answer.StatusCode
		}()
		coretest.Eventually(t, "both wait", func() bool { return p.waiting.Load() == 2 })
		drained := make(chan int, 1)
		began := time.Now()
		go func() { drained <- r.Node.Drain() }()
		if goes {
			coretest.Eventually(t, "the node drains", func() bool {
				nc, err := net.Dial("tcp", r.Address)
				if err == nil {
					nc.Close()
				}
				return err != nil
			})
			if p.woken.Load() != 0 {
				t.Error("woken by that")
			}
			close(p.resume)
			if answer, _ := one.Answer("GET"); answer.StatusCode != 200 || !answer.Close {
				t.Error(answer.Status, answer.Close)
			}
			if status := <-two; status != 200 {
				t.Error(status)
			}
			<-drained
			continue
		}
		<-drained
		if got, err := one.Rest(); got != "" || err == nil {
			t.Errorf("%q %v", got, err)
		}
		if status := <-two; status != 0 {
			t.Error(status)
		}
		coretest.Eventually(t, "none waits", func() bool { return p.waiting.Load() == 0 })
		if p.woken.Load() != 2 || time.Since(began) > 10*time.Second {
			t.Error(p.woken.Load(), time.Since(began))
		}
	}
}
