package config

import (
	"strconv"
	"strings"
)

// suggest returns `; did you mean "x"?` for the name nearest to got, or nothing when none is near.
func suggest(got string, names []string) string {
	// A third of the letters may be wrong, but not all of them.
	best, least := "", min((len(got)+2)/3+1, len(got))
	for _, name := range names {
		if n := distance(got, name, least); n < least {
			best, least = name, n
		}
	}
	for _, name := range names {
		if best == "" && len(got) > 2 && strings.HasPrefix(name, got) {
			best = name
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + strconv.Quote(best) + "?"
}

// distance is the number of insertions, deletions, substitutions and swaps of neighbours between a and b, or limit
// when it is no less.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if lower(a[i-1]) == lower(b[j-1]) {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
