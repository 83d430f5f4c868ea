package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// outcome is what a row came to.
type outcome struct {
	row
	figures map[string]float64
	problem string // that the command failed without a figure that says so
	took    time.Duration
}

var (
	scoreLine = regexp.MustCompile(`(?m)^.*\bscore (\S+) (\S+) (-?[0-9.e+-]+|NaN|[+-]Inf)\s*$`)
	ranLine   = regexp.MustCompile(`(?m)^--- (PASS|FAIL): (\S+)`)
)

// measure runs the row's command.
func measure(r row, o options, out io.Writer) outcome {
	if o.quick {
		r.figures = slices.DeleteFunc(slices.Clone(r.figures), func(f figure) bool { return f.volume })
	}
	res := outcome{row: r, figures: map[string]float64{}}
	cmd := exec.Command(r.cmd[0], r.cmd[1:]...)
	cmd.Env = os.Environ()
	for _, e := range r.env {
		if name, _, _ := strings.Cut(e, "="); !o.quick && os.Getenv(name) == "" {
			cmd.Env = append(cmd.Env, e)
		}
	}
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	if o.verbose {
		cmd.Stdout, cmd.Stderr = io.MultiWriter(&text, out), io.MultiWriter(&text, out)
	}
	began := time.Now()
	err := cmd.Run()
	res.took = time.Since(began)
	for _, m := range scoreLine.FindAllStringSubmatch(text.String(), -1) {
		if m[1] == r.id {
			res.figures[m[2]], _ = strconv.ParseFloat(m[3], 64)
		}
	}
	ran, failed := 0, 0
	for _, m := range ranLine.FindAllStringSubmatch(text.String(), -1) {
		ran++
		if m[1] == "FAIL" {
			failed++
		}
	}
	for _, f := range r.figures {
		if _, told := res.figures[f.name]; told {
			continue
		}
		switch {
		case f.name == tests && ran >= f.atLeastRan:
			res.figures[tests] = float64(failed)
		case f.name == tests:
			res.problem = fmt.Sprintf("%d tests ran, want %d", ran, f.atLeastRan)
		case f.name == status && (err == nil || cmd.ProcessState.Exited()):
			res.figures[status] = float64(cmd.ProcessState.ExitCode())
		default:
			res.problem = "no figure " + f.name
		}
	}
	if res.problem != "" || err != nil && res.met() {
		if err != nil {
			res.problem = strings.TrimSpace(res.problem + " " + err.Error())
		}
		fmt.Fprintf(out, "%s\n%s\n", strings.Join(r.cmd, " "), tail(text.String(), 30))
	}
	return res
}

// tail gives the last n lines.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// met reports whether every figure is there and meets its floor.
func (o *outcome) met() bool {
	if o.problem != "" {
		return false
	}
	for _, f := range o.row.figures {
		if v, ok := o.figures[f.name]; !ok || f.missed(v) != 0 {
			return false
		}
	}
	return true
}

// shown are the figures in words.
func (o *outcome) shown() string {
	var all []string
	for _, f := range o.row.figures {
		if v, ok := o.figures[f.name]; ok {
			all = append(all, f.words(v))
		}
	}
	return strings.Join(all, ", ")
}

// verdict says met, or by how much each figure misses its floor.
func (o *outcome) verdict() string {
	if o.problem != "" {
		return "not measured: " + o.problem
	}
	var all []string
	for _, f := range o.row.figures {
		if by := f.missed(o.figures[f.name]); by != 0 {
			all = append(all, fmt.Sprintf("%s missed by %s", f.name, number(by)))
		}
	}
	if len(all) == 0 {
		return "met"
	}
	return strings.Join(all, ", ")
}

func (o *outcome) line() string {
	return fmt.Sprintf("%s; floor %s: %s (%s)", o.shown(), o.floors(), o.verdict(), o.took.Round(100*time.Millisecond))
}
