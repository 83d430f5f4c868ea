// Package proxy walks one request through the pipeline. This file is the walk; each stage has a file of its own.
package proxy

import (
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/upstream"
	"github.com/weirproxy/weir/core/wasm"
)

// walk is one exchange on its way: where it is, and what must be let go at the end.
type walk struct {
	p      *plan.Plan
	l      *plan.Listener
	x      *exchange.Exchange
	rt     *plan.Route
	call   *upstream.Call // nil: no upstream has been asked, or its part is over
	timer  *time.Timer    // of the route's timeout
	passed int            // filters of rt.Chain that have let the request through: the answer passes them in reverse
	done   bool           // x.Response is the answer; what is left of the request's way is not walked
	loose  bool           // the plan is no longer pinned

	upgrade bool               // the client's request is a handshake
	asks    bool               // it is a preflight
	origin  []byte             // what answers say of who may read them; nil: nothing
	allow   []byte             // the methods that would have found a route
	copy    *exchange.Exchange // for the route's mirror, until it is on its way
	tap     []byte             // lent by pool: gets the body of the copy; nil: it has none

	method, path, query []byte // as the client sent them, for the log and our own answers: filters and rewrites change the request's

	resolve func(string) (string, bool)
}

// pipeline is the order of a request's stages, fixed for every route.
var pipeline = [...]struct {
	name string
	run  func(*walk) error
}{
	{"guard", (*walk).guard},          // before all else: later stages and logs need the real client and an id
	{"health", (*walk).health},        // before routing: a probe of the listener is no business of its routes
	{"challenge", (*walk).challenge},  // before routing, too: an authority's question belongs to no route
	{"route", (*walk).route},          // the settings of every later stage are the route's
	{"ip", (*walk).checkIP},           // costs nothing and needs nothing
	{"preflight", (*walk).preflight},  // browsers send no credential with it, and it must not spend the budget of what it asks for
	{"early limits", (*walk).early},   // before authentication, or a flood of bad tokens buys verifications
	{"edge filters", (*walk).edge},    // may change what is authenticated, and still pay for it by limits above
	{"identify", (*walk).identify},    // before all that asks who it is
	{"spent", (*walk).dropSpent},      // once read, a credential that must not reach the upstream is of no use
	{"require", (*walk).require},      // a refusal of rights must not use up the budget of the one refused
	{"identity filters", (*walk).mid}, // know who it is; may refuse before the budget is charged
	{"late limits", (*walk).late},     // by identity: the last of the cheap refusals
	{"filters", (*walk).last},         // the default slot: sees only what will go to the upstream
	{"rewrite", (*walk).rewrite},      // filters saw the path that was routed on
	{"send", (*walk).send},            // breaker, endpoint, connection, request out, head of the answer in
}

// Serve walks x, which came in over l, through p's pipeline and answers it through x.Down. It returns when the answer
// has been sent to its last byte, or can't be any more; the exchange has been recorded then. p is pinned by the caller,
// who unpins it after releasing x, unless Serve reports that it has done so already: while a long answer streamed.
func Serve(p *plan.Plan, l *plan.Listener, x *exchange.Exchange) (unpinned bool) {
	w := acquire(p, l, x)
	w.serve()
	return w.end()
}

func acquire(p *plan.Plan, l *plan.Listener, x *exchange.Exchange) *walk {
	w := walks.Get().(*walk)
	w.p, w.l, w.x, w.rt = p, l, x, p.Nowhere()
	w.method, w.path, w.query = x.Request.Method, x.Request.Path, x.Request.Query
	w.upgrade = x.Request.Upgrade
	return w
}

func (w *walk) serve() {
	defer w.recover()
	err := w.request()
	if err == nil {
		err = w.respond(false)
	}
	if err != nil {
		w.fail(err)
	}
}

func (w *walk) request() error {
	for i := range pipeline {
		if err := pipeline[i].run(w); err != nil || w.done {
			return err
		}
	}
	return nil
}

// Refuse answers a request that could not be read, and records it.
func Refuse(p *plan.Plan, x *exchange.Exchange, err error) {
	w := acquire(p, nil, x)
	x.NewRequestID()
	w.fail(err)
	w.end()
}

// loosen lets go of the plan while an answer streams, perhaps for days, so that it can be closed: all that is still
// needed of it is plain data, and the log. Filters, which the plan owns, keep it: their state ends with the exchange.
func (w *walk) loosen() {
	if len(w.rt.Chain) > 0 || w.loose {
		return
	}
	if log := w.p.AccessLog; log != nil {
		log.Hold()
	}
	w.loose = true
	w.p.Unpin()
}

// end lets go of everything and records the exchange: always, whatever happened.
func (w *walk) end() (unpinned bool) {
	x := w.x
	if w.timer != nil {
		w.timer.Stop()
	}
	kind := x.Record.Fault
	if w.call != nil {
		var err error
		if kind != fault.None {
			err = faults[kind]
		}
		w.call.Close(err)
	}
	w.release(true)
	x.Record.End = clock.Nano()
	x.Record.BytesIn = x.Request.Body.Pulled()
	x.Request.Method, x.Request.Path, x.Request.Query = w.method, w.path, w.query
	w.rt.Metrics.Record(x)
	if log := w.p.AccessLog; log != nil {
		log.Record(x)
		if w.loose {
			log.Drop()
		}
	}
	unpinned = w.loose
	*w = walk{resolve: w.resolve}
	walks.Put(w)
	return unpinned
}

// recover answers a panic of ours: the process lives, the connection does not.
func (w *walk) recover() {
	r := recover()
	if r == nil {
		return
	}
	w.p.Shared.Log.Error().Interface("panic", r).Str("route", w.rt.Name).Bytes("stack", debug.Stack()).Msg("panic while serving a request")
	w.x.Request.Close = true
	w.passed = 0
	defer func() {
		if recover() != nil {
			w.x.Down.Abort()
		}
	}()
	w.fail(errPanic)
}

var errPanic = fault.New(fault.Internal, "panic")

// faults has one shared value a kind, for those who only need the kind.
var faults = func() (all [256]*fault.Fault) {
	for k := range all {
		all[k] = &fault.Fault{Kind: fault.Kind(k)}
	}
	return all
}()

var walks = sync.Pool{New: func() any {
	w := &walk{}
	w.resolve = w.template
	return w
}}

// slot runs the filters of one slot.
func (w *walk) slot(s filter.Slot) error {
	for w.passed < w.rt.Ends[s] {
		f := &w.rt.Chain[w.passed]
		f.Metrics.Calls.Inc(plan.OnRequest)
		verdict, err := f.Filter.Request(w.x, w.passed)
		if err != nil {
			countFailure(f, err)
			if !f.FailOpen || fault.KindOf(err).Source() == fault.Client {
				w.x.Record.Filter = f.Name
				return err
			}
			verdict = filter.Continue
		}
		switch verdict {
		case filter.Respond:
			w.x.Record.Filter = f.Name
			w.x.Response.Local = true
			w.done = true
			return nil
		case filter.Reset:
			w.x.Record.Filter = f.Name
			return errReset
		}
		w.passed++
	}
	return nil
}

// countFailure counts an error of a filter, and by itself what a guest did to deserve it.
func countFailure(f *plan.Placed, err error) {
	f.Metrics.Errors.Inc(int(fault.KindOf(err)))
	var trap *wasm.Trap
	if errors.As(err, &trap) {
		f.Metrics.Traps.Inc()
	}
	if errors.Is(err, wasm.ErrBudget) {
		f.Metrics.BudgetStops.Inc()
	}
}

func (w *walk) edge() error { return w.slot(filter.Edge) }
func (w *walk) mid() error  { return w.slot(filter.Identity) }
func (w *walk) last() error { return w.slot(filter.Upstream) }

// errReset ends an exchange without an answer, on a filter's word.
var errReset = fault.New(fault.FilterReset, "reset by a filter")
