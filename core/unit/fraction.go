package unit

import (
	"errors"
	"fmt"
	"strconv"
)

var errFraction = errors.New("wants a fraction such as 20% or 0.5%, at most 100%")

// percent is the number of parts of a [Fraction] in one percent.
const percent = 10_000

// Fraction is a share from 0 to 1 in parts of a million, so that two of them compare and add up exactly.
type Fraction int32

// ParseFraction parses 20%, 0.5%, 100% and 0, to the fourth digit behind the point.
func ParseFraction(s string) (Fraction, error) {
	if s == "0" {
		return 0, nil
	}
	number, name, rest := cutQuantity(s)
	if number == "" || rest != "" || name != "" && name != "%" {
		return 0, fmt.Errorf("%w, not %q", errFraction, s)
	}
	if name == "" {
		return 0, fmt.Errorf("%q has no %%: %w", s, errFraction)
	}
	n, err := scale(number, percent)
	if err != nil {
		return 0, fmt.Errorf("fraction %q %w", s, err)
	}
	if n > 100*percent {
		return 0, fmt.Errorf("fraction %q %w: %w", s, errTooLarge, errFraction)
	}
	return Fraction(n), nil
}

// Float returns f as a number from 0 to 1.
func (f Fraction) Float() float64 {
	return float64(f) / (100 * percent)
}

// String prints f as [ParseFraction] reads it.
func (f Fraction) String() string {
	return strconv.FormatFloat(float64(f)/percent, 'f', -1, 64) + "%"
}

// MarshalText is String, for JSON.
func (f Fraction) MarshalText() ([]byte, error) {
	return []byte(f.String()), nil
}
