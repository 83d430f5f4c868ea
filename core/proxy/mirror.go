package proxy

import (
	"io"
	"runtime/debug"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/plan"
	"github.com/weirproxy/weir/core/pool"
	"github.com/weirproxy/weir/core/upstream"
)

// maxMirrored is the largest body that is copied.
const maxMirrored = pool.Large

// reflect copies the request as it is about to be sent, if chance and the route will have it. The copy is of its own
// memory: nothing that happens to it reaches the exchange, and it may outlive it.
func (w *walk) reflect(host []byte) {
	m, x := w.rt.Mirror, w.x
	if m == nil || x.Request.Upgrade || !m.Take() {
		return
	}
	if x.Request.Body.Length > maxMirrored {
		m.Give(plan.MirrorLarge)
		return
	}
	w.copy = copyOf(x, host)
	if x.Request.Body.Empty() {
		w.release(false)
		return
	}
	w.tap = pool.Acquire(maxMirrored)
	x.Request.Body.Tap(w.tap)
}

// copyOf copies what an upstream is sent of x but the body. Host is kept as the host to send, "" for the endpoint's own.
func copyOf(x *exchange.Exchange, host []byte) *exchange.Exchange {
	y := exchange.Acquire()
	from, to := &x.Request, &y.Request
	h := &to.Header
	to.Method, to.Target, to.Host = h.Keep(from.Method), h.Keep(from.Target), h.Keep(host)
	to.Path, to.Query, to.Version = h.Keep(from.Path), h.Keep(from.Query), from.Version
	for i := range from.Header.Len() {
		f := from.Header.At(i)
		h.Append(h.Keep(f.Name), h.Keep(f.Value), f.ID)
	}
	y.Client = x.Client
	y.Client.Text = h.Keep(x.Client.Text)
	y.RequestID = h.Keep(x.RequestID)
	y.Guarded = x.Guarded
	y.Down = plan.Nobody{}
	return y
}

// release sends the copy once the request's body has been pulled to its end; last gives up what can't be sent by then.
func (w *walk) release(last bool) {
	y, x := w.copy, w.x
	if y == nil || !last && x.Uploading.Load() {
		return
	}
	m := w.rt.Mirror
	if w.tap == nil {
		w.copy = nil
		m.Begin(y)
		go shadow(w.p, m, y)
		return
	}
	if x.Uploading.Load() { // only after a panic: somebody may still write to the copy, so nobody else gets its memory
		w.copy, w.tap = nil, nil
		m.Give(plan.MirrorCut)
		return
	}
	body, whole := x.Request.Body.Tapped()
	if !whole && !last {
		return
	}
	if whole && !w.loose {
		y.Request.Body.Replace(body)
		m.Begin(y)
		go shadow(w.p, m, y)
	} else {
		outcome := plan.MirrorCut
		if x.Request.Body.Overflown() {
			outcome = plan.MirrorLarge
		}
		m.Give(outcome)
		exchange.Release(y)
	}
	x.Request.Body.Tap(nil)
	pool.Release(w.tap)
	w.copy, w.tap = nil, nil
}

var errMirrorTimeout = fault.New(fault.ExchangeTimeout, "the copy of a request took too long")

// shadow sends a copy and throws the answer away.
func shadow(p *plan.Plan, m *plan.Mirror, y *exchange.Exchange) {
	outcome := plan.MirrorFailed
	defer func() {
		r := recover()
		m.Give(outcome)
		m.End(y)
		if r != nil { // who knows what still uses y
			p.Shared.Log.Error().Interface("panic", r).Bytes("stack", debug.Stack()).Msg("panic while sending the copy of a request")
			return
		}
		exchange.Release(y)
	}()
	handle := y.Handle()
	timer := time.AfterFunc(plan.MirrorTimeout, func() { handle.Cancel(errMirrorTimeout) })
	defer timer.Stop()
	host := y.Request.Host
	if len(host) == 0 {
		host = nil
	}
	call, err := m.Upstream.Send(y, host)
	if err == nil {
		err = finish(call, &y.Response.Body)
	}
	if err == nil {
		outcome = plan.MirrorSent
	}
}

// finish takes all of an answer and closes its call, also if that panics.
func finish(call *upstream.Call, b *exchange.Body) (err error) {
	err = errPanic
	defer func() { call.Close(err) }()
	if err = discard(b); err != nil {
		err = call.Explain(err)
	}
	return err
}

func discard(b *exchange.Body) error {
	buf := pool.Acquire(pool.Medium)
	defer pool.Release(buf)
	for {
		if _, err := b.Next(buf); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
