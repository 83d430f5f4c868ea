package h2

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wire"
)

// TestBothRoles: 1,000 streams at once over ten connections from our client to our server, each with a body and trailers both
// ways.
func TestBothRoles(t *testing.T) {
	const connections, each = 10, 100
	var here atomic.Int64
	all := make(chan struct{})
	r := startServer(t, Settings{}, func(x *exchange.Exchange, _ error) {
		if here.Add(1) == connections*each {
			close(all)
		}
		<-all
		body, err := drain(x)
		if err != nil {
			t.Error(err)
			x.Down.Abort()
			return
		}
		x.Response.Status = 200
		x.Response.Trailer.AddString("X-Got", x.Request.Trailer.Get("x-sum"))
		if x.Down.WriteHead(x, -1) != nil || x.Down.WriteBody(body, true) != nil || x.Down.Finish(&x.Response.Trailer) != nil {
			x.Down.Abort()
		}
	})
	var wg sync.WaitGroup
	for range connections {
		c := connect(t, r.ln, Settings{})
		for i := range each {
			wg.Go(func() {
				sum := []byte(fmt.Sprint(i))
				sent := bytes.Repeat(sum, i*20)
				x := exchange.Acquire()
				defer exchange.Release(x)
				x.Request.Method, x.Request.Target = []byte("POST"), []byte("/")
				x.Request.Trailer.AddString("X-Sum", sum)
				k, err := c.Open()
				if err != nil {
					t.Error(err)
					return
				}
				defer k.Close()
				if err := k.WriteHead(&x.Request, host, false, -1); err != nil {
					t.Error(err)
				}
				if err := k.WriteBody(sent, true); err != nil {
					t.Error(err)
				}
				if err := k.Finish(&x.Request.Trailer); err != nil {
					t.Error(err)
				}
				if err := k.ReadHead(x, &wire.Defaults, 0, 0); err != nil {
					t.Error(err)
					return
				}
				got, err := readAll(x)
				if err != nil || !bytes.Equal(got, sent) || !bytes.Equal(x.Response.Trailer.Get("x-got"), sum) || !k.Whole() {
					t.Errorf("call %d: %d bytes of %d, %v", i, len(got), len(sent), err)
				}
			})
		}
	}
	wg.Wait()
}
