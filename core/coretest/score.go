package coretest

import "testing"

// Score tells a figure of the scoreboard: bench/score reads it off the test's output and holds it to its floor. id is the
// row's, name the figure's where a row has several, in one word each.
func Score(t testing.TB, id, name string, figure float64) {
	t.Helper()
	t.Logf("score %s %s %g", id, name, figure)
}
