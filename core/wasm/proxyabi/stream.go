package proxyabi

import (
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
	reset             bool   // proxy_close_stream was called
	rerouted          bool   // what routes are found by has been changed
	pinned            bool   // proxy_set_property has asked for no re-routing
	method            []byte // the request's when its header section passed the guest; nil: it has not
	version           int    // likewise

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
