package wasm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrBusy: no instance came free within the wait.
var ErrBusy = errors.New("all instances are in use")

// StockOptions bounds a stock. A zero field takes its default.
type StockOptions struct {
	Min      int           // instances made by OpenStock and kept when idle; default 1
	Max      int           // instances at once; default 4 × GOMAXPROCS
	Uses     int           // calls after which an instance is replaced; default 10,000
	Age      time.Duration // time after which a returned instance is replaced, up to an eighth earlier; default 10 minutes
	Memory   uint64        // bytes of linear memory above which a returned instance is replaced; default three quarters of the module's cap
	TTL      time.Duration // idle time after which an instance above Min is closed; default 1 minute
	Retry    time.Duration // first pause after a failed instantiation; default 1 s
	RetryMax time.Duration // longest pause; it doubles with every failure; default 60 s
	Instance InstanceOptions
}

func (o *StockOptions) setDefaults(m *Module) {
	pick(&o.Min, 1)
	pick(&o.Max, 4*runtime.GOMAXPROCS(0))
	o.Max = max(o.Max, 1)
	o.Min = min(o.Min, o.Max)
	pick(&o.Uses, 10_000)
	pick(&o.Age, 10*time.Minute)
	pick(&o.Memory, m.code.memory/4*3)
	pick(&o.TTL, time.Minute)
	pick(&o.Retry, time.Second)
	pick(&o.RetryMax, time.Minute)
}

func pick[T int | uint64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// StockStats are counters of a stock; the first two rise and fall.
type StockStats struct {
	Live, InUse               int64
	Made, Waits, Timeouts     int64
	Discards, Recycled, Fails int64
}

// Stock is a bounded set of instances of one module. Its methods may be called concurrently. An instance belongs to
// whoever got it until it is given back by exactly one Put or Discard.
type Stock struct {
	m *Module
	o StockOptions

	mu      sync.Mutex
	idle    []idleInstance // oldest first; taken from the end
	first   *waiter        // longest waiting
	last    *waiter
	free    *waiter
	live    int
	closed  bool
	drained chan struct{} // closed once the stock is closed and nothing is lent out
	trimmer *time.Timer
	filling bool // an instance is being made in the background

	background sync.WaitGroup // trims and fills

	pause   time.Duration
	retryAt time.Time
	lastErr error

	nLive, nUse, nMade, nWaits, nTimeouts, nDiscards, nRecycled, nFails atomic.Int64
}

type idleInstance struct {
	in    *Instance
	since time.Time
}

// waiter is one goroutine in line. It is given an instance, or leave to make one, or an error.
type waiter struct {
	ready      chan struct{} // cap 1
	timer      *time.Timer
	prev, next *waiter
	queued     bool
	in         *Instance
	err        error
}

// OpenStock makes a stock and its first Min instances. The module stays the caller's and must outlive the stock.
func OpenStock(ctx context.Context, m *Module, o StockOptions) (*Stock, error) {
	o.setDefaults(m)
	s := &Stock{m: m, o: o, idle: make([]idleInstance, 0, o.Max), drained: make(chan struct{})}
	for range o.Min {
		in, err := m.Instantiate(ctx, o.Instance)
		if err != nil {
			_ = s.Close(ctx)
			return nil, err
		}
		s.live++
		s.limit(in)
		s.idle = append(s.idle, idleInstance{in, time.Now()})
		s.nLive.Add(1)
		s.nMade.Add(1)
	}
	return s, nil
}

// limit sets when an instance is old. Those made together do not grow old together, or a node's filters would all start
// anew at one time.
func (s *Stock) limit(in *Instance) {
	in.until = time.Now().Add(s.o.Age - rand.N(s.o.Age/8+1))
}

// Stats reads the counters.
func (s *Stock) Stats() StockStats {
	return StockStats{
		Live: s.nLive.Load(), InUse: s.nUse.Load(), Made: s.nMade.Load(), Waits: s.nWaits.Load(),
		Timeouts: s.nTimeouts.Load(), Discards: s.nDiscards.Load(), Recycled: s.nRecycled.Load(), Fails: s.nFails.Load(),
	}
}

// Get takes an idle instance, makes one if there may be more, or waits in line for one to come back. It gives up with
// ErrBusy after wait (at once if that is zero), with ctx's error when ctx ends, and with the last error of
// instantiation while that is backed off and no instance is left to wait for.
func (s *Stock) Get(ctx context.Context, wait time.Duration) (*Instance, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, fmt.Errorf("stock of %s is %w", s.m.o.Name, errClosed)
	}
	if n := len(s.idle); n > 0 {
		in := s.idle[n-1].in
		s.idle[n-1].in = nil
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		s.nUse.Add(1)
		return in, nil
	}
	if s.mayMake() {
		s.live++
		s.mu.Unlock()
		return s.make(ctx)
	}
	if s.live == 0 {
		err := s.lastErr
		s.mu.Unlock()
		return nil, fmt.Errorf("instantiation of %s is backed off: %w", s.m.o.Name, err)
	}
	if wait <= 0 {
		s.mu.Unlock()
		s.nTimeouts.Add(1)
		return nil, ErrBusy
	}
	w := s.enqueue(wait)
	s.mu.Unlock()
	s.nWaits.Add(1)
	return s.await(ctx, w)
}

// mayMake reports whether an instance may be made now.
func (s *Stock) mayMake() bool {
	return s.live < s.o.Max && (s.retryAt.IsZero() || !time.Now().Before(s.retryAt))
}

// make makes an instance in the place already counted in s.live.
func (s *Stock) make(ctx context.Context) (*Instance, error) {
	in, err := s.m.Instantiate(ctx, s.o.Instance)
	s.mu.Lock()
	if err == nil {
		s.limit(in)
		s.pause, s.retryAt, s.lastErr = 0, time.Time{}, nil
		s.mu.Unlock()
		s.nLive.Add(1)
		s.nMade.Add(1)
		s.nUse.Add(1)
		return in, nil
	}
	s.pause = min(max(2*s.pause, s.o.Retry), s.o.RetryMax)
	s.retryAt, s.lastErr = time.Now().Add(s.pause), err
	s.vacate()
	s.mu.Unlock()
	s.nFails.Add(1)
	return nil, err
}

// vacate gives up a place in s.live: to the first in line if it may make an instance; and if nothing is left to wait
// for, nobody waits.
func (s *Stock) vacate() {
	s.live--
	if s.first != nil && s.mayMake() {
		s.live++
		s.dequeue().give(nil, nil)
	}
	for s.live == 0 && s.first != nil {
		s.dequeue().give(nil, s.lastErr)
	}
	s.checkDrained()
}

func (s *Stock) checkDrained() {
	if s.closed && s.live == 0 {
		select {
		case <-s.drained:
		default:
			close(s.drained)
		}
	}
}

// Put gives an instance back. What has trapped, has grown too large or has served long enough, by calls or by time, is
// closed instead.
func (s *Stock) Put(in *Instance) {
	now := time.Now()
	worn := in.uses >= s.o.Uses || in.mem.Size() > s.o.Memory || now.After(in.until)
	if in.trap != nil || in.level > 0 {
		s.Discard(in)
		return
	}
	s.mu.Lock()
	if worn || s.closed {
		if worn {
			s.nRecycled.Add(1)
		}
		s.remove(in)
		return
	}
	if s.first != nil {
		s.dequeue().give(in, nil)
		s.mu.Unlock()
		s.nUse.Add(-1)
		return
	}
	s.idle = append(s.idle, idleInstance{in, now})
	if len(s.idle) > s.o.Min && s.trimmer == nil {
		s.background.Add(1)
		s.trimmer = time.AfterFunc(s.o.TTL, s.trim)
	}
	s.mu.Unlock()
	s.nUse.Add(-1)
}

// Discard closes an instance that must not be used again.
func (s *Stock) Discard(in *Instance) {
	s.nDiscards.Add(1)
	s.mu.Lock()
	s.remove(in)
}

// remove takes an instance that was lent out off the books, unlocks s.mu and closes the instance.
func (s *Stock) remove(in *Instance) {
	s.mu.Unlock()
	// Closed before its place is given away, so that Max also bounds memory.
	in.Close()
	s.nUse.Add(-1)
	s.nLive.Add(-1)
	s.mu.Lock()
	s.vacate()
	if s.closed || s.filling || len(s.idle) >= s.o.Min || !s.mayMake() {
		s.mu.Unlock()
		return
	}
	s.filling = true
	s.live++
	s.background.Add(1)
	s.mu.Unlock()
	go s.fill()
}

// fill makes an instance in the place of one that was closed, already counted in s.live, so that the next request need not.
func (s *Stock) fill() {
	defer s.background.Done()
	if in, err := s.make(context.Background()); err == nil {
		s.Put(in)
	}
	s.mu.Lock()
	s.filling = false
	s.mu.Unlock()
}

// trim closes what has been idle for TTL, and comes again while there is more than Min.
func (s *Stock) trim() {
	defer s.background.Done()
	s.mu.Lock()
	var old []idleInstance
	limit := time.Now().Add(-s.o.TTL)
	n := 0
	for !s.closed && len(s.idle)-n > s.o.Min && !s.idle[n].since.After(limit) {
		n++
	}
	old = append(old, s.idle[:n]...)
	s.idle = slices.Delete(s.idle, 0, n)
	s.live -= n
	if !s.closed && len(s.idle) > s.o.Min {
		s.background.Add(1)
		s.trimmer = time.AfterFunc(max(s.idle[0].since.Sub(limit), time.Millisecond), s.trim)
	} else {
		s.trimmer = nil
	}
	s.mu.Unlock()
	for _, i := range old {
		i.in.Close()
		s.nLive.Add(-1)
	}
}

// Close closes idle instances, turns away everybody in line, and waits until those lent out have come back, which are
// closed as they come. If ctx ends first its error is returned and the rest goes on by itself.
func (s *Stock) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	idle := s.idle
	s.idle = nil
	s.live -= len(idle)
	for s.first != nil {
		s.dequeue().give(nil, fmt.Errorf("stock of %s is %w", s.m.o.Name, errClosed))
	}
	if s.trimmer != nil && s.trimmer.Stop() {
		s.background.Done()
	}
	s.trimmer = nil
	s.checkDrained()
	s.mu.Unlock()
	for _, i := range idle {
		i.in.Close()
		s.nLive.Add(-1)
	}
	s.background.Wait()
	select {
	case <-s.drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
