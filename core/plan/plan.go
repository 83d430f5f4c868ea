// Package plan turns a Spec, which is data, into a Plan: everything a node needs to serve, built as a whole, never
// changed and closed as a whole.
package plan

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/gaissmai/bart"

	"github.com/weirproxy/weir/core/certs"
	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/route"
	"github.com/weirproxy/weir/core/wire"
)

// Plan is one configuration, live. All of it may be used concurrently while it is pinned.
type Plan struct {
	Spec                  *config.Spec
	Shared                *Shared
	Routes                []Route
	Upstreams             []*Upstream // in the order of the configuration
	Listeners             []Listener
	Limits                wire.Limits
	Timeouts              Timeouts
	Connections           int64 // 0: no limit, as below
	PerIP                 int   // connections of one address
	MinRate               int64 // bytes a second of a client that sends a body or takes an answer
	RequestsPerConnection int
	HalfClose             bool       // a client that has ended its side after a request is still answered
	Guarded               []string   // request fields that no client may send itself, lower-case
	Spent                 []string   // those of them that may carry a credential: they go when it has been read
	Untrailed             []string   // both: in a trailer section nothing is a credential
	AccessLog             *AccessLog // nil: off; the plan holds it until it closes
	Via                   *Via       // nil: none is written

	table   *route.Table
	trusted *bart.Lite
	node    *Route // what is recorded where no route matched
	guarded bool   // some route lets not everybody in

	refs    atomic.Int64
	secure  []*certs.Listener
	closers []func() error
	closed  chan struct{}
}

// Timeouts are the client side's. 0 is none.
type Timeouts = config.Timeouts

// Listener is one address to serve.
type Listener struct {
	Pos     config.Pos
	Address string // as in the configuration
	Key     string // what a listener is found again by on reload: the address, unless it stands there twice
	Network string
	Target  string // what the network's listen call takes
	Health  string // path; "" is none
	H2C     bool   // HTTP/2 without TLS, by prior knowledge
	TLS     *tls.Config

	ProxyFrom *bart.Lite // peers whose connections begin with a header of the PROXY protocol; nil: nobody's
}

// Pin keeps p from being closed until Unpin. It reports false if p has been retired and nobody holds it any more: then
// another plan is in its place.
func (p *Plan) Pin() bool {
	for {
		n := p.refs.Load()
		if n == 0 {
			return false
		}
		if p.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Unpin lets go. The last one closes a retired plan.
func (p *Plan) Unpin() {
	if p.refs.Add(-1) == 0 {
		go p.close()
	}
}

// Begin says that p is served from now on, for what must not happen on behalf of a plan that is only checked or refused:
// certificates are asked for, keys of session tickets made. The caller knows that p is not retired.
func (p *Plan) Begin() {
	issues := false
	for _, l := range p.secure {
		l.Begin()
		issues = issues || l.Issues()
	}
	if !issues {
		p.Shared.Health.Remove("acme")
		return
	}
	// It tells and does not fail: a node that is taken out of service for want of a certificate could not be asked to
	// prove its domain.
	p.Shared.Health.Register("acme", func() (bool, string) {
		if waiting := p.Shared.Certs.Waiting(); len(waiting) > 0 {
			return true, "waits for a certificate: " + strings.Join(waiting, ", ")
		}
		return true, ""
	})
}

// Retire lets go of the hold that a plan has on itself since Build: it closes when the last exchange on it has ended.
func (p *Plan) Retire() { p.Unpin() }

// Closed is closed when everything the plan held has been let go.
func (p *Plan) Closed() <-chan struct{} { return p.closed }

// close lets go in the reverse order of building.
func (p *Plan) close() {
	for i := len(p.closers) - 1; i >= 0; i-- {
		if err := p.closers[i](); err != nil {
			p.Shared.Log.Warn().Err(err).Msg("closing an old plan")
		}
	}
	p.closers = nil
	if p.AccessLog != nil {
		p.AccessLog.Drop()
	}
	close(p.closed)
	p.Shared.Plans.Done()
}

// Find gives the route of a request, the first that matches; nil if none does.
func (p *Plan) Find(x *exchange.Exchange) *Route {
	x.Params.Clear()
	if i := p.table.Find(&x.Request, &x.Params); i >= 0 {
		return &p.Routes[i]
	}
	return nil
}

// AppendMethods appends the methods with which a request that found no route would find one: the value of Allow.
func (p *Plan) AppendMethods(dst []byte, x *exchange.Exchange) []byte {
	return p.table.AppendMethods(dst, &x.Request)
}

// Nowhere is the route of what matches none: it has no stages and only counts.
func (p *Plan) Nowhere() *Route { return p.node }

// Trusts reports whether forwarding fields from the peer are believed.
func (p *Plan) Trusts(a netip.Addr) bool { return p.trusted != nil && p.trusted.Contains(a) }
