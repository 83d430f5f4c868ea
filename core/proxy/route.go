package proxy

import (
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

var (
	errNoRoute    = fault.New(fault.NoRoute, "no route matches")
	errNoMethod   = fault.New(fault.MethodRefused, "no route for the method")
	errConfusable = fault.New(fault.BadRequest, "some servers would take the path for one of another route")
)

// route finds the route, and with it the settings of what follows: at first by what the client sent, then, as often as
// filters want it, by what they have made of that. A filter passes once and an exchange meets exchange.MaxSlots of them at
// most, so it comes to an end.
func (w *walk) route() error {
	x := w.x
	again := x.Reroute
	if again {
		x.Reroute = false
		if err := w.normalise(); err != nil {
			return err
		}
	}
	rt := w.p.Find(x)
	if rt == nil {
		return w.missed()
	}
	if w.p.Confusable(x, rt) {
		return errConfusable
	}
	if h := &x.Request.Header; !again && (rt.CORS != nil || len(rt.Chain) > 0) && h.CountID(exchange.Origin) == 1 {
		w.page = h.GetID(exchange.Origin) // now, for the answer: filters may change the field
	}
	w.trail.next = 0
	if rt == w.rt {
		return nil
	}
	w.rt, x.Record.Route, w.origin = rt, rt.Name, nil
	if rt.CORS != nil {
		w.origin = rt.CORS.Origin(w.page)
	}
	if err := x.Request.Body.Bound(rt.BodyBytes); err != nil {
		return err
	}
	if again || rt.Timeout > 0 {
		w.bound(rt.Timeout, again)
	}
	return nil
}

// normalise checks what filters have made of the request and brings its target into the form that routes are found by, as
// the client's own was.
func (w *walk) normalise() error {
	if err := w.sendable(); err != nil {
		return err
	}
	r := &w.x.Request
	if r.Target[0] != '/' {
		r.Path, r.Query = r.Target, nil
		return nil
	}
	if w.p.Limits.Normalise(r) != nil {
		return errTarget
	}
	return nil
}

// missed says why no route is the request's: with another method there might be one.
func (w *walk) missed() error {
	x := w.x
	w.rt, x.Record.Route, w.origin = w.p.Nowhere(), "", nil
	if x.Scratch = w.p.AppendMethods(x.Scratch[:0], x); len(x.Scratch) == 0 {
		return errNoRoute
	}
	w.allow = x.Request.Header.Keep(x.Scratch)
	return errNoMethod
}

// bound makes most the time that the whole exchange may take, also where it has another route now. Routes without a timeout,
// the usual ones, pay nothing.
func (w *walk) bound(most time.Duration, again bool) {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if most == 0 {
		return
	}
	if again {
		most -= time.Duration(clock.Nano() - w.x.Record.Start)
	}
	handle := w.x.Handle()
	w.timer = time.AfterFunc(most, func() { handle.Cancel(errTimeout) })
}

// rewrite changes the path as the route wants it, last of all.
func (w *walk) rewrite() error {
	if w.rt.Rewrite != nil {
		w.rt.Rewrite.Apply(&w.x.Request)
	}
	return nil
}
