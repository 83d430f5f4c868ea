package proxyabi

import (
	"sync/atomic"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
)

// bursting is an upstream whose answers panic when they are read.
type bursting struct {
	asked, closed atomic.Int64
	kind          atomic.Int64 // of the fault that the last was closed with
}

func (*bursting) Find(string) (http2, ok bool) { return true, true }

func (b *bursting) Ask(_ string, y *exchange.Exchange) (filter.Call, error) {
	b.asked.Add(1)
	y.Response.Status = 200
	y.Response.Body.Init(-1, b)
	return b, nil
}

func (*bursting) Read([]byte) (int, error) { panic("burst") }
func (*bursting) Whole() bool              { return false }

func (*bursting) Explain(err error) error { return err }
func (b *bursting) Close(err error) {
	b.closed.Add(1)
	b.kind.Store(int64(fault.KindOf(err)))
}

// A panic while an answer is read leaves no call behind: the upstream would have a place less for ever.
func TestCallsAreClosedAfterAPanic(t *testing.T) {
	c := newCaller(t)
	b := &bursting{}
	defer c.p.Join(b)()
	id := c.must(callRequest{to: "a"})
	c.answered(0, id)
	c.sh.mu.Lock()
	args := append(c.texts("b", "s", "m", "", "x"), 0, outID)
	if st := c.callLocked("proxy_grpc_call", args...); st != statusOK {
		t.Error(st)
	}
	c.sh.mu.Unlock()
	if n := c.told(1); n.kind != noteClose {
		t.Error(n)
	}
	c.over()
	if b.asked.Load() != 2 || b.closed.Load() != 2 || b.kind.Load() != int64(fault.Internal) {
		t.Errorf("%d asked, %d closed, the last with %d", b.asked.Load(), b.closed.Load(), b.kind.Load())
	}
	if n := said(c.log, "panic during a filter's call"); n != 2 {
		t.Errorf("%d panics in the log", n)
	}
}
