package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
)

// counted is plain with all that could count an exchange as a failure.
const counted = `
version: 1
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"], breaker: {consecutive_failures: 1, open_for: 1h}, retry: {retries: 2, on: [connect, reset, 503]}}}
routes:
  - {name: all, match: {path: /*}, auth: none, upstream: api}
`

// layer is a source on top of a body: what comes from beneath is f's to change, or to answer.
type layer struct {
	under exchange.Body
	f     func(p []byte) ([]byte, error)
	buf   [4 << 10]byte
	left  []byte
	err   error
	whole bool // it says so
}

func (l *layer) Read(p []byte) (int, error) {
	for len(l.left) == 0 && l.err == nil {
		q, err := l.under.Next(l.buf[:])
		if l.err = err; err != nil && err != io.EOF {
			break
		}
		q, ferr := l.f(q)
		if l.left = q; ferr != nil {
			l.err = ferr
		}
	}
	n := copy(p, l.left)
	if l.left = l.left[n:]; len(l.left) > 0 {
		return n, nil
	}
	return n, l.err
}

func (l *layer) Whole() bool { return l.whole && l.under.Whole() }

// teapot is the answer of the filter at slot.
func teapot(slot int) *filter.Answer {
	return &filter.Answer{Slot: slot, Make: func(x *exchange.Exchange) {
		x.Response.Status = 418
		x.Response.Header.Set("X-Test", []byte("made"))
	}}
}

// until gives what comes before a "!" and answers then.
func until(a *filter.Answer) func([]byte) ([]byte, error) {
	return func(p []byte) ([]byte, error) {
		before, _, found := bytes.Cut(p, []byte("!"))
		if found {
			return before, a
		}
		return p, nil
	}
}

// gatekeeper answers in the middle of request bodies with a "!" in them.
func gatekeeper(whole bool) *slotted {
	return &slotted{request: func(x *exchange.Exchange, slot int) (filter.Verdict, error) {
		l := &layer{f: until(teapot(slot)), whole: whole}
		x.Request.Body.Through(&l.under, l, x.Request.Body.Length)
		return filter.Continue, nil
	}}
}

// wantNoFailure checks that nobody is blamed: no filter, no endpoint.
func wantNoFailure(t *testing.T, r *coretest.Rig) {
	t.Helper()
	text := adminText(t, r, "/metrics")
	for line := range strings.Lines(text) {
		for _, name := range []string{"weir_filter_errors_total", "weir_upstream_errors_total", "weir_upstream_retries_total", "circuit_breaker_state"} {
			if strings.HasPrefix(line, name+"{") && !strings.HasSuffix(line, " 0\n") {
				t.Error(line)
			}
		}
	}
}

// TestAnswerFromRequestBody: a filter answers while the body is on its way, whatever versions meet, before the upstream has
// said anything.
func TestAnswerFromRequestBody(t *testing.T) {
	for _, before := range []string{"", "a"} {
		hopsWith(t, func() []filter.Kind {
			return placedOn(map[string][]filter.Placed{"all": {{Name: "first", Filter: &fake{}}, {Name: "answers", Filter: gatekeeper(false), FailOpen: true}, {Name: "last", Filter: &fake{}}}})
		}, func(t *testing.T, r *coretest.Rig, client, upstream hop, _ [2]int) {
			client.head("POST", false)
			expect(t, "upstream", upstream, "head POST")
			if before != "" {
				client.data(before)
				expect(t, "upstream", upstream, "data "+before)
			}
			client.data("!")
			expect(t, "client", client, "head 418 x-test=made")
			if got := upstream.next(); got != "closed" && got != "broken" && got != "reset CANCEL" {
				t.Errorf("the upstream got %q: the request is not whole", got)
			}
			wantLine(t, r, `"filter":"answers"`)
			wantLine(t, r, `"status_code":418`)
			if strings.Contains(r.Access.String(), `"fault"`) {
				t.Error(r.Access.String())
			}
			wantNoFailure(t, r)
		})
	}
}

// TestAnswerToEarlyAnswer: the upstream has answered, but nothing of that has been sent: the filter's word holds.
func TestAnswerToEarlyAnswer(t *testing.T) {
	var holds, goes chan struct{}
	hopsWith(t, func() []filter.Kind {
		holds, goes = make(chan struct{}), make(chan struct{})
		holds, goes := holds, goes
		g := gatekeeper(false)
		g.response = func(x *exchange.Exchange, slot int, _ bool) (filter.Verdict, error) {
			if x.Response.Status != 200 {
				return filter.Continue, errors.New("a filter sees two answers")
			}
			return filter.Continue, nil
		}
		return placedOn(map[string][]filter.Placed{"all": {{Name: "answers", Filter: g}, {Name: "holds", Filter: &fake{
			response: func(x *exchange.Exchange, _ bool) (filter.Verdict, error) {
				close(holds)
				<-goes
				for x.Uploading.Load() { // the other goroutine is about to end
					runtime.Gosched()
				}
				return filter.Continue, nil
			},
		}}}})
	}, func(t *testing.T, r *coretest.Rig, client, upstream hop, _ [2]int) {
		client.head("POST", false)
		client.data("a")
		expect(t, "upstream", upstream, "head POST", "data a")
		upstream.head("200", false)
		<-holds
		client.data("!")
		close(goes)
		expect(t, "client", client, "head 418 x-test=made")
		wantLine(t, r, `"status_code":418`)
		wantNoFailure(t, r)
	})
}

// TestAnswerTooLate: what has been sent can't be taken back, so the client sees that it is cut.
func TestAnswerTooLate(t *testing.T) {
	hopsWith(t, func() []filter.Kind {
		return placedOn(map[string][]filter.Placed{"all": {{Name: "answers", Filter: gatekeeper(false), FailOpen: true}}})
	}, func(t *testing.T, r *coretest.Rig, client, upstream hop, v [2]int) {
		client.head("POST", false)
		client.data("a")
		expect(t, "upstream", upstream, "head POST", "data a")
		upstream.head("200", false)
		upstream.data("b")
		expect(t, "client", client, "head 200", "data b")
		client.data("!")
		want := "broken"
		if v[0] == 2 {
			want = "reset INTERNAL_ERROR"
		}
		expect(t, "client", client, want)
		wantRecord(t, r, fault.FilterAnswered, "")
		wantNoFailure(t, r)
	})
}

// TestAnswerToSizedBodies: the same with bodies of known length and of unknown, small ones that go out with the head and large
// ones; the client's connection carries on where all of the body has come.
func TestAnswerToSizedBodies(t *testing.T) {
	for _, upstream2 := range []bool{false, true} {
		var asked, whole atomic.Int64
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if b, err := io.ReadAll(r.Body); err == nil && len(b) > 0 {
				whole.Add(1)
			}
		})
		up := httptest.NewUnstartedServer(handler)
		up.Config.Protocols = &http.Protocols{}
		up.Config.Protocols.SetHTTP1(true)
		up.Config.Protocols.SetUnencryptedHTTP2(true)
		up.Start()
		t.Cleanup(up.Close)
		yaml := counted
		if upstream2 {
			yaml = strings.Replace(yaml, `["http://${UPSTREAM}"]`, `["http://${UPSTREAM}"], protocol: h2`, 1)
		}
		for _, client2 := range []bool{false, true} {
			for _, atHand := range []bool{false, true} {
				r := coretest.Start(t, strings.Replace(yaml, `"127.0.0.1:0"}]`, `"127.0.0.1:0", h2c: true}]`, 1), nil, coretest.Options{
					Env: map[string]string{"UPSTREAM": up.Listener.Addr().String()}, Kinds: placedOn(map[string][]filter.Placed{"all": {{Name: "answers", Filter: gatekeeper(atHand)}}}),
				})
				c := &http.Client{Transport: &http.Transport{}}
				if client2 {
					c = http2Client(t, r, false)
				}
				for _, size := range []int{1, 100, 5000, 200 << 10} {
					for _, at := range []int{0, size / 2, size - 1} {
						for _, length := range []int64{int64(size), -1} {
							text := []byte(strings.Repeat("x", size))
							text[at] = '!'
							req, _ := http.NewRequest("POST", r.URL, struct{ io.Reader }{bytes.NewReader(text)})
							req.ContentLength = length
							answer, err := c.Do(req)
							if err != nil {
								t.Fatalf("%d of %d (%d), %t %t: %v", at, size, length, client2, upstream2, err)
							}
							_, _ = io.Copy(io.Discard, answer.Body)
							answer.Body.Close()
							if answer.StatusCode != 418 {
								t.Fatalf("%d of %d (%d), %t %t: %s", at, size, length, client2, upstream2, answer.Status)
							}
						}
					}
				}
				before := asked.Load()
				req, _ := http.NewRequest("POST", r.URL, strings.NewReader("fine"))
				answer, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				answer.Body.Close()
				if answer.StatusCode != 200 || asked.Load() == before {
					t.Error(answer.Status, "after it")
				}
				wantNoFailure(t, r)
			}
		}
		if whole.Load() != 4 {
			t.Errorf("%d whole bodies came to the upstream, want 4", whole.Load())
		}
	}
}

// TestAnswerKeepsConnection: an answer to the last byte of a body leaves the client's connection as it was.
func TestAnswerKeepsConnection(t *testing.T) {
	r := coretest.Start(t, counted, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }),
		coretest.Options{Kinds: placedOn(map[string][]filter.Placed{"all": {{Name: "answers", Filter: gatekeeper(false)}}})})
	c := r.Client()
	for range 3 {
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabc!")
		if answer, _ := c.Answer("POST"); answer.StatusCode != 418 || answer.Close {
			t.Fatal(answer.Status, answer.Close)
		}
	}
}

// TestAnswerInRequest: another filter, or the one itself, may pull the body in its Request.
func TestAnswerInRequest(t *testing.T) {
	for _, own := range []bool{false, true} {
		for _, wraps := range []bool{false, true} {
			var trace coretest.Buffer
			sees := func(name string) func(*exchange.Exchange, int, bool) (filter.Verdict, error) {
				return func(x *exchange.Exchange, _ int, failed bool) (filter.Verdict, error) {
					fmt.Fprintf(&trace, "%s %d %t %t;", name, x.Response.Status, x.Response.Local, failed)
					return filter.Continue, nil
				}
			}
			pull := func(x *exchange.Exchange, slot int) (filter.Verdict, error) {
				_, _, err := x.Request.Body.Buffer(1000, make([]byte, 100))
				if err == io.EOF {
					err = nil
				}
				if wraps && err != nil {
					err = fault.Wrap(fault.FilterAnswered, err)
				}
				return filter.Continue, err
			}
			g := gatekeeper(false)
			g.response = sees("g")
			install := g.request
			pulls := &slotted{request: pull, response: sees("p")}
			if own {
				g.request = func(x *exchange.Exchange, slot int) (filter.Verdict, error) {
					_, _ = install(x, slot)
					return pull(x, slot)
				}
				pulls.request = nil
			}
			var freed atomic.Int64
			state := &slotted{response: sees("s"), request: func(x *exchange.Exchange, slot int) (filter.Verdict, error) {
				x.Slots[slot] = released(func(*exchange.Exchange) { freed.Add(1) })
				return filter.Continue, nil
			}}
			r := coretest.Start(t, counted, nil, coretest.Options{Env: map[string]string{"UPSTREAM": "127.0.0.1:1"}, Kinds: placedOn(map[string][]filter.Placed{"all": {
				{Name: "s", Filter: state}, {Name: "g", Filter: g}, {Name: "s2", Filter: state, FailOpen: true}, {Name: "p", Filter: pulls, FailOpen: true}}})})
			if status, h, _ := r.Do("POST", "/", "some text!"); status != 418 || h.Get("X-Test") != "made" {
				t.Error(status, h)
			}
			if got := trace.String(); got != "g 418 true false;s 418 true false;" {
				t.Errorf("own %t: %s", own, got)
			}
			want := int64(2)
			if own {
				want = 1
			}
			coretest.Eventually(t, "state released", func() bool { return freed.Load() == want })
			wantLine(t, r, `"filter":"g"`)
			wantNoFailure(t, r)
		}
	}
}

// TestAnswerFromResponseBody: what another filter pulls in its Response is no failure of that one; the answer goes to those
// that have seen none.
func TestAnswerFromResponseBody(t *testing.T) {
	var trace coretest.Buffer
	sees := func(name string) *slotted {
		return &slotted{response: func(x *exchange.Exchange, _ int, failed bool) (filter.Verdict, error) {
			fmt.Fprintf(&trace, "%s %d %t;", name, x.Response.Status, failed)
			return filter.Continue, nil
		}}
	}
	pulls, answers := sees("p"), sees("a")
	was := pulls.response
	pulls.response = func(x *exchange.Exchange, slot int, failed bool) (filter.Verdict, error) {
		_, _ = was(x, slot, failed)
		_, _, err := x.Response.Body.Buffer(1000, make([]byte, 100))
		return filter.Continue, err
	}
	sees2 := answers.response
	answers.response = func(x *exchange.Exchange, slot int, failed bool) (filter.Verdict, error) {
		_, _ = sees2(x, slot, failed)
		l := &layer{f: until(teapot(slot))}
		x.Response.Body.Through(&l.under, l, -1)
		return filter.Continue, nil
	}
	r := coretest.Start(t, counted, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(203)
		fmt.Fprint(w, "text! ", strings.Repeat("x", 100<<10))
	}), coretest.Options{Kinds: placedOn(map[string][]filter.Placed{"all": {
		{Name: "f", Filter: sees("f")}, {Name: "p", Filter: pulls, FailOpen: true}, {Name: "a", Filter: answers}, {Name: "l", Filter: sees("l")}}})})
	if status, h, body := r.Get("/"); status != 418 || h.Get("X-Test") != "made" || body != "" {
		t.Error(status, h, body)
	}
	if got := trace.String(); got != "l 203 false;a 203 false;p 203 false;f 418 false;" {
		t.Error(got)
	}
	wantLine(t, r, `"filter":"a"`)
	wantNoFailure(t, r)
}

// TestAnswerWhilePumped comes too late: the answer is cut.
func TestAnswerWhilePumped(t *testing.T) {
	both := []string{"", "!"}
	for i, mark := range both {
		r := coretest.Start(t, counted, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "text")
			_ = http.NewResponseController(w).Flush()
			fmt.Fprint(w, mark)
		}), coretest.Options{Kinds: placedOn(map[string][]filter.Placed{"all": {{Name: "a", FailOpen: true, Filter: &slotted{
			response: func(x *exchange.Exchange, slot int, _ bool) (filter.Verdict, error) {
				l := &layer{f: until(teapot(slot))}
				x.Response.Body.Through(&l.under, l, -1)
				return filter.Continue, nil
			}}}}})})
		c := r.Client()
		c.Send(get)
		_, _, err := coretest.ReadResponse(c.In, "GET")
		if (err != nil) != (i == 1) {
			t.Errorf("%q: %v", mark, err)
		}
		if i == 1 {
			wantRecord(t, r, fault.FilterAnswered, "")
		}
		wantNoFailure(t, r)
	}
}

// TestAnswerCannotBeIgnored: a filter that takes no notice of it can't go on either, nor one that wants no answer at all.
func TestAnswerCannotBeIgnored(t *testing.T) {
	pulls := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		_, _, _ = x.Request.Body.Buffer(1000, make([]byte, 100))
		return filter.Continue, nil
	}}
	resets := &slotted{request: func(x *exchange.Exchange, _ int) (filter.Verdict, error) {
		l := &layer{f: func([]byte) ([]byte, error) { return nil, fault.New(fault.FilterReset, "reset") }}
		x.Request.Body.Through(&l.under, l, -1)
		return filter.Continue, nil
	}}
	for _, v := range []struct {
		f    *slotted
		want int
	}{{gatekeeper(false), 418}, {resets, 0}} {
		up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err == nil {
				t.Error("a whole request")
			}
		}))
		r := coretest.Start(t, counted, nil, coretest.Options{Env: map[string]string{"UPSTREAM": up.Listener.Addr().String()},
			Kinds: placedOn(map[string][]filter.Placed{"all": {{Name: "a", Filter: v.f}, {Name: "pulls", Filter: pulls}}})})
		c := r.Client()
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nsome text!")
		answer, _, err := coretest.ReadResponse(c.In, "POST")
		if v.want == 0 && err == nil || v.want != 0 && (err != nil || answer.StatusCode != v.want) {
			t.Errorf("%v %v, want %d", answer, err, v.want)
		}
		wantNoFailure(t, r)
		up.Close()
	}
}
