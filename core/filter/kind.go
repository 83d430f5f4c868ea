package filter

import (
	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/exchange"
)

// Kind makes the filters of one sort that a route asks for. A plan builds them in the order of its table of kinds: the
// order of filters in one slot.
type Kind struct {
	Name  string
	Build func(s *config.Spec, r *config.Route) ([]Placed, error)
}

// Placed is a filter at its place on one route. Who placed it gives up its ownership: the plan closes it.
type Placed struct {
	Name     string // as in logs and metrics
	Slot     Slot
	Filter   Filter
	FailOpen bool // an error of the filter's own skips it; else it ends the exchange

	// Answer, in place of a Filter, changes the fields of every answer of the route after all filters have: also of those
	// to requests that never came to a filter, and to failures. It can't fail, and may be called after the plan has closed.
	Answer func(x *exchange.Exchange)
}
