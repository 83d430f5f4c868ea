package unit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

var errRate = errors.New("wants a rate such as 10/s, 100/m, 1000/h or 10000/d")

// Rate is N events in every Per. The zero value is no rate at all.
type Rate struct {
	N   int64
	Per time.Duration // time.Second, time.Minute, time.Hour or Day
}

type ratePeriod struct {
	name string
	per  time.Duration
}

var ratePeriods = []ratePeriod{
	{"s", time.Second},
	{"m", time.Minute},
	{"h", time.Hour},
	{"d", Day},
}

// ParseRate parses 100/s, 100/m, 1000/h, 10000/d, and 0, which is the zero Rate.
func ParseRate(s string) (Rate, error) {
	if s == "0" {
		return Rate{}, nil
	}
	number, period, cut := strings.Cut(s, "/")
	if number == "" || digits(number, 0) != len(number) {
		return Rate{}, fmt.Errorf("%w, not %q", errRate, s)
	}
	if !cut {
		return Rate{}, fmt.Errorf("%q has no period: %w", s, errRate)
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return Rate{}, fmt.Errorf("rate %q %w", s, errTooLarge)
	}
	for _, p := range ratePeriods {
		if p.name == period {
			return Rate{N: n, Per: p.per}, nil
		}
	}
	return Rate{}, fmt.Errorf("unknown period %q in %q: %w", period, s, errRate)
}

// Daily says that the rate counts calendar days in UTC, not any 24 hours.
func (r Rate) Daily() bool {
	return r.Per == Day
}

// String prints r as [ParseRate] reads it.
func (r Rate) String() string {
	for _, p := range ratePeriods {
		if p.per == r.Per {
			return strconv.FormatInt(r.N, 10) + "/" + p.name
		}
	}
	return "0"
}

// MarshalText is String, for JSON.
func (r Rate) MarshalText() ([]byte, error) {
	return []byte(r.String()), nil
}
