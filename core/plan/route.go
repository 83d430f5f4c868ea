package plan

import (
	"time"

	"github.com/gaissmai/bart"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/identity"
	"github.com/weirproxy/weir/core/observe"
	"github.com/weirproxy/weir/core/upstream"
)

// Route is what happens to the requests that match: the settings of every stage, nil or zero where a stage has nothing to do.
type Route struct {
	Name      string
	Allow     *bart.Lite // nil: everybody
	Deny      *bart.Lite
	Early     Limits // those that need no identity
	Auth      *Auth
	Require   *identity.Policy
	Templates map[string]*config.Template // of Require, by their text
	Late      Limits
	Chain     []Placed          // in the order of slots
	Ends      [filter.Slots]int // Chain[:Ends[s]] are the filters up to slot s
	Rewrite   *Rewrite
	Host      []byte // what Host says to the upstream; nil and HostOwn false: as the client had it
	HostOwn   bool   // the endpoint's own name
	BodyBytes int64
	Timeout   time.Duration
	Upstream  *Upstream
	Respond   *Respond
	Metrics   *observe.RouteMetrics
}

// Placed is a filter of a route and what counts for it: Calls by phase, Errors by fault.Kind.
type Placed struct {
	filter.Placed
	Metrics *observe.FilterMetrics
}

// Phases are what calls of filters are counted by, at their index.
var Phases = [...]string{OnRequest: "request", OnResponse: "response"}

const (
	OnRequest = iota
	OnResponse
)

// Upstream is an upstream of the plan.
type Upstream struct {
	*upstream.Upstream
}

// Respond is an answer that is known beforehand.
type Respond struct {
	Status int
	Body   []byte
	Header []exchange.Field
}

// Rewrite changes the path before the upstream sees it.
type Rewrite struct {
	Strip string // cut off at a segment's border
	Path  string // put in place of the whole path; "" leaves it
}

// Apply changes r's target. The query stays.
func (w *Rewrite) Apply(r *exchange.Request) {
	n := len(r.Path)
	switch {
	case w.Path != "":
		r.Target = r.Header.KeepBoth(w.Path, r.Target[n:])
		r.Path = r.Target[:len(w.Path)]
	case n == len(w.Strip) && string(r.Path) == w.Strip:
		r.Target = r.Header.KeepBoth("/", r.Target[n:])
		r.Path = r.Target[:1]
	case n > len(w.Strip) && string(r.Path[:len(w.Strip)]) == w.Strip && r.Path[len(w.Strip)] == '/':
		r.Target = r.Target[len(w.Strip):]
		r.Path = r.Path[len(w.Strip):]
	}
}

// Auth is the ways in which a route's requests may identify themselves.
type Auth struct {
	Providers []*identity.Provider // tried in order; the first whose credential is there decides
}
