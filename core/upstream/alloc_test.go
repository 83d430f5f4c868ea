package upstream_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/coretest/alloc"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/upstream"
)

// again makes the same small exchange again and again, with everything on that an upstream can have.
func again(t testing.TB, u *upstream.Upstream, method string, body []byte) func() {
	x := exchange.Acquire()
	t.Cleanup(func() { exchange.Release(x) })
	buf := make([]byte, 4096)
	d := &down{}
	return func() {
		q := &x.Request
		q.Method, q.Target, q.Version = append(q.Method[:0], method...), append(q.Target[:0], '/'), exchange.HTTP11
		q.Body.Init(0, nil)
		if body != nil {
			q.Body.Replace(body)
		}
		x.Down = d
		k, err := u.Send(x, nil)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = x.Response.Body.Next(buf)
		}
		if err != io.EOF {
			t.Fatal(err)
		}
		k.Close(nil)
		x.ClearResponse()
	}
}

func full(p upstream.Protocol) upstream.Options {
	return upstream.Options{
		Retry: all(2), MaxInFlight: 10, Queue: upstream.QueueOptions{Max: 10, Wait: time.Second},
		Breaker: &upstream.BreakerOptions{}, Transport: upstream.Transport{Protocol: p, MaxRequests: -1},
	}
}

func TestNoAllocations(t *testing.T) {
	s := coretest.StartStill(t, okAnswer)
	alloc.Floor(t, again(t, open(t, full(upstream.HTTP1), s.Address()), "GET", nil))
	alloc.Floor(t, again(t, open(t, full(upstream.HTTP1), s.Address()), "POST", nil))
}

func BenchmarkSend(b *testing.B) {
	s := coretest.StartStill(b, okAnswer)
	b.Run("h1", func(b *testing.B) {
		f := again(b, open(b, full(upstream.HTTP1), s.Address()), "GET", nil)
		b.ReportAllocs()
		for b.Loop() {
			f()
		}
	})
	h := startH2C(b, 0, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") })
	b.Run("h2", func(b *testing.B) {
		f := again(b, open(b, full(upstream.HTTP2), h.address()), "GET", nil)
		b.ReportAllocs()
		for b.Loop() {
			f()
		}
	})
}
