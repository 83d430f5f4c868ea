package unit

import (
	"errors"
	"fmt"
	"strconv"
)

var errSize = errors.New("wants a size such as 512B, 64KiB, 10MiB or 1GiB")

type sizeUnit struct {
	name string
	size int64
}

// Longest first. Only powers of two: whether 1KB is 1000 or 1024 bytes is a question nobody should have to ask.
var sizeUnits = []sizeUnit{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"B", 1},
}

// ParseSize parses 512B, 64KiB, 1.5MiB, 1GiB and 0 into bytes. The result is never negative.
func ParseSize(s string) (int64, error) {
	if s == "0" {
		return 0, nil
	}
	number, name, rest := cutQuantity(s)
	if number == "" || rest != "" {
		return 0, fmt.Errorf("%w, not %q", errSize, s)
	}
	if name == "" {
		return 0, fmt.Errorf("%q has no unit: %w", s, errSize)
	}
	for _, u := range sizeUnits {
		if u.name == name {
			n, err := scale(number, u.size)
			if err != nil {
				return 0, fmt.Errorf("size %q %w", s, err)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("unknown unit %q in %q: %w", name, s, errSize)
}

// FormatSize prints n bytes as [ParseSize] reads it, in the largest unit that says it exactly.
func FormatSize(n int64) string {
	for _, u := range sizeUnits {
		if n != 0 && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return "0B"
}
