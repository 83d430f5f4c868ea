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
	// Reply is Respond, but the filter itself sees the answer, too: its Response is called with it. In Response it is Respond.
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
//
// Or it puts a source of its own between (exchange.Body.Through), which is pulled when its bytes are wanted, never after the
// exchange. Of a request's body another goroutine may do that, while the one that serves x reads the answer, or runs the
// filter's Response: of x such a source touches that body and its trailer fields and nothing else. An error that it gives
// ends the exchange, whatever the plan's on_error, and is no failure that is counted of the filter: a source whose filter may
// fail gives the bytes beneath as they are. An error of fault.GuestFailed is the filter's, an Answer answers.
type Filter interface {
	// Request is called when the header section has come. slot is where the filter keeps its state in x.Slots: its index among
	// the filters that the exchange has come to.
	//
	// A filter that has changed what routes are found by (x.Request.Target, Host, Method, fields) and wants that to count sets
	// x.Reroute and gives Continue. The target is normalised then, Path and Query are made of it, and the exchange goes along
	// the route that is found: its access rules, limits and filters come first, but for what has been done for x already. No
	// filter is called twice.
	Request(x *exchange.Exchange, slot int) (Verdict, error)
	// Response is called with the answer's header section, before any of it is sent: once, after a Request that gave Continue
	// or Reply, also when the answer is our own; failed is true if no answer could be had.
	Response(x *exchange.Exchange, slot int, failed bool) (Verdict, error)
	// Close frees what the filter holds. No call is under way or follows.
	Close() error
}

// Answer is how a filter answers an exchange when it is not asked for a verdict, since a body passes through it: the body
// fails with it, and if nothing of an answer has been sent yet, what Make puts into x.Response is the answer; else what the
// client has is cut. The filter itself and those before it see the answer in their Response, but for those that have seen one
// already: with a body of an answer that is the filter itself. Who serves the exchange calls Make, once the upstream has been
// let go. An Answer is given as it is, or wrapped (errors.Unwrap).
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
	// Stopped is 1 while it is not called, since it has failed too often, else 0.
	Stopped() float64
}

// Timed is a Filter that knows the CPU time of its calls. Any goroutine may call.
type Timed interface {
	// PhaseNames lists the phases of calls; Spread is what those of one have taken, by its place in that list, nil if none was.
	PhaseNames() []string
	Spread(phase int) *metric.Spread
}
