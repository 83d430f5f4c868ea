package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

func report(h *headers, pairs []*pair, missing []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# WebAssembly filters, one run\n\n%d cores, %s, %s, %s/%s; wazero %s, http-wasm-host-go %s. Written by `make bench-filters`.\n",
		runtime.NumCPU(), processor(), runtime.Version(), runtime.GOOS, runtime.GOARCH,
		version("github.com/tetratelabs/wazero"), version("github.com/http-wasm/http-wasm-host-go"))
	fmt.Fprintf(&b, "\nEverything runs in one process, by turns, %d rounds; time is the process's CPU time. Differences and ratios are formed within a round; the tables show the median, "+
		"and in brackets the quartiles. Allocations are on the host, of one request: the least of all rounds.\n", len(h.bare.samples))
	for _, m := range missing {
		fmt.Fprintf(&b, "\nLeft out: %s.\n", m)
	}
	h.table(&b)
	h.chainTable(&b)
	meteringTable(&b, pairs)
	return b.String()
}

func (h *headers) table(b *strings.Builder) {
	b.WriteString("\n## A filter that reads a header, sets one, and adds one to the answer\n\n" +
		"What it adds to a request. Beside weir, with the same guests: the http-wasm host that Traefik's plugins run on, around a handler of net/http, less the handler alone.\n\n" +
		"| ABI | guest | ns | allocations | ns, that host | allocations, that host | that host, × weir |\n|---|---|---|---|---|---|---|\n")
	for _, r := range h.rows {
		own := less(r.weir, h.bare)
		fmt.Fprintf(b, "| %s | %s | %s | %s |", r.abi, r.name, spread(own, 0), count(r.weir.allocs-h.bare.allocs))
		if r.peer == nil {
			b.WriteString(" – | – | – |\n")
			continue
		}
		other := less(r.peer, h.peer)
		fmt.Fprintf(b, " %s | %s | %s |\n", spread(other, 0), count(r.peer.allocs-h.peer.allocs), spread(over(other, own), 1))
	}
}

func (h *headers) chainTable(b *strings.Builder) {
	b.WriteString("\n## Chains of it, by hand: a whole exchange in process\n\n| ABI | filters | ns | ns of each filter | allocations |\n|---|---|---|---|---|\n")
	for _, c := range h.chains {
		each := "–"
		if c.n > 0 {
			s := less(c.turn, h.bare)
			for i := range s {
				s[i] /= float64(c.n)
			}
			each = spread(s, 0)
		}
		fmt.Fprintf(b, "| %s | %d | %s | %s | %s |\n", c.abi, c.n, spread(c.turn.samples, 0), each, count(c.turn.allocs))
	}
}

func meteringTable(b *strings.Builder, pairs []*pair) {
	b.WriteString("\n## What metering costs\n\nThe same module in an engine that meters and in one that does not. Time is what the filter adds to a request, the host's part included.\n\n" +
		"| filter | what it does | ns, metered | ns, not | metered, × not |\n|---|---|---|---|---|\n")
	var medians series
	for _, p := range pairs {
		on, off := less(p.metered, p.bare), less(p.plain, p.bare)
		ratio := over(on, off)
		medians = append(medians, ratio.at(.5))
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", p.name, p.does, spread(on, 0), spread(off, 0), spread(ratio, 2))
	}
	if len(medians) > 0 {
		fmt.Fprintf(b, "\nThe dearest costs %.0f %% more with metering, the median of the %d %.0f %%.\n", 100*(medians.at(1)-1), len(medians), 100*(medians.at(.5)-1))
	}
}

// spread is a median with its quartiles.
func spread(s series, digits int) string {
	return fmt.Sprintf("%s (%s–%s)", number(s.at(.5), digits), number(s.at(.25), digits), number(s.at(.75), digits))
}

// number groups thousands.
func number(v float64, digits int) string {
	text := fmt.Sprintf("%.*f", digits, v)
	whole, part, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if part != "" {
		whole += "." + part
	}
	return whole
}

// count is a number of allocations: a whole one, unless it is none.
func count(v float64) string {
	if v < 0.005 {
		return "0"
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
}

func version(path string) string {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, d := range info.Deps {
			if d.Path == path {
				return d.Version
			}
		}
	}
	return "?"
}

func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), ":"))
		}
	}
	return "unknown processor"
}
