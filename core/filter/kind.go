package filter

import (
	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/exchange"
)

// Kind makes the filters of one sort that a route asks for. A plan builds them in the order of its table of kinds: the
// order of filters in one slot.
type Kind struct {
	Name  string
	Build func(p Place) ([]Placed, error)
}

// Place is where filters are asked for: a route of a plan.
type Place struct {
	Spec      *config.Spec
	Route     *config.Route
	Upstreams Upstreams // the plan's; not to be used after the filters of the plan have been closed. Nil: none may be asked
}

// Upstreams lets filters ask the upstreams of the plan that they stand in. Any goroutine may call.
type Upstreams interface {
	// Find says whether there is an upstream of that name, and whether it is spoken to in HTTP/2.
	Find(name string) (http2, ok bool)
	// Ask sends y's request, whose body is pulled from another goroutine, and returns when the head of the answer is in
	// y.Response, the body of which streams. y is the caller's own, in nobody's name: its Down need not be set. y's Handle may
	// cancel it. The caller closes the Call, once the answer has been read or is not wanted any more, and then releases y.
	Ask(name string, y *exchange.Exchange) (Call, error)
}

// Call is one use of an upstream.
type Call interface {
	// Explain gives the reason behind an error that pulling the answer's body gave.
	Explain(err error) error
	// Close ends the call; err is what went wrong with it, nil if nothing did.
	Close(err error)
}

// Placed is a filter at its place on one route. Who placed it gives up its ownership: the plan closes it.
type Placed struct {
	Name     string // as in logs and metrics
	Slot     Slot
	Filter   Filter
	FailOpen bool // an error of the filter's own skips it; else it ends the exchange

	// Key, comparable, is equal for what is the same filter on several routes: of an exchange that is sent from one of them to
	// another it is called once. nil: the Filter itself is its key.
	Key any

	// Answer, in place of a Filter, changes the fields of every answer of the route after all filters have: also of those
	// to requests that never came to a filter, and to failures. It can't fail, and may be called after the plan has closed.
	Answer func(x *exchange.Exchange)
}
