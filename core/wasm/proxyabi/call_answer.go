package proxyabi

import (
	"io"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/pool"
)

// call is the goroutine of an HTTP call.
func (e *errand) call() {
	var m message
	if err := e.guard(func() error { return e.fetch(&m) }); err != nil {
		e.miss(&m, err)
	}
	sh := e.sh
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.awaited(e) {
		return
	}
	delete(sh.out.all, e.id)
	sh.hand(e, &m, sh.fn.callResponse, sh.pairsOf(&m, mapCallHeaders), uint64(len(m.body)), sh.pairsOf(&m, mapCallTrailers))
}

// pairsOf is how many pairs a guest will find in one of m's maps. sh.mu is held.
func (sh *shard) pairsOf(m *message, kind uint32) uint64 {
	sh.message = m
	f, _ := sh.fieldsOf(kind)
	sh.message = nil
	return uint64(f.count())
}

// fetch asks the upstream and takes the whole answer.
func (e *errand) fetch(m *message) error {
	reach := &e.root.plugin.reach
	u, err := reach.enter(e)
	if err != nil {
		return err
	}
	defer reach.part(e)
	y := e.y
	k, err := u.Ask(e.name, y)
	if err != nil {
		return e.reason(err)
	}
	e.headed = true
	err = closing(k, func() (err error) {
		if m.body, err = e.take(&y.Response.Body); err != nil {
			return k.Explain(err)
		}
		keepTrailer(&y.Response.Trailer)
		return nil
	})
	if err != nil {
		return e.reason(err)
	}
	m.head, m.trailer, m.status = &y.Response.Header, &y.Response.Trailer, y.Response.Status
	return nil
}

// closing runs f and closes k for what f gives, also if f panics: then nobody else would, and the upstream had one place less.
func closing(k filter.Call, f func() error) (err error) {
	err = errCallPanic
	defer func() { k.Close(err) }()
	err = f()
	return err
}

// reason is why the errand was cancelled, if it was: what broke is only the echo of that. What breaks when its time is over
// does so for that: the other side may know the time as well, and be the first to act.
func (e *errand) reason(err error) error {
	if cause := e.y.Cause(); cause != nil {
		return cause
	}
	if e.due > 0 && clock.Nano() >= e.due {
		return errCallLate
	}
	return err
}

var errCallLarge = fault.New(fault.FilterLimit, "the answer of a filter's call is larger than it may be")

// take reads a body as a whole.
func (e *errand) take(b *exchange.Body) (all []byte, err error) {
	room := e.sh.vm.room()
	if b.Length > int64(room) {
		return nil, errCallLarge
	}
	if b.Length > 0 {
		if !e.hold(int(b.Length)) {
			return nil, errCallLarge
		}
		all = make([]byte, 0, b.Length)
	}
	counted := cap(all)
	buf := pool.Acquire(pool.Medium)
	defer pool.Release(buf)
	for {
		p, err := b.Next(buf)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if more := len(all) + len(p) - counted; more > 0 {
			if len(all)+len(p) > room || !e.hold(more) {
				return nil, errCallLarge
			}
			counted += more
		}
		all = append(all, p...)
	}
}

// keepTrailer copies what is a view of a call's memory, so that the call may be closed.
func keepTrailer(h *exchange.Header) {
	for i := range h.Len() {
		f := h.At(i)
		f.Name, f.Value = h.Keep(f.Name), h.Keep(f.Value)
	}
}

// statusReset is the code of a call that has no answer, for proxy_get_status.
const statusReset = 11

// miss makes the message of a call that has failed. Where no answer has begun, one is made up as Envoy does: 504 for what has
// not come in time, 503 where nobody could be asked. Else there is none.
func (e *errand) miss(m *message, err error) {
	*m = message{code: statusReset, text: []byte("reset")}
	if e.headed || e.loose {
		return
	}
	kind := fault.KindOf(err)
	made := 0
	switch kind {
	case fault.ExchangeTimeout, fault.UpstreamTimeout:
		made = 504
	case fault.ConnectFailed, fault.NoEndpoint, fault.BreakerOpen, fault.UpstreamBusy, fault.Exhausted:
		made = 503
	default:
		return
	}
	y := e.y
	y.ClearResponse()
	text := []byte(kind.String())
	y.Response.Header.AddString("content-type", textPlain)
	*m = message{head: &y.Response.Header, trailer: &y.Response.Trailer, status: made, body: text}
}
