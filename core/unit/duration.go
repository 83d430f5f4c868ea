// Package unit parses and prints the quantities an operator writes: durations, sizes, rates and fractions.
//
// Every one of them carries its unit in the text. A bare number is an error, except 0, which means the same in
// every unit. Parsing is exact: no sign, no white space, no silent rounding, no overflow.
package unit

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Day is 24 hours, the longest unit of a duration. It is not a calendar day: see [Rate.Daily] for that one.
const Day = 24 * time.Hour

var errDuration = errors.New("wants a duration such as 500ms, 5s, 1m30s, 1h or 30d")

type durationUnit struct {
	name string
	size time.Duration
}

// Longest first: a duration is written and printed in this order, each unit at most once.
var durationUnits = []durationUnit{
	{"d", Day},
	{"h", time.Hour},
	{"m", time.Minute},
	{"s", time.Second},
	{"ms", time.Millisecond},
	{"us", time.Microsecond},
	{"ns", time.Nanosecond},
}

// ParseDuration parses 500ms, 5s, 1.5s, 1m30s, 1h, 30d and 0. Units go from the longest to the shortest, each at
// most once; the result is never negative.
func ParseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	var sum time.Duration
	next := 0
	for rest := s; ; {
		number, name, tail := cutQuantity(rest)
		if number == "" {
			return 0, fmt.Errorf("%w, not %q", errDuration, s)
		}
		if name == "" {
			return 0, fmt.Errorf("%q has no unit: %w", s, errDuration)
		}
		i := indexDurationUnit(name)
		if i < 0 {
			return 0, fmt.Errorf("unknown unit %q in %q: %w", name, s, errDuration)
		}
		if i < next {
			return 0, fmt.Errorf("unit %q in %q is repeated or out of order: %w", name, s, errDuration)
		}
		next = i + 1
		part, err := scale(number, int64(durationUnits[i].size))
		if err != nil {
			return 0, fmt.Errorf("duration %q %w", s, err)
		}
		if int64(sum) > math.MaxInt64-part {
			return 0, fmt.Errorf("duration %q %w", s, errTooLarge)
		}
		sum += time.Duration(part)
		if tail == "" {
			return sum, nil
		}
		rest = tail
	}
}

// FormatDuration prints d as [ParseDuration] reads it: 1m30s and not 1m30.0s, 30d and not 720h0m0s.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	rest := uint64(d)
	if d < 0 {
		b.WriteByte('-')
		rest = -rest
	}
	for _, u := range durationUnits {
		if n := rest / uint64(u.size); n > 0 {
			b.WriteString(strconv.FormatUint(n, 10))
			b.WriteString(u.name)
			rest %= uint64(u.size)
		}
	}
	return b.String()
}

func indexDurationUnit(name string) int {
	for i, u := range durationUnits {
		if u.name == name {
			return i
		}
	}
	return -1
}
