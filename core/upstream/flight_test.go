package upstream

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

// Many come and go, some give up, some are thrown out: there are never too many in flight, no place is lost and nobody is
// forgotten in the queue.
func TestFlightHammer(t *testing.T) {
	const max, workers, each = 4, 32, 300
	var f flight
	var in, most, served, refused, gone atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range each {
				x := exchange.Acquire()
				q := QueueOptions{Max: 8, Wait: time.Duration(1+rand.N(20)) * time.Millisecond}
				if i%5 == 0 {
					h := x.Handle()
					timer := time.AfterFunc(rand.N(3*time.Millisecond), func() { h.Cancel(fault.New(fault.ClientGone, "")) })
					defer timer.Stop()
				}
				err := f.enter(x, max, &q)
				switch {
				case err == nil:
					n := in.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					if i%3 == 0 {
						timer := time.NewTimer(rand.N(200 * time.Microsecond))
						<-timer.C
					}
					in.Add(-1)
					served.Add(1)
					f.leave()
				case fault.KindOf(err) == fault.UpstreamBusy:
					refused.Add(1)
				case fault.KindOf(err) == fault.ClientGone:
					gone.Add(1)
				default:
					t.Error(err)
				}
				exchange.Release(x)
			}
		})
	}
	wg.Wait()
	if f.n.Load() != 0 || f.waiting.Load() != 0 || f.first != nil || f.last != nil {
		t.Errorf("%d in flight, %d wait", f.n.Load(), f.waiting.Load())
	}
	if most.Load() > max || served.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d at once, %d served, %d refused", most.Load(), served.Load(), refused.Load())
	}
	t.Logf("%d served, %d refused, %d gone, %d at once", served.Load(), refused.Load(), gone.Load(), most.Load())
}
