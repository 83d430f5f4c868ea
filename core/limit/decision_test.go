package limit

import (
	"testing"
	"time"
)

func TestAppend(t *testing.T) {
	f := func(d Decision, now int64, limit, remaining, reset, retry string) {
		t.Helper()
		for _, c := range [...]struct{ got, want string }{
			{string(d.AppendLimit([]byte("="))), "=" + limit},
			{string(d.AppendRemaining([]byte("="))), "=" + remaining},
			{string(d.AppendReset([]byte("="), now)), "=" + reset},
			{string(d.AppendRetryAfter([]byte("="))), "=" + retry},
		} {
			if c.got != c.want {
				t.Errorf("%+v at %d: got %s, want %s", d, now, c.got, c.want)
			}
		}
	}
	f(Decision{Limit: 10, Remaining: 3, Reset: time.Second}, 1_700_000_000*sec, "10", "3", "1700000001", "1")
	// rounded up, both
	f(Decision{Limit: 1e9, Reset: 1, RetryAfter: 1}, 1_700_000_000*sec, "1000000000", "0", "1700000001", "1")
	f(Decision{RetryAfter: time.Second}, 5*sec, "0", "0", "5", "1")
	f(Decision{RetryAfter: time.Second + 1}, 5*sec+1, "0", "0", "6", "2")
	f(Decision{RetryAfter: maxRefill, Reset: maxRefill}, 0, "0", "0", "31622400", "31622400")
}
