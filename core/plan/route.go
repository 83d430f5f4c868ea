package plan

import (
	"bytes"
	"math/rand/v2"
	"slices"
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
	CORS      *CORS
	Chain     []Placed                   // in the order of slots
	Ends      [filter.Slots]int          // Chain[:Ends[s]] are the filters up to slot s
	Answers   []func(*exchange.Exchange) // change every answer, after the filters
	Rewrite   *Rewrite
	Host      []byte // what Host says to the upstream; nil and HostOwn false: as the client had it
	HostOwn   bool   // the endpoint's own name
	BodyBytes int64
	Timeout   time.Duration
	Methods   []byte // what Allow says of the route
	Upstream  *Upstream
	Split     *Split // in place of Upstream
	Mirror    *Mirror
	Respond   *Respond
	Metrics   *observe.RouteMetrics

	access int // by accessRules
}

// Target gives the upstream for one request; nil if the route has none.
func (r *Route) Target() *Upstream {
	if r.Split != nil {
		return r.Split.choose()
	}
	return r.Upstream
}

// Split shares requests out between upstreams, each by chance.
type Split struct {
	shares []share
	total  uint64
}

// share is an upstream with the sum of its weight and those before it.
type share struct {
	upstream *Upstream
	upTo     uint64
}

func (s *Split) choose() *Upstream {
	n := rand.Uint64N(s.total)
	i := 0
	for n >= s.shares[i].upTo {
		i++
	}
	return s.shares[i].upstream
}

// Placed is a filter of a route and what counts for it: Calls by phase, Errors by fault.Kind.
type Placed struct {
	filter.Placed
	Number  int // the same on all routes that have the filter; a second place on one route has a number of its own
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
	Fallback *Fallback // nil: none
}

// Fallback is what happens in place of an upstream none of whose endpoints may be asked. One of its fields is set.
type Fallback struct {
	Upstream *Upstream
	Respond  *Respond
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
	n := bytes.IndexByte(r.Target, '?')
	if n < 0 {
		n = len(r.Target)
	}
	r.Path = r.Target[:n] // a filter may have set the one without the other, and this one is sent
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
	Ways []Way // tried in order; the first whose credential is there decides
}

// Same reports whether what a has proved of a client is what b would prove; a nil one proves nothing.
func (a *Auth) Same(b *Auth) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.Ways, b.Ways)
}

// Way is one of them: a provider of tokens, or the client's certificate if there is none.
type Way struct {
	Tokens *identity.Provider
}
