package upstream

import (
	"sync"
	"sync/atomic"
	"time"
)

// BreakerState is what circuit_breaker_state shows.
type BreakerState uint8

// The states of a breaker.
const (
	BreakerClosed   BreakerState = 0 // everything passes
	BreakerHalfOpen BreakerState = 1 // probes pass, no more than a few at a time
	BreakerOpen     BreakerState = 2 // nothing passes
)

// String is the state's name.
func (s BreakerState) String() string {
	return [...]string{"closed", "half-open", "open"}[s]
}

// Outcome is what a request tells of the endpoint it was sent to.
type Outcome uint8

// The outcomes. The zero value changes nothing.
const (
	OutcomeNeutral Outcome = iota // tells nothing: the client gave up, or a fault of our own
	OutcomeSuccess
	OutcomeFailure
)

// BreakerOptions are a breaker's policy. They are comparable; see [BreakerOptions.WithDefaults].
type BreakerOptions struct {
	ConsecutiveFailures int           // that open it; default 5
	OpenFor             time.Duration // until probes pass; default 30 s, at most a year
	HalfOpenRequests    int           // probes in flight at once, and successes that close it; default 1

	// ProbeLease is when probes that hold all places without a result are given up. Default ten times
	// OpenFor, and not less than a minute.
	ProbeLease time.Duration
}

// WithDefaults returns o with what is not set, or out of range, replaced. A breaker can be kept over a
// reload when its Options are equal to the new ones with their defaults.
func (o BreakerOptions) WithDefaults() BreakerOptions {
	const most, year = 1 << 28, 366 * 24 * time.Hour
	if o.ConsecutiveFailures <= 0 {
		o.ConsecutiveFailures = 5
	}
	if o.OpenFor <= 0 {
		o.OpenFor = 30 * time.Second
	}
	if o.HalfOpenRequests <= 0 {
		o.HalfOpenRequests = 1
	}
	o.ConsecutiveFailures = min(o.ConsecutiveFailures, most)
	o.HalfOpenRequests = min(o.HalfOpenRequests, most)
	o.OpenFor = min(o.OpenFor, year)
	if o.ProbeLease <= 0 {
		o.ProbeLease = max(10*o.OpenFor, time.Minute)
	}
	o.ProbeLease = min(o.ProbeLease, 10*year)
	return o
}

// Breaker is the circuit breaker of one endpoint. Consecutive failures open it; after OpenFor a few
// probes pass; as many successes close it, one failure opens it again.
//
// Every Allow that admits is followed by exactly one [Breaker.Done], whatever happened. A probe that is
// never reported holds its place until ProbeLease is over. All methods may be called concurrently; every
// now is in nanoseconds of one clock, best a monotonic one: when it is set back, an open breaker waits
// OpenFor from then.
type Breaker struct {
	// word is an epoch (32 bits), a state (2) and, when closed, the failures in a row (30). Read freely,
	// written under mu. Each change of state begins an epoch.
	word atomic.Uint64
	// until is when refusing needs a second look: the end of the opening, or of the lease when all probe
	// places are taken; 0 else. Written under mu, before word.
	until atomic.Int64

	mu       sync.Mutex
	options  BreakerOptions
	inFlight int
	passed   int
}

// Ticket is the place of one admitted request. It belongs to the epoch it was given in: a result that
// comes after the breaker has changed its state says nothing about the new one and is ignored. The zero
// Ticket is always ignored.
type Ticket struct {
	epoch uint32
	probe bool
}

// Probe reports whether the request is a half-open breaker's probe; such a request is not retried.
func (t Ticket) Probe() bool { return t.probe }

// NewBreaker returns a closed breaker. Options not set take their defaults.
func NewBreaker(o BreakerOptions) *Breaker {
	b := &Breaker{options: o.WithDefaults()}
	b.word.Store(pack(1, BreakerClosed, 0))
	return b
}

// Options returns the policy, defaults filled in.
func (b *Breaker) Options() BreakerOptions { return b.options }

// State returns the present state. A breaker whose OpenFor is over stays open until the next Allow.
func (b *Breaker) State() BreakerState { return stateOf(b.word.Load()) }

// pass admits a request while b is closed, which needs no time. Where it refuses, Allow decides.
func (b *Breaker) pass() (Ticket, bool) {
	w := b.word.Load()
	return Ticket{epoch: epochOf(w)}, stateOf(w) == BreakerClosed
}

// Allow decides on one request. Refusals take no lock as long as waiting is all there is to do.
func (b *Breaker) Allow(now int64) (Ticket, bool) {
	w := b.word.Load()
	if stateOf(w) == BreakerClosed {
		return Ticket{epoch: epochOf(w)}, true
	}
	if b.waits(w, now) {
		return Ticket{}, false
	}
	return b.allowSlow(now)
}

// Ready reports whether a call of Allow is worth while, and takes no place. It may be true where Allow
// refuses: when others are faster, and once after the clock was set back.
func (b *Breaker) Ready(now int64) bool {
	w := b.word.Load()
	return stateOf(w) == BreakerClosed || !b.waits(w, now)
}

// RetryAfter is how long until Ready at the latest, unless a probe in flight decides before; 0 when ready.
func (b *Breaker) RetryAfter(now int64) time.Duration {
	if b.Ready(now) {
		return 0
	}
	return time.Duration(max(0, b.until.Load()-now))
}

// waits reports whether w, which is not closed, need not look further before until. More time left than
// was set means that the clock went back, which allowSlow mends.
func (b *Breaker) waits(w uint64, now int64) bool {
	wait := b.options.OpenFor
	if stateOf(w) == BreakerHalfOpen {
		wait = b.options.ProbeLease
	}
	left := b.until.Load() - now
	return left > 0 && left <= int64(wait)
}

func (b *Breaker) allowSlow(now int64) (Ticket, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.word.Load()
	switch stateOf(w) {
	case BreakerClosed:
		return Ticket{epoch: epochOf(w)}, true
	case BreakerOpen:
		if b.sooner(now, b.options.OpenFor) {
			return Ticket{}, false
		}
		w = b.enter(BreakerHalfOpen, 0)
	case BreakerHalfOpen:
		if b.inFlight < b.options.HalfOpenRequests {
			break
		}
		if b.sooner(now, b.options.ProbeLease) {
			return Ticket{}, false
		}
		w = b.enter(BreakerHalfOpen, 0)
	}
	if b.inFlight++; b.inFlight == b.options.HalfOpenRequests {
		b.until.Store(now + int64(b.options.ProbeLease))
	}
	return Ticket{epoch: epochOf(w), probe: true}, true
}

// sooner reports whether now is before until, which it first brings within wait of now.
func (b *Breaker) sooner(now int64, wait time.Duration) bool {
	until := b.until.Load()
	if until-now > int64(wait) {
		until = now + int64(wait)
		b.until.Store(until)
	}
	return now < until
}

// Done reports what became of an admitted request. Only failures with no success between them open the
// breaker; a neutral outcome gives a probe's place back and changes nothing else.
func (b *Breaker) Done(t Ticket, o Outcome, now int64) {
	w := b.word.Load()
	if epochOf(w) != t.epoch || !t.probe && (o == OutcomeNeutral || o == OutcomeSuccess && failuresOf(w) == 0) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	w = b.word.Load()
	if epochOf(w) != t.epoch {
		return
	}
	if t.probe {
		b.doneProbe(o, now)
		return
	}
	failures := 0
	if o == OutcomeFailure {
		failures = failuresOf(w) + 1
	}
	if failures >= b.options.ConsecutiveFailures {
		b.enter(BreakerOpen, now+int64(b.options.OpenFor))
		return
	}
	b.word.Store(pack(t.epoch, BreakerClosed, failures))
}

func (b *Breaker) doneProbe(o Outcome, now int64) {
	b.inFlight = max(0, b.inFlight-1)
	b.until.Store(0)
	switch o {
	case OutcomeFailure:
		b.enter(BreakerOpen, now+int64(b.options.OpenFor))
	case OutcomeSuccess:
		if b.passed++; b.passed >= b.options.HalfOpenRequests {
			b.enter(BreakerClosed, 0)
		}
	}
}

// enter begins an epoch in state s. Probes of the last one no longer count.
func (b *Breaker) enter(s BreakerState, until int64) uint64 {
	b.inFlight, b.passed = 0, 0
	b.until.Store(until)
	w := pack(epochOf(b.word.Load())+1, s, 0)
	b.word.Store(w)
	return w
}

func pack(epoch uint32, s BreakerState, failures int) uint64 {
	return uint64(epoch)<<32 | uint64(s)<<30 | uint64(failures)
}

func epochOf(w uint64) uint32       { return uint32(w >> 32) }
func stateOf(w uint64) BreakerState { return BreakerState(w >> 30 & 3) }
func failuresOf(w uint64) int       { return int(w & (1<<30 - 1)) }
