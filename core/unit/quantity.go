package unit

import (
	"errors"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

var (
	errTooLarge = errors.New("is too large")
	errTooFine  = errors.New("is finer than its smallest unit")
)

// cutQuantity splits the first number and its unit off s: "1m30s" gives "1", "m", "30s". The number is empty when s
// does not start with a digit or writes a point without a digit behind it.
func cutQuantity(s string) (number, name, rest string) {
	i := digits(s, 0)
	if i == 0 {
		return "", "", s
	}
	if i < len(s) && s[i] == '.' {
		end := digits(s, i+1)
		if end == i+1 {
			return "", "", s
		}
		i = end
	}
	number = s[:i]
	start := i
	for i < len(s) && (s[i] < '0' || s[i] > '9') {
		i++
	}
	return number, s[start:i], s[i:]
}

func digits(s string, i int) int {
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i
}

// scale returns number × size exactly; number is decimal digits with at most one point among them.
func scale(number string, size int64) (int64, error) {
	whole, fraction, _ := strings.Cut(number, ".")
	n, err := strconv.ParseUint(whole, 10, 63)
	if err != nil {
		return 0, errTooLarge
	}
	sum, err := multiply(int64(n), size)
	if err != nil {
		return 0, err
	}
	fraction = strings.TrimRight(fraction, "0")
	if fraction == "" {
		return sum, nil
	}
	if len(fraction) > len(powersOfTen)-1 {
		return 0, errTooFine
	}
	// Whole numbers, because a float would round 0.1GiB where the exact answer is "cannot be said in bytes".
	n, err = strconv.ParseUint(fraction, 10, 63)
	if err != nil {
		return 0, errTooFine
	}
	high, low := bits.Mul64(n, uint64(size))
	part, left := bits.Div64(high, low, powersOfTen[len(fraction)])
	if left != 0 {
		return 0, errTooFine
	}
	if sum > math.MaxInt64-int64(part) {
		return 0, errTooLarge
	}
	return sum + int64(part), nil
}

func multiply(n, size int64) (int64, error) {
	high, low := bits.Mul64(uint64(n), uint64(size))
	if high != 0 || low > math.MaxInt64 {
		return 0, errTooLarge
	}
	return int64(low), nil
}

var powersOfTen = [...]uint64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
}
