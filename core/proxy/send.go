package proxy

import (
	"errors"

	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
	"github.com/weirproxy/weir/core/plan"
)

var errTimeout = fault.New(fault.ExchangeTimeout, "route's timeout passed")

// send asks an upstream, or makes the answer that the route has ready.
func (w *walk) send() error {
	if w.rt.Respond != nil {
		w.rt.Respond.Fill(w.x)
		return nil
	}
	if err := w.sendable(); err != nil {
		return err
	}
	if w.hops() {
		return nil
	}
	w.via(&w.x.Request.Header, w.x.Request.Version)
	host := w.rt.Host
	if host == nil && !w.rt.HostOwn && len(w.x.Request.Host) > 0 {
		host = w.x.Request.Host
	}
	w.reflect(host)
	err := w.ask(w.rt.Target(), host)
	w.release(false)
	return err
}

// ask sends the request to u or its stand-in.
func (w *walk) ask(u *plan.Upstream, host []byte) error {
	call, ready, err := u.Ask(w.x, host)
	w.call = call
	if ready != nil {
		w.x.Record.Reason = "fallback"
		ready.Fill(w.x)
	}
	return err
}

// fail answers an error, if anything can still be answered.
func (w *walk) fail(err error) {
	x := w.x
	if w.call != nil {
		err = w.call.Explain(err)
	} else if cause := x.Cause(); cause != nil {
		err = cause
	}
	kind := fault.KindOf(err)
	if errors.Is(err, netio.ErrAborted) {
		kind = fault.Draining // the connection was cut before anybody could say why
	}
	x.Record.Fault = kind
	w.logFault(kind, err)
	// Who cancelled the exchange does not want an answer, but for the route's own timeout.
	if x.Sent || kind == fault.ClientGone || kind == fault.FilterReset || kind == fault.Draining || x.Cause() != nil && kind != fault.ExchangeTimeout {
		x.Down.Abort()
		return
	}
	if w.call != nil {
		w.call.Close(err)
		w.call = nil
	}
	w.reply(kind)
	if err := w.respond(true); err != nil {
		w.failAgain(err)
	}
}

// failAgain answers when a filter has failed on the answer to a failure: without filters.
func (w *walk) failAgain(err error) {
	kind := fault.KindOf(err)
	if w.x.Sent || kind == fault.ClientGone || kind == fault.FilterReset {
		w.x.Down.Abort()
		return
	}
	w.trail.left = 0
	w.reply(kind)
	if w.deliver() != nil {
		w.x.Down.Abort()
	}
}

func (w *walk) logFault(kind fault.Kind, err error) {
	x, log := w.x, &w.p.Shared.Log
	switch {
	case kind == fault.FilterReset: // it was meant
	case kind == fault.Internal, kind.Source() == fault.Guest:
		if e := w.p.Shared.Faults.Begin(log); e != nil {
			e.Err(err).Str("route", w.rt.Name).Bytes("request_id", x.RequestID).Str("filter", x.Record.Filter).Msg("request failed")
		}
	case kind.Source() == fault.Upstream:
		log.Debug().Err(err).Str("upstream", x.Record.Upstream).Str("endpoint", x.Record.Endpoint).Msg("upstream failed")
	}
}
