// Package proxy walks one request through the pipeline. This file is the walk; each stage has a file of its own.
package proxy

import (
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/upstream"
)

// walk is one exchange on its way: where it is, and what must be let go at the end.
type walk struct {
	p     *plan.Plan
	l     *plan.Listener
	x     *exchange.Exchange
	rt    *plan.Route
	call  *upstream.Call // nil: no upstream has been asked, or its part is over
	timer *time.Timer    // of the route's timeout
	trail trail          // the filters on the way
	done  bool           // x.Response is the answer; what is left of the request's way is not walked
	loose bool           // the plan is no longer pinned

	upgrade bool               // the client's request is a handshake
	asks    bool               // it is a preflight
	page    []byte             // the one Origin that the client named
	origin  []byte             // what answers say of who may read them; nil: nothing
	allow   []byte             // the methods that would have found a route
	copy    *exchange.Exchange // for the route's mirror, until it is on its way
	tap     []byte             // lent by pool: gets the body of the copy; nil: it has none

	auth  *plan.Auth // what x.Identity has been established by
	spent bool       // credentials have been dropped
	paid  []charge   // limits that have been charged, on routes with filters

	method, path, query []byte // as the client sent them, for the log and our own answers: filters and rewrites change the request's

	resolve func(string) (string, bool)
}

// stage is one step of a request.
type stage struct {
	name string
	run  func(*walk) error
}

// pipeline is the order of a request's stages, fixed for every route.
var pipeline = [...]stage{
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
	for err != nil && w.answered(err) {
		err = w.respond(false)
	}
	if err != nil {
		w.fail(err)
	}
}

// request walks the stages. Where a filter has changed what routes are found by, it begins again with the route: what has
// been done for the exchange already, and is the same for the new one, the stages do not do twice.
func (w *walk) request() error {
	for i := 0; i < len(pipeline) && !w.done; i++ {
		if err := pipeline[i].run(w); err != nil {
			return err
		}
		if w.x.Reroute {
			i = routing - 1
		}
	}
	return nil
}

// routing is the place of the stage that finds the route.
var routing = slices.IndexFunc(pipeline[:], func(s stage) bool { return s.name == "route" })

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
	if w.trail.n > 0 || w.loose {
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
	*w = walk{resolve: w.resolve, paid: w.paid[:0]}
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
	w.trail.left = 0
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
