//go:build !race

package observe

import (
	"io"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

func TestRecordAllocatesNothing(t *testing.T) {
	r := NewMetrics(Build{}).Lease().Route("chat")
	a := MustAccess(t, AccessLogOptions{WriterOptions: WriterOptions{To: io.Discard}})
	x := sample()
	defer exchange.Release(x)
	x.Record.Fault, x.Record.Reason = fault.UpstreamReset, "reset by \xff peer"
	floor(t, func() { r.Record(x) })
	floor(t, func() { a.Record(x) })
}

func TestDroppingAllocatesNothing(t *testing.T) {
	stopped := newStoppedWriter()
	defer stopped.resume()
	a := MustAccess(t, AccessLogOptions{WriterOptions: WriterOptions{To: stopped, Buffer: 4096}})
	x := sample()
	defer exchange.Release(x)
	floor(t, func() { a.Record(x) })
	if a.Writer().Dropped() == 0 {
		t.Error("nothing was dropped")
	}
	stopped.resume()
}

// floor fails unless the least of five windows of 1,000 calls allocates nothing.
func floor(t *testing.T, call func()) {
	t.Helper()
	for range 1000 {
		call()
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := ^uint64(0)
	var before, after runtime.MemStats
	for range 5 {
		runtime.ReadMemStats(&before)
		for range 1000 {
			call()
		}
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	if least != 0 {
		t.Errorf("%d allocations in 1,000 calls", least)
	}
}
