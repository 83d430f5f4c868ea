package node_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
)

// A handle, which filters and timers have, ends an exchange wherever it is.
func TestCancelFromOutside(t *testing.T) {
	handles := make(chan exchange.Handle, 1)
	ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		handles <- x.Handle()
		return filter.Continue, nil
	}}
	gone, begun := make(chan struct{}), make(chan struct{})
	r := coretest.Start(t, logged, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stream":
			_, _ = w.Write([]byte("begun"))
			_ = http.NewResponseController(w).Flush()
		case "/full":
			_ = http.NewResponseController(w).Flush()
			begun <- struct{}{}
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					gone <- struct{}{}
					return
				}
			}
		}
		begun <- struct{}{}
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			<-r.Context().Done()
		}
		gone <- struct{}{}
	}), coretest.Options{Kinds: ff.kinds(false)})
	for _, request := range []string{
		"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /full HTTP/1.1\r\nHost: a\r\n\r\n", // the client does not read
		"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf",
		"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
	} {
		c := r.Client()
		c.Send(request)
		h := <-handles
		<-begun
		began := time.Now()
		if !h.Cancel(fault.New(fault.Draining, "test")) {
			t.Error("came too late")
		}
		<-gone
		if _, err := c.Rest(); err == nil {
			t.Errorf("%.12s: the client saw a proper end", request)
		}
		if took := time.Since(began); took > soon {
			t.Errorf("%.12s: %s", request, took)
		}
		wantRecord(t, r, fault.Draining, "")
		coretest.Eventually(t, "the exchange is over", func() bool { return !h.Cancel(fault.New(fault.Draining, "test")) })
	}
}

// A dial has no connection that could be aborted.
func TestCancelWhileConnecting(t *testing.T) {
	handles := make(chan exchange.Handle, 1)
	ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		handles <- x.Handle()
		return filter.Continue, nil
	}}
	// A listener whose queue is full: the kernel drops what else wants to connect.
	full := fullListener(t)
	yaml := strings.Replace(logged, `["http://${UPSTREAM}"]`, `["http://${UPSTREAM}"], timeouts: {connect: 20s}`, 1)
	r := coretest.Start(t, yaml, nil, coretest.Options{Kinds: ff.kinds(false), Env: map[string]string{"UPSTREAM": full}})
	c := r.Client()
	began := time.Now()
	c.Send(get)
	(<-handles).Cancel(fault.New(fault.Draining, "test"))
	if _, err := c.Rest(); err == nil || time.Since(began) > soon {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	wantRecord(t, r, fault.Draining, "")
}

func TestClientGoesAway(t *testing.T) {
	var waiting atomic.Int64
	r := coretest.Start(t, logged, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			_ = http.NewResponseController(w).Flush()
		}
		waiting.Add(1)
		defer waiting.Add(-1)
		<-r.Context().Done()
	}), coretest.Options{})
	const n = 100
	for name, leave := range map[string]func(*coretest.Client){
		"reset": func(c *coretest.Client) { c.Reset() },
		"end":   func(c *coretest.Client) { _ = c.Conn.(*net.TCPConn).CloseWrite() },
	} {
		all := make([]*coretest.Client, n)
		for i := range all {
			all[i] = r.Client()
			path := []string{"/wait", "/stream"}[i%2]
			// A second request behind the first does not hide the end.
			all[i].Send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n" + get)
		}
		coretest.Eventually(t, "all wait", func() bool { return waiting.Load() == n })
		began := time.Now()
		for _, c := range all {
			leave(c)
		}
		coretest.Eventually(t, "none waits", func() bool { return waiting.Load() == 0 })
		if took := time.Since(began); took > soon {
			t.Errorf("%s: upstreams worked on for %s", name, took)
		}
		wantRecord(t, r, fault.ClientGone, "")
	}
}

func TestHalfClosedClientIsServed(t *testing.T) {
	yaml := strings.Replace(plain, "routes:", "guards: {half_close: serve}\nroutes:", 1)
	var waiting atomic.Int64
	r := coretest.Start(t, yaml, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			waiting.Add(1)
			<-r.Context().Done()
			waiting.Add(-1)
			return
		}
		time.Sleep(700 * time.Millisecond)
		_, _ = w.Write([]byte("late"))
	}), coretest.Options{})
	c := r.Client()
	c.Send(get)
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	if _, body := c.Answer("GET"); body != "late" {
		t.Errorf("%q", body)
	}
	c = r.Client()
	c.Send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
	coretest.Eventually(t, "waiting", func() bool { return waiting.Load() == 1 })
	c.Reset()
	coretest.Eventually(t, "not waiting", func() bool { return waiting.Load() == 0 })
}
