package main

import (
	"fmt"
	"runtime"
	"strings"
	"time"
)

// report makes Markdown of the outcomes.
func report(all []outcome) string {
	var b strings.Builder
	missed := 0
	for i := range all {
		if !all[i].met() {
			missed++
		}
	}
	fmt.Fprintf(&b, "# Scoreboard\n\nWritten by `make score` on %d cores, %s/%s, %s. %d rows, %d of them miss a floor. `make score-<id>` measures one row.\n\n",
		runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, time.Now().UTC().Format("2006-01-02"), len(all), missed)
	b.WriteString("| row | what | figure | floor | | command |\n|---|---|---|---|---|---|\n")
	for i := range all {
		o := &all[i]
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | `%s` |\n", o.id, cell(o.what), cell(o.shown()), cell(o.floors()), cell(o.verdict()), cell(o.command()))
	}
	b.WriteString("\nOnly when asked for, since they take long or need more than this machine:\n\n")
	for _, r := range rows {
		if r.apart {
			fmt.Fprintf(&b, "- %s, %s: floor %s, `%s`\n", r.id, r.what, r.floors(), r.command())
		}
	}
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// command is what a reader types.
func (r *row) command() string {
	var b strings.Builder
	for _, e := range r.env {
		b.WriteString(e + " ")
	}
	for i, a := range r.cmd {
		if i > 0 {
			b.WriteByte(' ')
		}
		if strings.ContainsAny(a, "|^$ ") {
			a = "'" + a + "'"
		}
		b.WriteString(a)
	}
	return b.String()
}
