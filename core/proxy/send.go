package proxy

import (
	"time"

	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/plan"
)

var errTimeout = fault.New(fault.ExchangeTimeout, "route's timeout passed")

// send asks the upstream, or makes the answer that the route has ready.
func (w *walk) send() error {
	if w.rt.Respond != nil {
		w.ready(w.rt.Respond)
		return nil
	}
	host := w.rt.Host
	if host == nil && !w.rt.HostOwn && len(w.x.Request.Host) > 0 {
		host = w.x.Request.Host
	}
	var err error
	w.call, err = w.rt.Upstream.Send(w.x, host)
	return err
}

func (w *walk) ready(r *plan.Respond) {
	x := w.x
	x.Response.Local = true
	x.Response.Status = r.Status
	for i := range r.Header {
		f := &r.Header[i]
		x.Response.Header.Append(f.Name, f.Value, f.ID)
	}
	x.Response.Body.Replace(r.Body)
}

// startTimeout bounds the whole exchange. Routes without a timeout, the usual ones, pay nothing.
func (w *walk) startTimeout(d time.Duration) {
	handle := w.x.Handle()
	time.AfterFunc(d, func() { handle.Cancel(errTimeout) })
}

// fail answers an error, if anything can still be answered.
func (w *walk) fail(err error) {
	x := w.x
	if cause := x.Cause(); cause != nil {
		err = cause
	}
	kind := fault.KindOf(err)
	x.Record.Fault = kind
	w.p.Shared.Metrics.Fault(kind)
	if kind == fault.Internal || kind.Source() == fault.Guest {
		w.p.Shared.Log.Error().Err(err).Str("route", w.rt.Name).Bytes("request_id", x.RequestID).Str("filter", x.Record.Filter).Msg("request failed")
	} else if kind.Source() == fault.Upstream {
		w.p.Shared.Log.Debug().Err(err).Str("upstream", x.Record.Upstream).Str("endpoint", x.Record.Endpoint).Msg("upstream failed")
	}
	switch {
	case x.Sent, kind == fault.ClientGone, x.Cause() != nil && kind != fault.ExchangeTimeout:
		x.Down.Abort()
		return
	}
	if w.call != nil {
		w.call.Close(err)
		w.call = nil
	}
	w.reply(kind)
	if err := w.respond(true); err != nil && !x.Sent {
		w.passed = 0
		x.ClearResponse()
		w.reply(fault.KindOf(err))
		_ = w.deliver()
	} else if err != nil {
		x.Down.Abort()
	}
}
