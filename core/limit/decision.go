package limit

import (
	"strconv"
	"time"
)

// Decision is the answer to one request.
type Decision struct {
	Allowed    bool
	Limit      int64         // the most that can be had at once: N, or the burst
	Remaining  int64         // requests that would pass at this moment
	Reset      time.Duration // until all of Limit is to be had, if nothing else comes
	RetryAfter time.Duration // when refused: until the next request passes, and not before; else 0
}

// AppendLimit appends the value of X-RateLimit-Limit.
func (d Decision) AppendLimit(dst []byte) []byte {
	return strconv.AppendInt(dst, d.Limit, 10)
}

// AppendRemaining appends the value of X-RateLimit-Remaining.
func (d Decision) AppendRemaining(dst []byte) []byte {
	return strconv.AppendInt(dst, d.Remaining, 10)
}

// AppendReset appends the value of X-RateLimit-Reset: Unix time in seconds, rounded up. now is the one
// the decision was made with.
func (d Decision) AppendReset(dst []byte, now int64) []byte {
	return strconv.AppendInt(dst, seconds(now+int64(d.Reset)), 10)
}

// AppendRetryAfter appends the value of Retry-After: seconds, rounded up, at least 1 (RFC 9110 §10.2.3).
func (d Decision) AppendRetryAfter(dst []byte) []byte {
	return strconv.AppendInt(dst, max(1, seconds(int64(d.RetryAfter))), 10)
}

func seconds(ns int64) int64 {
	s := ns / int64(time.Second)
	if ns%int64(time.Second) > 0 {
		s++
	}
	return s
}
