package node_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
)

// fake is a filter made of two functions; a nil one lets everything through.
type fake struct {
	request  func(x *exchange.Exchange) (filter.Verdict, error)
	response func(x *exchange.Exchange, failed bool) (filter.Verdict, error)
	closed   atomic.Int64
}

func (f *fake) Request(x *exchange.Exchange, _ int) (filter.Verdict, error) {
	if f.request == nil {
		return filter.Continue, nil
	}
	return f.request(x)
}

func (f *fake) Response(x *exchange.Exchange, _ int, failed bool) (filter.Verdict, error) {
	if f.response == nil {
		return filter.Continue, nil
	}
	return f.response(x, failed)
}

func (f *fake) Close() error { f.closed.Add(1); return nil }

// kinds puts f on every route, in the default slot.
func (f *fake) kinds(failOpen bool) []filter.Kind {
	return []filter.Kind{{Name: "fake", Build: func(filter.Place) ([]filter.Placed, error) {
		return []filter.Placed{{Name: "fake", Slot: filter.Upstream, Filter: f, FailOpen: failOpen}}, nil
	}}}
}

func TestFiltersThatFail(t *testing.T) {
	broken := fault.New(fault.GuestFailed, "trap")
	f := func(name string, ff *fake, failOpen bool, want fault.Kind) {
		t.Run(name, func(t *testing.T) {
			r := coretest.Start(t, logged, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{Kinds: ff.kinds(failOpen)})
			c := r.Client()
			c.Send(get)
			if want == fault.FilterReset {
				if got, err := c.Rest(); got != "" || err == nil {
					t.Errorf("%q %v", got, err)
				}
				wantRecord(t, r, want, `"filter":"fake"`)
				return
			}
			answer, body := c.Answer("GET")
			if want == fault.None {
				if answer.StatusCode != 200 {
					t.Error(answer.Status)
				}
				return
			}
			wantError(t, r, answer, body, want)
		})
	}
	errFrom := func(err error, v filter.Verdict) func(*exchange.Exchange) (filter.Verdict, error) {
		return func(*exchange.Exchange) (filter.Verdict, error) { return v, err }
	}
	after := func(err error, v filter.Verdict) func(*exchange.Exchange, bool) (filter.Verdict, error) {
		return func(*exchange.Exchange, bool) (filter.Verdict, error) { return v, err }
	}
	refused := fault.New(fault.Forbidden, "by a filter")
	f("request fails", &fake{request: errFrom(broken, 0)}, false, fault.GuestFailed)
	f("request fails open", &fake{request: errFrom(broken, 0)}, true, fault.None)
	f("request refuses", &fake{request: errFrom(refused, 0)}, true, fault.Forbidden)
	f("request fails without a kind", &fake{request: errFrom(errors.New("odd"), 0)}, false, fault.Internal)
	f("request resets", &fake{request: errFrom(nil, filter.Reset)}, false, fault.FilterReset)
	f("response fails", &fake{response: after(broken, 0)}, false, fault.GuestFailed)
	f("response fails open", &fake{response: after(broken, 0)}, true, fault.None)
	f("response resets", &fake{response: after(nil, filter.Reset)}, false, fault.FilterReset)
	f("request panics", &fake{request: func(*exchange.Exchange) (filter.Verdict, error) { panic("boom") }}, true, fault.Internal)
	f("response panics", &fake{response: func(*exchange.Exchange, bool) (filter.Verdict, error) { panic("boom") }}, true, fault.Internal)
	f("no final status", &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		x.Response.Status = 101
		return filter.Respond, nil
	}}, false, fault.GuestFailed)
	f("wrong length", &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		x.Request.Body.Replace([]byte("hello"))
		x.Request.Body.Length = 3
		return filter.Continue, nil
	}}, false, fault.Internal)
	f("response replaces", &fake{response: func(x *exchange.Exchange, _ bool) (filter.Verdict, error) {
		x.Response.Body.Replace([]byte("mine"))
		return filter.Respond, nil
	}}, false, fault.None)

	t.Run("fails on a failure", func(t *testing.T) {
		for _, v := range []struct {
			verdict filter.Verdict
			err     error
			want    int
		}{{filter.Continue, broken, 503}, {filter.Reset, nil, 0}, {filter.Continue, nil, 502}} {
			ff := &fake{response: func(_ *exchange.Exchange, failed bool) (filter.Verdict, error) {
				if !failed {
					t.Error("not told of the failure")
				}
				return v.verdict, v.err
			}}
			up := coretest.StartRaw(t, func(u *coretest.Client) { u.Head() })
			r := coretest.Start(t, plain, nil, coretest.Options{Kinds: ff.kinds(false), Env: map[string]string{"UPSTREAM": up.Address()}})
			c := r.Client()
			c.Send(get)
			answer, _, err := coretest.ReadResponse(c.In, "GET")
			if v.want == 0 && err == nil || v.want != 0 && (err != nil || answer.StatusCode != v.want) {
				t.Errorf("%v: %v %v", v, answer, err)
			}
		}
	})
}

// chain puts filters on every route, in the default slot.
func chain(all ...*fake) []filter.Kind {
	return []filter.Kind{{Name: "chain", Build: func(filter.Place) (placed []filter.Placed, _ error) {
		for _, f := range all {
			placed = append(placed, filter.Placed{Name: "fake", Slot: filter.Upstream, Filter: f})
		}
		return placed, nil
	}}}
}

// TestAnswerIsFramedByTheClientsMethod, also when the filter that has changed it is passed over: a body after HEAD would be
// read as the next answer.
func TestAnswerIsFramedByTheClientsMethod(t *testing.T) {
	broken := fault.New(fault.GuestFailed, "trap")
	changes := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		x.Request.Method = []byte("GET")
		return filter.Continue, nil
	}}
	failsAgain := &fake{response: func(*exchange.Exchange, bool) (filter.Verdict, error) { return filter.Continue, broken }}
	fails := &fake{request: func(*exchange.Exchange) (filter.Verdict, error) { return filter.Continue, broken }}
	r := coretest.Start(t, logged, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), coretest.Options{Kinds: chain(changes, failsAgain, fails)})
	c := r.Client()
	for range 2 {
		c.Send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
		answer, _ := c.Answer("HEAD")
		if answer.StatusCode != 503 || answer.Close {
			t.Fatalf("%d close %t", answer.StatusCode, answer.Close)
		}
		wantRecord(t, r, fault.GuestFailed, `"method":"HEAD"`)
	}
}

// TestHandshakeWithABody: what a filter puts behind a handshake must not become a request of its own.
func TestHandshakeWithABody(t *testing.T) {
	ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		x.Request.Body.Replace([]byte("GET /second HTTP/1.1\r\nHost: a\r\n\r\n"))
		return filter.Continue, nil
	}}
	var seen coretest.Buffer
	r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(&seen, "%s %q %d;", r.URL.Path, r.Header["Upgrade"], len(body))
	}), coretest.Options{Kinds: ff.kinds(false)})
	c := r.Client()
	c.Send("GET /first HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if answer, _ := c.Answer("GET"); answer.StatusCode != 200 {
		t.Error(answer.Status)
	}
	r.Upstream.Close() // it has served all by then
	if got := seen.String(); got != "/first [] 33;" {
		t.Errorf("the upstream saw %q", got)
	}
}

// panicState panics when the exchange lets go of it.
type panicState struct{}

func (panicState) Release(*exchange.Exchange) { panic("boom on release") }

func TestPanicHurtsNobodyElse(t *testing.T) {
	ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		switch string(x.Request.Path) {
		case "/panic":
			panic("boom")
		case "/release":
			x.Slots[15] = panicState{}
		}
		return filter.Continue, nil
	}}
	r := coretest.Start(t, logged, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{Kinds: ff.kinds(false)})
	other := r.Client()
	other.Send(get)
	other.Answer("GET")
	c := r.Client()
	c.Send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n")
	answer, body := c.Answer("GET")
	wantError(t, r, answer, body, fault.Internal)
	if _, err := c.Rest(); !answer.Close || err != nil {
		t.Errorf("close %t, %v", answer.Close, err)
	}
	c = r.Client()
	c.Send("GET /release HTTP/1.1\r\nHost: a\r\n\r\n")
	_, _ = c.Rest()
	coretest.Eventually(t, "both panics in the log", func() bool {
		return strings.Contains(r.Log.String(), `"boom"`) && strings.Contains(r.Log.String(), "boom on release") && strings.Contains(r.Log.String(), "filter_test.go")
	})
	other.Send(get)
	if answer, _ := other.Answer("GET"); answer.StatusCode != 200 {
		t.Error(answer.Status)
	}
}

// addField builds what names the route in every answer.
func addField(filter.Place) ([]filter.Placed, error) {
	return []filter.Placed{{Name: "fields", Answer: func(x *exchange.Exchange) {
		x.Response.Header.Set("x-route", []byte(x.Record.Route))
	}}}, nil
}
