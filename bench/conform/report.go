package main

import (
	"fmt"
	"strings"
)

// report makes Markdown of what was played.
func report(all []*played) string {
	var b strings.Builder
	b.WriteString("# Conformance\n\nWritten by `make conform`: every case is played against a running proxy before an origin that records what reaches it, and is\n" +
		"followed by ordinary requests. The cases and their rules stand in `bench/conform`.\n\n")
	table(&b, "Requests", []string{"ok", "lenient", "unsafe", "legal refused"}, all, func(p *played) []int { return count(p.requests) })
	table(&b, "Answers", []string{"ok", "lenient", "unsafe", "legal refused", "poisoned requests"}, all, func(p *played) []int { return append(count(p.answers), p.poisoned) })
	b.WriteString("ok: as the rule asks, and the next client is served as ever. Lenient: harmless, and not what the rule asks for. Unsafe: what\n" +
		"reached the upstream or the client can be read in more than one way, is invented, or disturbed another request. Legal refused: a\n" +
		"legal request or answer was not passed on. Versions:\n\n")
	for _, p := range all {
		fmt.Fprintf(&b, "- %s: %s\n", p.name, p.version)
	}
	for _, p := range all {
		fmt.Fprintf(&b, "\n## %s\n", p.name)
		list(&b, "Requests", p.requests)
		list(&b, "Answers", p.answers)
	}
	return b.String()
}

func count(all []result) []int {
	n := make([]int, len(verdicts))
	for _, r := range all {
		n[r.verdict]++
	}
	return n
}

func table(b *strings.Builder, title string, columns []string, all []*played, row func(*played) []int) {
	total := 0
	if len(all) > 0 {
		total = len(all[0].requests)
		if title == "Answers" {
			total = len(all[0].answers)
		}
	}
	fmt.Fprintf(b, "| %s (%d) | %s |\n|---|%s\n", title, total, strings.Join(columns, " | "), strings.Repeat("--:|", len(columns)))
	for _, p := range all {
		fmt.Fprintf(b, "| %s |", p.name)
		for _, n := range row(p) {
			fmt.Fprintf(b, " %d |", n)
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

// list names what was not ok, the unsafe ones first.
func list(b *strings.Builder, title string, all []result) {
	n := 0
	for _, v := range []verdict{unsafe, refused, lenient} {
		for _, r := range all {
			if r.verdict != v {
				continue
			}
			if n++; n == 1 {
				fmt.Fprintf(b, "\n%s:\n\n", title)
			}
			fmt.Fprintf(b, "- %s: %s, %s: %s\n", r.verdict, r.rule, r.name, printable(r.reason))
		}
	}
	if n == 0 {
		fmt.Fprintf(b, "\n%s: all ok.\n", title)
	}
}

// printable keeps what a proxy was sent from being Markdown.
func printable(s string) string {
	if len(s) > 160 {
		s = s[:160] + "…"
	}
	return "`" + strings.NewReplacer("`", "'", "\n", " ").Replace(strings.ToValidUTF8(s, "?")) + "`"
}
