package upstream

import (
	"errors"
	"sync"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
)

// Call is one exchange's use of an upstream, from Send to Close, over one try or several. It belongs to the goroutine that
// serves the exchange; the one that uploads a body has up, and what [uploadState] says.
type Call struct {
	u    *Upstream
	x    *exchange.Exchange
	host []byte // nil: the endpoint's own

	// Of the try under way.
	ep     *Endpoint // nil: none was picked
	ticket Ticket
	told   bool // ep has been told how it went
	leg    leg  // nil: not connected, or given up
	up     upload

	kept    kept // of the body, to be sent once more
	retries int
}

func (k *Call) reset() {
	k.u, k.x, k.host, k.ep, k.leg = nil, nil, nil, nil, nil
	k.ticket, k.told = Ticket{}, false
	k.up.rest()
	k.kept.reset()
	k.retries = 0
}

var calls = sync.Pool{New: func() any { return &Call{up: upload{done: make(chan struct{}, 1)}} }}

var errPanic = fault.New(fault.Internal, "panic while sending a request")

// Send sends x's request to an endpoint of u and reads the head of the answer into x.Response, whose Body streams the
// rest. host is what Host will say; nil is the endpoint's own name. The body is sent while it is pulled, and the answer
// may come before its end; interim answers of use to the client go to x.Down on the way. The caller always closes the Call
// that it gets; on an error, and when something beneath panics, there is none.
func (u *Upstream) Send(x *exchange.Exchange, host []byte) (*Call, error) {
	x.Record.Upstream = u.Name
	if err := u.enter(x); err != nil {
		return nil, err
	}
	k := calls.Get().(*Call)
	k.u, k.x, k.host = u, x, host
	k.kept.on = u.retry != nil
	returned := false
	defer func() {
		if !returned { // a panic is on its way up: the uploader must not go on without an owner
			k.Close(errPanic)
		}
	}()
	err := k.run()
	returned = true
	if err != nil {
		k.Close(err)
		return nil, err
	}
	return k, nil
}

// run tries until there is an answer, or no further try may be made.
func (k *Call) run() error {
	x := k.x
	x.Record.UpstreamStart = clock.Nano()
	if k.u.retry != nil {
		k.u.flight.budget.earn(k.u.retry.Ratio)
	}
	if err := k.pick(nil); err != nil {
		return err
	}
	for {
		p, err := k.try(false)
		if err != nil && p == silent && k.stale(err) {
			k.give(false)
			k.rewind()
			p, err = k.try(true)
		}
		if !k.mayRetry(p, err) {
			return err
		}
		if !k.turn(err) {
			return err
		}
		if err := k.pause(); err != nil {
			return err
		}
	}
}

// pick takes an endpoint for the next try, another than not if there is one.
func (k *Call) pick(not *Endpoint) error {
	ep, ticket, err := k.u.pick(k.x, not)
	if err != nil {
		return err
	}
	k.ep, k.ticket, k.told = ep, ticket, false
	k.x.Record.Endpoint = ep.Name
	return nil
}

// try sends the request over one connection and reads the head of the answer. fresh asks for a new connection.
func (k *Call) try(fresh bool) (p progress, err error) {
	x := k.x
	x.Record.Tries++
	k.ep.requests.Add(1)
	if k.leg, err = k.ep.acquire(x, fresh); err != nil {
		return silent, k.Explain(err)
	}
	x.Bind(exchange.UpstreamLeg, k.leg)
	if err = k.send(); err == nil {
		p, err = k.leg.readHead(x, &k.u.limits)
	}
	k.up.settle()
	if err == nil {
		err = k.Broken()
	}
	if err != nil && (p == silent || errors.Is(err, netio.ErrAborted)) { // else what came is reason enough
		err = k.Explain(err)
	}
	return p, err
}

// stale allows one more try on a new connection when a kept one turned out dead: the endpoint closed it while the request
// was on its way. That is no failure of the endpoint's, and no retry. Only for a request of which the endpoint has seen
// nothing, or that may be sent twice and has no body (RFC 9110 §9.2.2).
func (k *Call) stale(err error) bool {
	if k.leg == nil || !k.leg.reused() || k.ticket.Probe() || k.x.Cause() != nil || !k.replayable() {
		return false
	}
	if kind := fault.KindOf(err); kind != fault.UpstreamReset && kind != fault.ResponseTruncated {
		return false
	}
	return k.leg.unseen() || k.x.Request.Body.Length == 0 && safe(k.x.Request.Method)
}

// Explain gives the reason behind err: why the exchange was cancelled, or what broke the upload. The upstream's end is
// often only the echo of those.
func (k *Call) Explain(err error) error {
	if cause := k.x.Cause(); cause != nil {
		return cause
	}
	if errors.Is(err, netio.ErrAborted) || !k.up.underWay() {
		if sent := k.up.join(); sent != nil {
			return sent
		}
	}
	return err
}

// Broken gives what a filter that the body passes has ended the upload with; nil if none has, or it is not known yet. An
// answer that has come all the same is not the exchange's then.
func (k *Call) Broken() error {
	if s := k.up.is(); s != ended && s != joined {
		return nil
	}
	err := k.up.join()
	if kind := fault.KindOf(err); kind == fault.FilterAnswered || kind.Source() == fault.Guest {
		return err
	}
	return nil
}

// AtHand reports whether bytes behind the head of the answer came with it.
func (k *Call) AtHand() bool { return k.leg.atHand() }

// Over reports whether nothing of the request is being sent any more. When the answer's body has been read to its end, too,
// and has no trailer fields, which are views of what the call holds, the call can be closed before the exchange ends.
func (k *Call) Over() bool { return !k.up.underWay() }

// Tunnel hands over the connection of an answer 101, and what was read of it beyond the head. The call is closed as ever.
func (k *Call) Tunnel() (c exchange.Pipe, ahead []byte) { return k.leg.tunnel() }

// Close ends the call: the connection is kept if another request can follow, the breaker learns how it went. err is what
// went wrong with the exchange, nil if nothing did. An upload under way is ended, and with it reading from the client.
func (k *Call) Close(err error) {
	if k.up.underWay() {
		k.leg.Abort()
		k.x.AbortClientRead()
	}
	sent := k.up.join()
	if k.ep != nil {
		k.tell(err)
	}
	if k.leg != nil {
		k.give(err == nil && sent == nil)
	}
	k.u.flight.leave()
	k.reset()
	calls.Put(k)
}

// give gives the leg up.
func (k *Call) give(ok bool) {
	k.x.Bind(exchange.UpstreamLeg, nil)
	k.leg.end(ok)
	k.leg = nil
}

// tell tells the endpoint once a try how it went.
func (k *Call) tell(err error) {
	if k.told {
		return
	}
	k.told = true
	x, kind := k.x, fault.KindOf(err)
	how := outcome(x, kind)
	if kind == fault.ExchangeTimeout && x.Record.UpstreamStatus == 0 && k.leg != nil && k.leg.owing() {
		how = OutcomeFailure // the route's time ran out while the endpoint owed an answer
	}
	k.u.done(k.ep, k.ticket, how, kind, clock.Nano())
}

// outcome says what the breaker learns: nothing from a client's or a filter's doing.
func outcome(x *exchange.Exchange, kind fault.Kind) Outcome {
	switch {
	case kind.Punish():
		return OutcomeFailure
	case kind != fault.None:
		return OutcomeNeutral
	case x.Record.UpstreamStatus >= 500:
		return OutcomeFailure
	}
	return OutcomeSuccess
}
