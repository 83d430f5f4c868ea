// Package filter is the contract between the path of a request and what operators put on it: built-in kinds and
// WebAssembly modules.
package filter

import (
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/metric"
)

// Verdict is what a filter decided.
type Verdict uint8

const (
	// Continue passes the exchange on.
	Continue Verdict = iota
	// Respond says that x.Response is the answer. Filters before this one still see it; the upstream is not asked.
	Respond
	// Reset ends the connection without an answer.
	Reset
	// Reply is Respond, but the filter itself sees the answer, too: its Response is called with it.
	Reply
)

// Slot is a place on the request's way; the response passes the slots in reverse.
type Slot uint8

const (
	Edge     Slot = iota // before authentication
	Identity             // after authentication, before the limits by identity
	Upstream             // right before the upstream: where a filter stands unless its route says otherwise
	Slots
)

// ParseSlot reads a slot's name from a configuration.
func ParseSlot(s string) (Slot, bool) {
	switch s {
	case "edge":
		return Edge, true
	case "identity":
		return Identity, true
	case "upstream", "":
		return Upstream, true
	}
	return 0, false
}

func (s Slot) String() string { return [...]string{"edge", "identity", "upstream"}[s] }

// Filter is one filter of one plan. Its methods are called from many goroutines at once, each with another exchange; they
// may block, within the filter's own budget. An error is a *fault.Fault where its kind matters; what happens then is the
// plan's on_error. The filter pulls body bytes itself, from x.Request.Body or x.Response.Body, and pushes back or
// replaces what the other side is still to see.
type Filter interface {
	// Request is called when the header section has come. slot is where the filter keeps its state in x.Slots.
	Request(x *exchange.Exchange, slot int) (Verdict, error)
	// Response is called with the answer's header section, before any of it is sent: after a Request that gave Continue,
	// also when the answer is our own; failed is true if no answer could be had.
	Response(x *exchange.Exchange, slot int, failed bool) (Verdict, error)
	// Close frees what the filter holds. No call is under way or follows.
	Close() error
}

// Answer is how a filter answers an exchange when it is not asked for a verdict, since a body passes through it: the body
// fails with it, and if nothing of an answer has been sent yet, what Make puts into x.Response is the answer. The filter
// itself and those before it see it in their Response. Who serves the exchange calls Make; a filter makes one Answer for an
// exchange, as an error that is found with errors.As.
type Answer struct {
	Make func(x *exchange.Exchange)
	Slot int // of the filter
}

var errAnswered = fault.New(fault.FilterAnswered, "answered by a filter while a body passed it")

func (a *Answer) Error() string { return errAnswered.Error() }

// Unwrap gives a fault of kind FilterAnswered.
func (a *Answer) Unwrap() error { return errAnswered }

// Measured is a Filter that holds instances worth watching. Any goroutine may call.
type Measured interface {
	// Instances is how many there are now, Memory their memory in bytes.
	Instances() float64
	Memory() float64
}

// Timed is a Filter that knows the CPU time of its calls. Any goroutine may call.
type Timed interface {
	// PhaseNames lists the phases of calls; Spread is what those of one have taken, by its place in that list, nil if none was.
	PhaseNames() []string
	Spread(phase int) *metric.Spread
}
