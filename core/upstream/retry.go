package upstream

import (
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/weirproxy/weir/core/clock"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/pool"
)

// RetryOptions say when a request is sent once more, if possible to another endpoint. What no option can allow: a retry
// once the client has been sent anything of an answer, while a part of the body is under way or gone from memory (64 KiB
// are kept), for a request that is a half-open breaker's probe, or for one that is a retry already (it has the field
// X-Weir-Attempt, which every retry is given).
type RetryOptions struct {
	Retries int // beyond the first try

	// Connect allows a retry when the endpoint can't have acted on the request: no connection could be made, not a byte
	// was taken, or an HTTP/2 peer said so (RFC 9113 §8.7). For any method.
	Connect bool
	// Reset and Statuses allow one when the connection ended without a byte of an answer, and when the answer has one of
	// these statuses. Only for GET, HEAD and OPTIONS and for requests with an Idempotency-Key: PUT and DELETE are
	// idempotent by definition (RFC 9110 §9.2.2), but what their second run answers (404, 409, 412) is not what the first
	// one did, so that the client would be told of a failure which there was not.
	Reset    bool
	Statuses []int

	// Ratio is the most retries to an upstream as a part of the requests to it; see budget.
	Ratio float64
}

// on reports whether an answer with the status may be asked for anew.
func (o *RetryOptions) on(status int) bool {
	for _, s := range o.Statuses {
		if s == status {
			return true
		}
	}
	return false
}

// attemptField marks a retry for the upstream, and for a weir behind this one. Its value is the number of the try.
const (
	attemptField = "X-Weir-Attempt"
	attemptLower = "x-weir-attempt"
)

// mayRetry reports whether a try that got as far as p and ended with err, or with the answer in x.Response, may be
// followed by another.
func (k *Call) mayRetry(p progress, err error) bool {
	o, x := k.u.retry, k.x
	if o == nil || k.retries >= o.Retries || p == told || k.ticket.Probe() || x.Cause() != nil || !k.replayable() {
		return false
	}
	if err == nil {
		return o.on(x.Response.Status) && repeatable(&x.Request) && !k.isRetry()
	}
	if p != silent {
		return false
	}
	switch fault.KindOf(err) {
	case fault.ConnectFailed, fault.UpstreamReset, fault.ResponseTruncated:
	default:
		return false // timeouts above all: the upstream may be at work on it, and the client has waited once
	}
	if k.leg == nil || k.leg.unseen() {
		return o.Connect && !k.isRetry()
	}
	return o.Reset && repeatable(&x.Request) && !k.isRetry()
}

// isRetry reports whether the request came to us as somebody's retry: layers that all retry multiply.
func (k *Call) isRetry() bool {
	return k.retries == 0 && k.x.Request.Header.Get(attemptLower) != nil
}

// safe tells the methods that are repeated without asking: they change nothing (RFC 9110 §9.2.1).
func safe(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS":
		return true
	}
	return false
}

// repeatable reports whether a request may be sent once more although the endpoint may have acted on it.
func repeatable(r *exchange.Request) bool {
	return safe(r.Method) || len(r.Header.Get("idempotency-key")) > 0
}

// turn ends a try and readies the next. It reports false, and leaves all as it is, if the budget is spent or no endpoint
// but a probe's place is left: the last try's outcome is then the client's.
func (k *Call) turn(err error) bool {
	budget := &k.u.flight.budget
	if !budget.take() {
		return false
	}
	sent := k.up.join() // has ended, perhaps a moment ago
	k.tell(err)         // before the pick: it may have opened the breaker
	ep, ticket := k.ep, k.ticket
	if e := k.pick(ep); e != nil || k.ticket.Probe() {
		if e == nil {
			k.u.done(k.ep, k.ticket, OutcomeNeutral, fault.None, clock.Nano())
		}
		k.ep, k.ticket, k.told = ep, ticket, true
		k.x.Record.Endpoint = ep.Name
		budget.refund()
		return false
	}
	if k.leg != nil {
		k.give(err == nil && sent == nil && k.drain())
	}
	k.x.ClearResponse()
	k.x.Record.UpstreamStatus = 0
	k.rewind()
	k.retries++
	k.u.flight.retried.Add(1)
	k.x.Request.Header.Set(attemptField, strconv.AppendInt(nil, int64(k.retries)+1, 10))
	return true
}

// drain takes the rest of an answer that nobody will see, if it is at hand: its connection can be used again then.
func (k *Call) drain() bool {
	body := &k.x.Response.Body
	var scratch [512]byte
	for body.Whole() && !body.Empty() {
		if _, err := body.Next(scratch[:]); err != nil {
			break
		}
	}
	return body.Empty()
}

const (
	backOff     = 25 * time.Millisecond // at most before the first retry, twice as much before each further one
	backOffMost = 250 * time.Millisecond
)

// pause waits before a retry, a random time so that those who failed together do not come back together. It ends with
// the exchange.
func (k *Call) pause() error {
	most := min(backOff<<min(k.retries-1, 8), backOffMost)
	s := newSleeper()
	s.sleep(k.x, rand.N(most))
	if cause := k.x.Cause(); cause != nil {
		return cause
	}
	return nil
}

// rewind puts back what was sent of the body, for another try. An uploader has ended, but may have done so after the last
// look at it.
func (k *Call) rewind() {
	_ = k.up.join()
	k.x.Request.Body.Unread(k.kept.buf[:k.kept.n])
	k.kept.n = 0
	k.up.rest()
}

// replayable reports whether the body can be sent from its beginning.
func (k *Call) replayable() bool { return !k.up.underWay() && !k.kept.lost }

// kept is a copy of the bytes of a body that have been sent.
type kept struct {
	on   bool
	buf  []byte // lent by pool
	n    int
	lost bool // bytes that were sent are not here
}

// keptMost is how many bytes of one body are kept.
const keptMost = pool.Large

func (b *kept) reset() {
	pool.Release(b.buf)
	*b = kept{}
}

// keep adds p, of a body that is length bytes long, -1 if that is not known.
func (b *kept) keep(p []byte, length int64) {
	if b.lost {
		return
	}
	if b.buf == nil && b.on && length <= keptMost {
		if length < 0 {
			length = keptMost
		}
		b.buf = pool.Acquire(int(length))
	}
	if len(p) > len(b.buf)-b.n {
		b.lost = true
		return
	}
	b.n += copy(b.buf[b.n:], p)
}

// budget bounds the retries to one upstream. Every request earns a part of a retry, and a retry costs a whole one; no more
// than ten are saved up. It begins with three on credit, which the first requests pay off before they earn: so of n
// requests there are never more than max(3, ratio*n) retries, whatever the rate. A floor by time, such as ten a second,
// would double the load of a slow upstream that fails; instead what was earned does not expire.
//
// The zero value is ready. All methods may be called concurrently.
type budget struct {
	spent atomic.Int64 // millionths of a retry: credit - what is left
	owes  atomic.Int64 // millionths of the credit that were paid off
}

const (
	wholeRetry   = 1_000_000
	retryCredit  = 3 * wholeRetry
	retrySavings = 10 * wholeRetry
)

// earn counts a request. While all is saved that may be, which is how things usually are, it only reads.
func (b *budget) earn(ratio float64) {
	part := int64(ratio * wholeRetry)
	if b.owes.Load() < retryCredit {
		b.owes.Add(part)
		return
	}
	if b.spent.Load() > retryCredit-retrySavings {
		b.spent.Add(-part)
	}
}

// take takes a whole retry, or reports that there is none.
func (b *budget) take() bool {
	for {
		spent := b.spent.Load()
		if spent > retryCredit-wholeRetry {
			return false
		}
		if b.spent.CompareAndSwap(spent, spent+wholeRetry) {
			return true
		}
	}
}

// refund gives back a retry that was not made.
func (b *budget) refund() { b.spent.Add(-wholeRetry) }
