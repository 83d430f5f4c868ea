package config

import (
	"slices"
	"strconv"
	"strings"
)

// synonyms are words that other programs have for ours, and that are nearer to another of our own in letters, or to none.
var synonyms = map[string]string{
	"http2": ProtocolH2, "http/2": ProtocolH2, "http/2.0": ProtocolH2, "h2c": ProtocolH2, "grpc": ProtocolH2,
	"leastconn": BalanceLeastRequests, "least_conn": BalanceLeastRequests, "least_connections": BalanceLeastRequests,
	"ring_hash": BalanceHash, "maglev": BalanceHash, "ip_hash": BalanceHash, "source": BalanceHash,
	"max_connections": "connections", "max_header_bytes": "header_bytes", "max_body_size": "body_bytes",
}

// suggest returns `; did you mean "x"?` for the name nearest to got, or nothing when none is near.
func suggest(got string, names []string) string {
	if name := synonyms[strings.ToLower(got)]; slices.Contains(names, name) {
		return "; did you mean " + strconv.Quote(name) + "?"
	}
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
