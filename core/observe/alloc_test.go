//go:build !race

package observe

import (
	"io"
	"testing"

	"github.com/weirproxy/weir/core/coretest/alloc"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

func TestRecordAllocatesNothing(t *testing.T) {
	r := NewMetrics(Build{}).Lease().Route("chat")
	a := MustAccess(t, AccessLogOptions{WriterOptions: WriterOptions{To: io.Discard}})
	x := sample()
	defer exchange.Release(x)
	x.Record.Fault, x.Record.Reason = fault.UpstreamReset, "reset by \xff peer"
	alloc.Floor(t, func() { r.Record(x) })
	alloc.Floor(t, func() { a.Record(x) })
}

func TestDroppingAllocatesNothing(t *testing.T) {
	stopped := newStoppedWriter()
	defer stopped.resume()
	a := MustAccess(t, AccessLogOptions{WriterOptions: WriterOptions{To: stopped, Buffer: 4096}})
	x := sample()
	defer exchange.Release(x)
	alloc.Floor(t, func() { a.Record(x) })
	if a.Writer().Dropped() == 0 {
		t.Error("nothing was dropped")
	}
	stopped.resume()
}
