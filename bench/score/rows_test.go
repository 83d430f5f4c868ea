package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRows: every row's tests exist, and its id is its own.
func TestRows(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rows {
		if seen[r.id] || len(r.figures) == 0 {
			t.Errorf("%s: twice, or without a figure", r.id)
		}
		seen[r.id] = true
		at := slices.IndexFunc(r.cmd, func(a string) bool { return a == "-run" || a == "-fuzz" })
		if r.cmd[1] != "test" || at < 0 {
			continue
		}
		var text strings.Builder
		for _, pkg := range r.cmd[2:at] {
			files, _ := filepath.Glob(filepath.Join("../..", pkg, "*_test.go"))
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				text.Write(b)
			}
		}
		pattern := r.cmd[at+1]
		if i := slices.Index(r.cmd, "-fuzz"); i >= 0 {
			pattern = r.cmd[i+1]
		}
		for _, name := range strings.Split(strings.Trim(pattern, "^$()"), "|") {
			if !strings.Contains(text.String(), "\nfunc "+name+"(") {
				t.Errorf("%s: there is no %s", r.id, name)
			}
		}
	}
}

// TestMeasure: figures are read off what a command prints, held to their floors, and missed when they are not there.
func TestMeasure(t *testing.T) {
	f := func(printed, want string, figures ...figure) {
		t.Helper()
		res := measure(row{id: "X1", figures: figures, cmd: []string{"printf", printed}}, options{}, io.Discard)
		if got := res.shown() + "; " + res.verdict(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if res.met() != strings.HasSuffix(want, "; met") {
			t.Errorf("%q is met: %t", want, res.met())
		}
	}
	f("    a_test.go:1: score X1 p99 1.5\n", "p99 1.5 ×; met", most("p99", 2, "×"))
	f("score X1 p99 2.5\nscore X2 p99 1\n", "p99 2.5 ×; p99 missed by 0.5", most("p99", 2, "×"))
	f("score X1 share 0.5\nscore X1 n 1e+06\n", "share 0.5, n 1000000; share missed by 0.4", least("share", 0.9, ""), least("n", 1000, ""))
	f("score X1 fds -6\n", "fds -6; fds missed by 1", within("fds", 5))
	f("score X1 p99 NaN\n", "p99 NaN; p99 missed by NaN", most("p99", 2, ""))
	f("nothing\n", "; not measured: no figure p99", most("p99", 2, ""))
	f("--- PASS: TestA (0.1s)\n--- FAIL: TestB (0.1s)\n", "failing 1; failing missed by 1", holds(2))
	f("--- PASS: TestA (0.1s)\n", "; not measured: 1 tests ran, want 2", holds(2))
}
