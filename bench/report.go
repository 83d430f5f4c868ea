package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

func heading(b *strings.Builder, f *field) {
	fmt.Fprintf(b, "# Plain proxies, one run\n\n%d cores, %s, %s/%s. Backend: %s. Written by `make bench`.\n\n", runtime.NumCPU(), processor(), runtime.GOOS, runtime.GOARCH, f.backend.version)
	for _, p := range f.proxies {
		fmt.Fprintf(b, "- %s: %s\n", p.name, p.version)
	}
	b.WriteString("\nCPU is user and system time of all of a proxy's processes by request. A ratio is formed in each round against nginx in the same round; " +
		"the table shows the median ratio, and the least and the greatest. Below 1 is better than nginx.\n")
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

// table writes a scenario's results. Without nginx the first rival found is what ratios are formed against.
func table(b *strings.Builder, title string, f *field, samples map[string][]sample) {
	base := f.proxies[len(f.proxies)-1].name
	if samples["nginx"] != nil {
		base = "nginx"
	}
	fmt.Fprintf(b, "\n## %s\n\n| proxy | CPU, × %s | µs CPU/request | req/s, × %s | p50 | p99 |\n|---|---|---|---|---|---|\n", title, base, base)
	for _, p := range f.proxies {
		own, other := samples[p.name], samples[base]
		var cpu, rates, us []float64
		for i := range own {
			cpu = append(cpu, own[i].cpu/other[i].cpu)
			rates = append(rates, own[i].rate/other[i].rate)
			us = append(us, own[i].cpu)
		}
		m := own[len(own)/2]
		fmt.Fprintf(b, "| %s | %.2f (%.2f–%.2f) | %.1f | %.2f (%.2f–%.2f) | %s | %s |\n",
			p.name, median(cpu), slices.Min(cpu), slices.Max(cpu), median(us), median(rates), slices.Min(rates), slices.Max(rates), m.p50, m.p99)
	}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
