package proxy

import (
	"errors"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/wasm"
)

var (
	// errReset ends an exchange without an answer, on a filter's word.
	errReset = fault.New(fault.FilterReset, "reset by a filter")
	errSlots = fault.New(fault.GuestFailed, "more filters on the routes of one exchange than there is room for")
)

// trail is the filters that an exchange has come to, on all its routes. A filter's index is its slot in x.Slots; the answer
// goes back along the trail.
type trail struct {
	all  [exchange.MaxSlots]*plan.Placed
	n    int  // filters in it
	left int  // all[:left] are to see the answer
	next int  // the next one of the route's chain
	back bool // the answer is on its way
}

// met reports whether the exchange has come to f on a route before.
func (t *trail) met(f *plan.Placed) bool {
	for _, g := range t.all[:t.n] {
		if g.Number == f.Number {
			return true
		}
	}
	return false
}

func (w *walk) edge() error { return w.slot(filter.Edge) }
func (w *walk) mid() error  { return w.slot(filter.Identity) }
func (w *walk) last() error { return w.slot(filter.Upstream) }

// slot runs the filters of one slot, until one of them has an answer or wants another route.
func (w *walk) slot(s filter.Slot) error {
	t := &w.trail
	for t.next < w.rt.Ends[s] && !w.done && !w.x.Reroute {
		f := &w.rt.Chain[t.next]
		t.next++
		if t.met(f) {
			continue
		}
		if t.n == len(t.all) {
			return errSlots
		}
		t.all[t.n] = f
		t.n++
		if err := w.judge(f, t.n-1); err != nil {
			return err
		}
	}
	return nil
}

// judge has a filter look at the request.
func (w *walk) judge(f *plan.Placed, slot int) error {
	x, t := w.x, &w.trail
	f.Metrics.Calls.Inc(plan.OnRequest)
	verdict, err := f.Filter.Request(x, slot)
	if err != nil {
		if !w.forgives(f, err, fault.KindOf(err).Source() != fault.Client) {
			return err
		}
		verdict = filter.Continue
	}
	switch verdict {
	case filter.Respond, filter.Reply:
		x.Record.Filter = f.Name
		x.Response.Local, w.done = true, true
		if verdict == filter.Respond {
			return nil
		}
	case filter.Reset:
		x.Record.Filter = f.Name
		return errReset
	}
	t.left = t.n
	return nil
}

// back takes the answer to the filters on the trail, the last one first. None sees two answers.
func (w *walk) back(failed bool) error {
	x, t := w.x, &w.trail
	t.back = true
	for t.left > 0 {
		t.left--
		f := t.all[t.left]
		f.Metrics.Calls.Inc(plan.OnResponse)
		verdict, err := f.Filter.Response(x, t.left, failed)
		if err != nil {
			if !w.forgives(f, err, fault.KindOf(err).Source() == fault.Guest) {
				return err
			}
			verdict = filter.Continue
		}
		switch verdict {
		case filter.Respond, filter.Reply:
			x.Record.Filter = f.Name
			x.Response.Local = true
		case filter.Reset:
			x.Record.Filter = f.Name
			return errReset
		}
	}
	return nil
}

// forgives counts an error of f, and reports whether the exchange goes on as if f were not there: if the error is f's own and
// f may fail. What ends a call because the exchange has been cancelled, or another filter answers it, is no failure of f.
func (w *walk) forgives(f *plan.Placed, err error, own bool) bool {
	if w.x.Cause() != nil || fault.KindOf(err) == fault.FilterAnswered {
		return false
	}
	countFailure(f, err)
	if own && f.FailOpen {
		return true
	}
	w.x.Record.Filter = f.Name
	return false
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

// answered makes the answer that err is, if it is a filter's to a body and nothing has been sent. It goes back to that filter
// and those before it, but not to who has seen an answer.
func (w *walk) answered(err error) bool {
	x, t := w.x, &w.trail
	if w.call != nil {
		err = w.call.Explain(err)
	}
	a := answerIn(err)
	if a == nil || x.Sent || x.Cause() != nil || a.Slot < 0 || a.Slot >= t.n {
		return false
	}
	if w.call != nil {
		w.call.Close(err) // nobody else writes to x.Response then
		w.call = nil
	}
	x.ClearResponse()
	a.Make(x)
	x.Response.Local = true
	x.Record.Filter = t.all[a.Slot].Name
	if t.back {
		t.left = min(t.left, a.Slot+1)
	} else {
		t.left = a.Slot + 1
	}
	return true
}

// answerIn finds the answer that err is or wraps; nil if there is none. Refusals come by: errors.As would allocate.
func answerIn(err error) *filter.Answer {
	for ; err != nil; err = errors.Unwrap(err) {
		if a, ok := err.(*filter.Answer); ok {
			return a
		}
	}
	return nil
}
