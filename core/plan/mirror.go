package plan

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/metric"
)

// Mirror sends copies of a route's requests to another upstream. Any goroutine may use it while the plan is pinned.
type Mirror struct {
	Upstream *Upstream
	Copies   *metric.Indexed // by outcome: MirrorSent and its like

	share float64
	taken atomic.Int64 // places, of MaxCopies

	mu    sync.Mutex
	under map[*exchange.Exchange]exchange.Handle // copies under way
	idle  sync.WaitGroup                         // until none is
}

// What became of a copy.
const (
	MirrorSent   = iota // and answered, whatever the answer
	MirrorFailed        // no answer was had, or not all of it
	MirrorBusy          // too many were held or under way
	MirrorLarge         // its body is larger than what is copied
	MirrorCut           // the request's own body did not come to its end
)

var mirrorOutcomes = []string{MirrorSent: "sent", MirrorFailed: "failed", MirrorBusy: "busy", MirrorLarge: "large", MirrorCut: "cut"}

// MirrorTimeout is the most that a copy may take, from its first byte to the last of its answer.
const MirrorTimeout = 10 * time.Second

// MaxCopies is the most copies of one route's requests that are held or under way at once; more are not made.
const MaxCopies = 256

// mirror makes a route's mirror; nil if it has none.
func (b *builder) mirror(r *config.Route) *Mirror {
	c := r.Mirror
	if c == nil || b.upstreams[c.Upstream] == nil {
		return nil
	}
	m := &Mirror{
		Upstream: b.upstreams[c.Upstream], Copies: b.lease.Mirror(r.Name, mirrorOutcomes), share: c.Share,
		under: map[*exchange.Exchange]exchange.Handle{},
	}
	b.owns(m.close)
	return m
}

// Take decides by chance whether a request is copied, and takes a place for the copy; Give gives it back.
func (m *Mirror) Take() bool {
	if m.share < 1 && rand.Float64() >= m.share {
		return false
	}
	if m.taken.Add(1) > MaxCopies {
		m.Give(MirrorBusy)
		return false
	}
	return true
}

// Give gives a place back and counts what became of the copy.
func (m *Mirror) Give(outcome int) {
	m.taken.Add(-1)
	m.Copies.Inc(outcome)
}

// Begin makes a copy one that is under way: until End it is cancelled if the plan closes.
func (m *Mirror) Begin(x *exchange.Exchange) {
	m.idle.Add(1)
	m.mu.Lock()
	m.under[x] = x.Handle()
	m.mu.Unlock()
}

// End is called once for each Begin, before x is released.
func (m *Mirror) End(x *exchange.Exchange) {
	m.mu.Lock()
	delete(m.under, x)
	m.mu.Unlock()
	m.idle.Done()
}

var errClosed = fault.New(fault.Draining, "the plan of a copy has closed")

// close ends the copies under way and waits for them: they use the plan's upstreams.
func (m *Mirror) close() error {
	m.mu.Lock()
	for _, h := range m.under {
		h.Cancel(errClosed)
	}
	m.mu.Unlock()
	m.idle.Wait()
	return nil
}
