package proxyabi

import (
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
)

// stream is one exchange on its way past a plugin. It is the filter's exchange.State. All of it but under and the channels is
// guarded by the shard's mutex.
type stream struct {
	scope
	sh     *shard
	f      *Filter
	x      *exchange.Exchange
	slot   int
	cpu    time.Duration // that its calls have spent
	lines  int           // of the log
	trial  bool          // decides whether a filter that was stopped comes back
	awaits bool          // exchange.Await has been called
	over   error         // why the guest is not called for it any more; nil: it is
	failed bool          // that has been told

	request, response half
	reply             reply
	closed            bool        // proxy_close_stream was called
	rerouted          bool        // what routes are found by has been changed
	pinned            bool        // proxy_set_property has asked for no re-routing
	method            []byte      // the request's when its header section passed the guest; nil: it has not
	version           int         // likewise
	unread            atomic.Bool // nobody waits for the request's body any more; any goroutine may set it

	answer filter.Answer
	next   *stream // free ones
}

// half is one direction of a stream.
type half struct {
	st       *stream
	response bool

	open    bool // the header section may be changed: it has not been passed on
	tail    bool // the trailer section may be
	parked  bool
	resume  bool // proxy_continue_stream was called since the callback began
	unsized bool // the guest has removed Content-Length
	written int  // bytes of fields that the guest has set
	timer   *time.Timer

	body
}

// reset makes the stream ready for another exchange. It keeps buffers, channels and timers; a test fills every field and
// compares. Field by field: the whole is half a kilobyte, and that is to be had at every exchange.
func (st *stream) reset() {
	st.id, st.root = 0, nil
	st.f, st.x, st.slot, st.cpu, st.lines = nil, nil, 0, 0, 0
	st.trial, st.awaits, st.over, st.failed = false, false, nil, false
	st.closed, st.rerouted, st.pinned = false, false, false
	st.method, st.version = nil, 0
	st.unread.Store(false)
	st.answer.Slot, st.next = 0, nil
	st.request.reset()
	st.response.reset()
	if r := &st.reply; r.set {
		*r = reply{details: r.details[:0], body: small(r.body), head: small(r.head)}
	}
}

// shed gives up the buffers that reset keeps.
func (st *stream) shed() {
	for _, h := range [...]*half{&st.request, &st.response} {
		h.under, h.own = exchange.Body{}, nil
	}
	st.reply = reply{}
}

func (h *half) reset() {
	h.open, h.tail, h.parked, h.resume, h.unsized, h.written = false, false, false, false, false, 0
	select {
	case <-h.wake:
	default:
	}
	if b := &h.body; b.between {
		b.under.Reset()
		*b = body{under: b.under, own: small(b.own), wake: b.wake}
	}
}
