package limit

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"
)

const (
	day = 24 * time.Hour

	maxN      = 1_000_000_000
	maxRefill = 366 * day
)

// Rule is one limit. It is made by [NewRule] and not changed after; it may then be used concurrently.
type Rule struct {
	Scope   string        // whose rule it is: a route's name, or what stands for all routes
	Name    string        // unique in its scope
	KeyKind string        // what the key is made of, such as "ip/64" or "subject"
	N       int64         // requests
	Per     time.Duration // in this time, at most 24 h
	Burst   int64         // 0: a sliding window, or for 24 h the calendar day in UTC. Else GCRA with this burst

	// ID is derived by NewRule from all of the above. Counters belong to the ID: they survive a reload
	// that leaves the rule's meaning as it was and start afresh when it changed.
	ID uint64

	algorithm uint8
	table     uint8
	// GCRA, in units of 2^-fraction ns: the time one request pays, and a whole burst.
	fraction uint8
	cost     uint64
	burst    uint64
	// Sliding window, in ticks of 2^tick ns, rounded up: the period, and one sub-bucket.
	tick  uint8
	ticks int32
	cell  uint32
}

const (
	slidingWindow = iota + 1
	bucket
	calendarDay
)

// NewRule checks what r says and returns it complete. A rate is between 1/d and 10^9/s, N at most 10^9,
// and a burst refills within 366 days. r.ID is ignored.
func NewRule(r Rule) (*Rule, error) {
	switch {
	case r.N < 1 || r.N > maxN:
		return nil, fmt.Errorf("check limit %s: %d requests: must be 1 to %d", r.Name, r.N, maxN)
	case r.Per < 1 || r.Per > day:
		return nil, fmt.Errorf("check limit %s: period %s: must be more than 0 and at most 24h", r.Name, r.Per)
	case r.N > int64(r.Per):
		return nil, fmt.Errorf("check limit %s: %d per %s: more than 10^9 a second", r.Name, r.N, r.Per)
	case r.Burst < 0 || r.Burst > maxN:
		return nil, fmt.Errorf("check limit %s: burst %d: must be 0 to %d", r.Name, r.Burst, maxN)
	}
	r.ID = r.id()
	switch {
	case r.Burst > 0:
		if err := r.setBucket(); err != nil {
			return nil, fmt.Errorf("check limit %s: %w", r.Name, err)
		}
	case r.Per == day:
		r.algorithm = calendarDay
	default:
		r.setWindow()
	}
	return &r, nil
}

func (r *Rule) id() uint64 {
	var b []byte
	for _, s := range [...]string{r.Scope, r.Name, r.KeyKind} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, n := range [...]int64{r.N, int64(r.Per), r.Burst} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}

func (r *Rule) setBucket() error {
	hi, lo := bits.Mul64(uint64(r.Burst), uint64(r.Per))
	if hi >= uint64(r.N) {
		return errors.New("burst takes longer than 366 days to refill")
	}
	refill, _ := bits.Div64(hi, lo, uint64(r.N))
	if refill > uint64(maxRefill) {
		return errors.New("burst takes longer than 366 days to refill")
	}
	r.algorithm = bucket
	// As many fractional bits as keep the burst, its rounding up included, near 2^60, and 10 s (late) under 2^62.
	r.fraction = uint8(min(28, 60-bits.Len64(refill+uint64(r.Burst))))
	hi, lo = uint64(r.Per)>>(64-r.fraction), uint64(r.Per)<<r.fraction
	cost, rest := bits.Div64(hi, lo, uint64(r.N))
	if rest > 0 {
		cost++
	}
	r.cost, r.burst = cost, cost*uint64(r.Burst)
	return nil
}

func (r *Rule) setWindow() {
	r.algorithm, r.table = slidingWindow, 1
	r.tick = uint8(max(0, bits.Len64(uint64(r.Per))-30))
	r.ticks = int32((int64(r.Per) + 1<<r.tick - 1) >> r.tick)
	if r.N > ringLen {
		r.cell = uint32((r.ticks + subBuckets - 1) / subBuckets)
	}
}

// step decides on one request at now and, if charge is set and it is allowed, counts it.
func (r *Rule) step(s *slot, w *window, now int64, charge bool) Decision {
	switch r.algorithm {
	case slidingWindow:
		return r.stepWindow(s, w, now, charge)
	case bucket:
		return r.stepBucket(s, now, charge)
	}
	return r.stepDay(s, now, charge)
}

// unused is the decision for a key that nothing is known of.
func (r *Rule) unused(now int64) Decision {
	d := Decision{Allowed: true, Limit: r.N, Remaining: r.N}
	switch r.algorithm {
	case bucket:
		d.Limit, d.Remaining = r.Burst, r.Burst
	case calendarDay:
		d.Reset = time.Duration(midnight(now) - now)
	}
	return d
}
