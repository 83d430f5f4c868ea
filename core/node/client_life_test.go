package node_test

import (
	"fmt"
	"io"
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

// timed is plain with a route's timeout.
func timed(d string) string {
	return strings.Replace(logged, "auth: none,", "auth: none, timeout: "+d+",", 1)
}

// TestTimeoutWhileABodyIsRead: reading from the client ends with the exchange, and the client is told 504 all the same.
func TestTimeoutWhileABodyIsRead(t *testing.T) {
	r := coretest.Start(t, timed("150ms"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}), coretest.Options{})
	for _, head := range []string{"Content-Length: 10", "Transfer-Encoding: chunked", "Expect: 100-continue\r\nContent-Length: 10"} {
		c := r.Client()
		c.Send("POST / HTTP/1.1\r\nHost: a\r\n" + head + "\r\n\r\n")
		if strings.HasPrefix(head, "Expect") {
			c.Head()
		}
		answer, body := c.Answer("POST")
		wantError(t, r, answer, body, fault.ExchangeTimeout)
		if !answer.Close {
			t.Errorf("%s: kept open, in the middle of a body", head)
		}
		if got, err := c.Rest(); got != "" || err != nil {
			t.Errorf("%s: then %q %v", head, got, err)
		}
	}
}

// TestTimeoutCutsAnAnswerUnderWay, also one that the client does not take.
func TestTimeoutCutsAnAnswerUnderWay(t *testing.T) {
	r := coretest.Start(t, timed("300ms"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.URL.Path == "/full" {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}), coretest.Options{})
	for _, path := range []string{"/full", "/wait"} {
		c := r.Client()
		began := time.Now()
		c.Send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		wantRecord(t, r, fault.ExchangeTimeout, `"path":"`+path+`"`)
		if took := time.Since(began); took > soon {
			t.Errorf("%s: %s", path, took)
		}
		if _, err := c.Rest(); err == nil {
			t.Errorf("%s: a proper end", path)
		}
	}
}

// TestTimeoutAtTheLastMoment has timers fire while exchanges end: what was answered as a whole and was to stay open does.
func TestTimeoutAtTheLastMoment(t *testing.T) {
	const timeout = 20 * time.Millisecond
	r := coretest.Start(t, timed(timeout.String()), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(timeout - 2*time.Millisecond)
		_, _ = w.Write([]byte("whole"))
	}), coretest.Options{})
	var kept, late atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		c := r.Client()
		wg.Go(func() {
			for range 60 {
				c.Send(get)
				answer, body, err := coretest.ReadResponse(c.In, "GET")
				switch {
				case err != nil: // cut between the head and the end of the answer
					late.Add(1)
					c = r.Client()
				case answer.StatusCode == 200 && body == "whole" && !answer.Close:
					kept.Add(1)
				case answer.StatusCode == 504 && answer.Close:
					late.Add(1)
					c = r.Client()
				default:
					t.Errorf("%d %q close %t", answer.StatusCode, body, answer.Close)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d in time, %d late", kept.Load(), late.Load())
	// A connection that died after a whole answer would be an error without an exchange.
	count := func() int64 { return int64(strings.Count(r.Access.String(), `"fault":"exchange_timeout"`)) }
	for deadline := time.Now().Add(3 * time.Second); count() != late.Load() && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	if n := count(); n != late.Load() {
		t.Errorf("%d late in the log, %d seen", n, late.Load())
	}
}

// released is a filter's state that does something at the end of its exchange.
type released func(x *exchange.Exchange)

func (f released) Release(x *exchange.Exchange) { f(x) }

// TestLateCancel: what comes when the answer has been sent to its last byte does not touch the connection.
func TestLateCancel(t *testing.T) {
	for _, kind := range []fault.Kind{fault.ExchangeTimeout, fault.ClientGone} {
		ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
			x.Slots[0] = released(func(x *exchange.Exchange) { x.Cancel(fault.New(kind, "late")) })
			return filter.Continue, nil
		}}
		r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
		}), coretest.Options{Kinds: ff.kinds(false)})
		c := r.Client()
		for range 5 {
			c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
			if answer, body := c.Answer("POST"); body != "hello" || answer.Close {
				t.Fatalf("%q close %t", body, answer.Close)
			}
		}
	}
}

// TestFiltersDoNotChangeTheFraming of answers: that is what the client's own request says.
func TestFiltersDoNotChangeTheFraming(t *testing.T) {
	f := func(name, method string, change func(*exchange.Request), want string) {
		t.Run(name, func(t *testing.T) {
			ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
				change(&x.Request)
				return filter.Continue, nil
			}}
			r := coretest.Start(t, logged, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/flushed" {
					_ = http.NewResponseController(w).Flush()
				}
				_, _ = io.WriteString(w, "hello")
			}), coretest.Options{Kinds: ff.kinds(false)})
			c := r.Client()
			for _, path := range []string{"/", "/flushed", "/"} {
				c.Send(method + " " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
				answer, body := c.Answer(method) // a byte too many would be the next answer
				if answer.StatusCode != 200 || body != want || answer.Proto != "HTTP/1.1" {
					t.Fatalf("%s: %s %d %q", path, answer.Proto, answer.StatusCode, body)
				}
			}
			wantLine(t, r, `"method":"`+method+`"`)
		})
	}
	f("HEAD to GET", "HEAD", func(r *exchange.Request) { r.Method = []byte("GET") }, "")
	f("GET to HEAD", "GET", func(r *exchange.Request) { r.Method = []byte("HEAD") }, "")
	f("version", "GET", func(r *exchange.Request) { r.Version = exchange.HTTP10 }, "hello")
	f("expectation", "GET", func(r *exchange.Request) { r.Expect = true }, "hello")
}

// A filter can't give a client a tunnel that it did not ask for.
func TestNoTunnelUnasked(t *testing.T) {
	ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		x.Request.Upgrade = true
		return filter.Continue, nil
	}}
	up := coretest.StartRaw(t, func(u *coretest.Client) {
		u.Head()
		u.Send(switching)
		_, _ = u.Rest()
	})
	r := coretest.Start(t, logged, nil, coretest.Options{Kinds: ff.kinds(false), Env: map[string]string{"UPSTREAM": up.Address()}})
	c := r.Client()
	c.Send(get)
	answer, body := c.Answer("GET")
	wantError(t, r, answer, body, fault.GuestFailed)
}

func wantLine(t *testing.T, r *coretest.Rig, want string) {
	t.Helper()
	coretest.Eventually(t, "a line with "+want, func() bool { return strings.Contains(r.Access.String(), want) })
}

// TestEmptyLines: two are passed over before a request, in one piece or byte by byte, and not one more.
func TestEmptyLines(t *testing.T) {
	r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{})
	for n := range 6 {
		for _, slow := range []bool{false, true} {
			c := r.Client()
			for i := range n {
				c.Send("\r\n")
				if slow {
					time.Sleep(time.Duration(1+i) * time.Millisecond) // as pieces of their own, most likely
				}
			}
			c.Send(get)
			answer, _ := c.Answer("GET")
			if want := map[bool]int{true: 200, false: 400}[n <= 2]; answer.StatusCode != want {
				t.Errorf("%d empty lines, slow %t: %d", n, slow, answer.StatusCode)
			}
		}
	}
}

// TestInform: hints reach the client at once, those that it understands, and nothing in them frames a message.
func TestInform(t *testing.T) {
	hint := func(x *exchange.Exchange, status int) {
		x.Response.Status = status
		x.Response.Header.AddString("Link", []byte("</a.css>"))
		x.Response.Header.AddString("Connection", []byte("x-private"))
		x.Response.Header.AddString("Transfer-Encoding", []byte("chunked"))
		x.Response.Header.AddString("Content-Length", []byte("5"))
		if err := x.Down.Inform(x); err != nil {
			t.Error(err)
		}
		x.ClearResponse()
	}
	proceed := make(chan struct{})
	ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		hint(x, 100)
		hint(x, 103)
		hint(x, 103)
		hint(x, 200)
		<-proceed
		return filter.Continue, nil
	}}
	r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "body")
	}), coretest.Options{Kinds: ff.kinds(false)})
	c := r.Client()
	c.Send(get)
	for range 2 { // at once: the exchange waits for us
		if got := c.Head(); got != "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" {
			t.Fatalf("%q", got)
		}
	}
	proceed <- struct{}{}
	if answer, body := c.Answer("GET"); answer.StatusCode != 200 || body != "body" || answer.Header.Get("Link") != "" {
		t.Errorf("%d %v %q", answer.StatusCode, answer.Header, body)
	}
	c = r.Client()
	c.Send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
	proceed <- struct{}{}
	if got, err := c.Rest(); !strings.HasPrefix(got, "HTTP/1.1 200 ") || strings.Contains(got, "Link") || err != nil {
		t.Errorf("HTTP/1.0: %q %v", got, err)
	}
}

// TestInformAndContinue: what the uploader writes and what the exchange does before the head do not run into each other.
func TestInformAndContinue(t *testing.T) {
	ff := &fake{response: func(x *exchange.Exchange, _ bool) (filter.Verdict, error) {
		status := x.Response.Status
		x.Response.Status = 103
		err := x.Down.Inform(x)
		x.Response.Status = status
		return filter.Continue, err
	}}
	up := coretest.StartRaw(t, func(u *coretest.Client) {
		for u.Head() != "" {
			u.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") // before the body, while it is asked for
			_, _ = u.Rest()
		}
	})
	r := coretest.Start(t, plain, nil, coretest.Options{Kinds: ff.kinds(false), Env: map[string]string{"UPSTREAM": up.Address()}})
	for range 30 {
		c := r.Client()
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		var statuses []string
		for {
			head := c.Head()
			if len(head) < 12 {
				t.Fatalf("%q after %v", head, statuses)
			}
			statuses = append(statuses, head[9:12])
			if head[9] == '2' {
				break
			}
		}
		if got := fmt.Sprint(statuses); got != "[100 103 200]" && got != "[103 100 200]" && got != "[103 200]" {
			t.Errorf("%s", got)
		}
	}
}
