package observe

import (
	"sync"
	"sync/atomic"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/metric"
)

// RouteMetrics counts the requests of one route.
type RouteMetrics struct {
	m       *Metrics
	name    string
	in, out *metric.Counter
	cells   [len(methods)][len(classes)]atomic.Pointer[cell]

	mu   sync.Mutex // of making cells
	done bool
}

// cell is a method and a class of status codes. The number of requests is the histogram's count: counted once, shown
// under two names.
type cell struct {
	time  *metric.Histogram
	count *metric.Callback
}

func newRouteMetrics(m *Metrics, name string) *RouteMetrics {
	return &RouteMetrics{m: m, name: name, in: m.bytes.Acquire(name, "in"), out: m.bytes.Acquire(name, "out")}
}

// Record counts an exchange that is over: x.Record.End is set, x.Response.Status is what the client was sent, or 0. Any
// goroutine; it does not allocate once the method and class have been seen on this route.
func (r *RouteMetrics) Record(x *exchange.Exchange) {
	rec := &x.Record
	p := &r.cells[methodIndex(x.Request.Method)][classIndex(status(x))]
	c := p.Load()
	if c == nil {
		c = r.first(p, methods[methodIndex(x.Request.Method)], classes[classIndex(status(x))])
	}
	stripe := metric.Stripe()
	c.time.ObserveAt(stripe, rec.End-rec.Start)
	if rec.BytesIn > 0 {
		r.in.AddAt(stripe, uint64(rec.BytesIn))
	}
	if rec.BytesOut > 0 {
		r.out.AddAt(stripe, uint64(rec.BytesOut))
	}
	if rec.Fault != fault.None {
		r.m.Fault(rec.Fault)
	}
}

// Release is for the lease.
func (r *RouteMetrics) Release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = true
	r.in.Release()
	r.out.Release()
	for i := range r.cells {
		for j := range r.cells[i] {
			if c := r.cells[i][j].Load(); c != nil {
				c.time.Release()
				c.count.Release()
			}
		}
	}
}

func (r *RouteMetrics) first(p *atomic.Pointer[cell], method, class string) *cell {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := p.Load(); c != nil {
		return c
	}
	c := &cell{}
	if !r.done { // else a late request of a plan that is gone: nil counts nothing
		c.time = r.m.durations.Acquire(r.name, method, class)
		c.count = r.m.requests.Acquire(func() float64 { return float64(c.time.Count()) }, r.name, method, class)
	}
	p.Store(c)
	return c
}

// status is what the client was sent, or would have been had it stayed; 0 if the connection was ended without an answer.
func status(x *exchange.Exchange) int {
	if s := x.Response.Status; s != 0 || x.Record.Fault == fault.None {
		return s
	}
	return x.Record.Fault.Status()
}

var classes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

func classIndex(status int) int {
	if c := status / 100; c >= 1 && c <= 5 {
		return c
	}
	return 0
}

// methods are the nine of RFC 9110 §9.3 and RFC 5789; clients make up others, which must not make up series.
var methods = [...]string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "OTHER"}

func methodIndex(m []byte) int {
	switch string(m) {
	case "GET":
		return 0
	case "HEAD":
		return 1
	case "POST":
		return 2
	case "PUT":
		return 3
	case "DELETE":
		return 4
	case "CONNECT":
		return 5
	case "OPTIONS":
		return 6
	case "TRACE":
		return 7
	case "PATCH":
		return 8
	}
	return 9
}
