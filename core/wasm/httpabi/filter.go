package httpabi

import (
	"context"
	"errors"
	"runtime"
	"time"
	"unsafe"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/abi"
)

// Options are what a filter is given and may use. A zero field takes its default.
type Options struct {
	Name      string
	Config    []byte        // what get_config gives
	CPU       time.Duration // budget of one call; 5 ms
	CPUTotal  time.Duration // of all calls for one exchange; 50 ms
	Start     time.Duration // of an instance's start; 2 s
	Memory    uint64        // cap of one instance in bytes; 32 MiB
	Instances int           // cap of instances; 32 × GOMAXPROCS, at least 64
	BodyLimit int           // bytes of a body that may be buffered for the guest, or written by it; below 0: none; 1 MiB
	Wait      time.Duration // how long a request waits for an instance to come free; 1 s
	Env       []string      // KEY=VALUE
	Log       zerolog.Logger
}

func (o *Options) setDefaults() {
	set(&o.CPU, defaultCPU)
	set(&o.CPUTotal, max(defaultTotal, o.CPU))
	set(&o.Start, defaultStart)
	set(&o.Wait, defaultWait)
	set(&o.Memory, 32<<20)
	// An instance is bound while the upstream works, so their number bounds the requests under way: it must be a
	// multiple of what the cores could keep busy. They are made as needed, and closed when idle.
	set(&o.Instances, max(32*runtime.GOMAXPROCS(0), 64))
	set(&o.BodyLimit, defaultLimit)
	o.BodyLimit = max(o.BodyLimit, 0)
}

func set[T int | uint64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Filter is one http-wasm guest with its configuration, as a filter.Filter. Its instances serve one exchange at a time:
// from handle_request until handle_response has returned.
type Filter struct {
	o        Options
	module   *wasm.Module
	stock    *wasm.Stock
	journal  *abi.Journal
	breaker  abi.Breaker
	failures abi.Failures
	silent   bool // handle_response does nothing

	abi.Phases // what calls have cost
}

var (
	errBusy    = fault.New(fault.GuestBusy, "all instances of the filter are in use")
	errStopped = fault.New(fault.GuestFailed, "filter failed too often and is stopped for a while")
)

// Request calls handle_request.
func (f *Filter) Request(x *exchange.Exchange, slot int) (filter.Verdict, error) {
	g, err := f.acquire()
	if err != nil {
		return filter.Continue, err
	}
	x.Slots[slot] = g
	g.begin(x)
	next, err := g.callRequest(g.budget())
	if err == nil && g.err == nil && next {
		g.passOn()
		g.setAside()
		if f.silent && len(g.presets) == 0 && !g.answer.wrote && len(g.method) == 0 {
			// Nobody could tell whether the empty function was called, and the instance is free while the upstream works.
			x.Slots[slot] = nil
			f.done(g, nil)
		}
		return filter.Continue, nil
	}
	return f.ended(g, slot, next, err)
}

// ended settles a request that the guest did not pass on.
func (f *Filter) ended(g *guest, slot int, next bool, err error) (filter.Verdict, error) {
	x := g.x
	g.restoreMethod()
	x.Slots[slot] = nil
	switch {
	case err != nil:
		g.restore()
		x.ClearResponse()
		err = fault.Wrap(fault.GuestFailed, f.done(g, err))
		return filter.Continue, err
	case g.err != nil:
		g.restore()
		x.ClearResponse()
		return filter.Continue, f.broken(g, next)
	}
	r := &x.Response
	if r.Local = true; r.Status == 0 {
		r.Status = 200
	}
	r.Body.Replace(g.answer.out)
	g.frame()
	f.done(g, nil)
	return filter.Respond, nil
}

// broken ends an exchange that failed while the guest worked on it, by no fault of the guest's.
func (f *Filter) broken(g *guest, next bool) error {
	cause := g.err
	if cause == errRequestLimit || cause == errResponseLimit {
		f.failures.Add(abi.FailedLimit)
	}
	if next {
		g.frozen = true
		f.done(g, g.callResponse(g.budget(), true))
		return cause
	}
	f.done(g, nil)
	return cause
}

// Response calls handle_response, with the whole answer at hand if the guest asked for that, else with its head.
func (f *Filter) Response(x *exchange.Exchange, slot int, failed bool) (filter.Verdict, error) {
	g, ok := x.Slots[slot].(*guest)
	if !ok {
		return filter.Continue, nil
	}
	g.preset()
	if x.Response.Status == 101 && !x.Response.Local {
		g.features &^= featureBufferResponse
	}
	if g.features&featureBufferResponse != 0 {
		if g.buffer(); g.err != nil {
			x.Slots[slot] = nil
			g.restoreMethod()
			return filter.Continue, f.broken(g, true)
		}
	}
	err := g.callResponse(g.budget(), failed)
	x.Slots[slot] = nil
	if err != nil {
		g.restoreMethod()
		return filter.Continue, fault.Wrap(fault.GuestFailed, f.done(g, err))
	}
	if g.err != nil {
		g.restoreMethod()
		return filter.Continue, f.broken(g, false)
	}
	if g.answer.wrote {
		x.Response.Body.Replace(g.answer.out)
		x.Response.Declared = -1
	}
	g.frame()
	g.restoreMethod()
	f.done(g, nil)
	return filter.Continue, nil
}

// buffer holds the whole answer for the guest to read.
func (g *guest) buffer() {
	b := &g.x.Response.Body
	buf := pool.Acquire(pool.Medium)
	p, whole, err := b.Buffer(g.f.o.BodyLimit, buf)
	pool.Release(buf)
	switch {
	case err != nil && !whole:
		g.fail(err)
	case !whole:
		g.fail(errResponseLimit)
	default:
		g.answer.rest = p
	}
}

// acquire takes an instance from the stock.
func (f *Filter) acquire() (*guest, error) {
	ok, trial := f.breaker.Allow()
	if !ok {
		f.failures.Add(abi.FailedStopped)
		return nil, errStopped
	}
	in, err := f.stock.Get(background, f.o.Wait)
	if err == nil {
		g := (*guest)(in.Host)
		g.trial = trial
		return g, nil
	}
	if errors.Is(err, wasm.ErrBusy) {
		f.failures.Add(abi.FailedBusy)
		if trial {
			f.breaker.Settled(false)
		}
		return nil, errBusy
	}
	f.failures.Note(abi.FailedStart, err)
	f.punish(trial)
	return nil, fault.Wrap(fault.GuestFailed, err)
}

var background = context.Background()

// done ends a guest's use for an exchange, once: the instance goes back, or is destroyed if a call trapped, which err
// says. It gives err.
func (f *Filter) done(g *guest, err error) error {
	trial := g.trial
	id := g.x.RequestID
	f.failures.Grown(int64(g.in.Memory().Size()))
	if err == nil {
		g.reset()
		f.stock.Put(g.in)
		if trial {
			f.settled()
		}
		return nil
	}
	f.failures.Note(abi.FailureOf(err), err)
	f.punish(trial)
	f.report(err, id)
	g.visit = visit{}
	f.stock.Discard(g.in)
	return err
}

// punish notes a failure, and settled a trial that went well; the log tells what changes by that.
func (f *Filter) punish(trial bool) {
	if d := f.breaker.Failed(trial); d > 0 {
		f.journal.Stopped(d)
	}
}

func (f *Filter) settled() {
	if f.breaker.Settled(true) {
		f.journal.Back()
	}
}

// report logs a trap with the guest's stack.
func (f *Filter) report(err error, id []byte) {
	if !f.journal.Admit() {
		return
	}
	e := f.journal.Log().Warn().Err(err).Bytes("request_id", id)
	var trap *wasm.Trap
	if errors.As(err, &trap) && trap.Stack != "" {
		e = e.Str("stack", trap.Stack[:min(len(trap.Stack), abi.MaxLine)])
	}
	e.Msg("filter failed")
}

// Close frees the instances and the module. No call is under way or follows.
func (f *Filter) Close() error {
	err := f.stock.Close(background)
	_ = f.module.Close()
	return err
}

// setup makes the host's side of a new instance.
func (f *Filter) setup(in *wasm.Instance) error {
	in.Host = unsafe.Pointer(&guest{f: f, in: in})
	return nil
}

// ready looks up what will be called.
func (f *Filter) ready(in *wasm.Instance) (err error) {
	g := (*guest)(in.Host)
	if g.request, err = in.Func(exportRequest); err != nil {
		return err
	}
	g.response, err = in.Func(exportResponse)
	f.Observe(abi.PhaseStart, in.CPU())
	return err
}
