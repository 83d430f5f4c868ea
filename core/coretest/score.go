package coretest

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Score tells a figure of the scoreboard: bench/score reads it off the test's output and holds it to its floor. id is the
// row's, name the figure's where a row has several, in one word each.
func Score(t testing.TB, id, name string, figure float64) {
	t.Helper()
	t.Logf("score %s %s %g", id, name, figure)
}

// Lasting is how long a test's load lasts: short in the suite, or what the environment's variable says.
func Lasting(t testing.TB, variable string, short time.Duration) time.Duration {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return short
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return d
}

// Times is how often a test does what it does: a few times in the suite, or what the environment's variable says.
func Times(t testing.TB, variable string, few int) int {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return few
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// Median gives the middle of values that are measured in turns.
func Median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
