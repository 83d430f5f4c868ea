// Command score measures what weir is held to: each row of its table is one command that prints figures, with a floor for each.
// Without arguments all rows are measured and bench/results/scoreboard.md is written; with ids, only these. See ../README.md.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "each row as short as in the suite; no results are written")
	flag.BoolVar(&o.list, "list", false, "list the rows")
	flag.BoolVar(&o.verbose, "v", false, "show what the commands print")
	flag.StringVar(&o.weir, "weir", "build/weir", "the binary, for rows that play against one")
	flag.StringVar(&o.out, "out", "bench/results/scoreboard.md", "where results are written when all rows are measured")
	flag.Parse()
	if err := run(o, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "score:", err)
		os.Exit(1)
	}
}

type options struct {
	quick, list, verbose bool
	weir, out            string
}

func run(o options, ids []string, out io.Writer) error {
	if o.list {
		list(out)
		return nil
	}
	if len(ids) == 2 && ids[0] == "h2spec" { // what row A13 runs
		return h2spec(o.weir, ids[1], out)
	}
	chosen, err := choose(ids)
	if err != nil {
		return err
	}
	var all []outcome
	missed := 0
	for _, r := range chosen {
		res := measure(r, o, out)
		fmt.Fprintf(out, "%-8s %s\n", r.id, res.line())
		if !res.met() {
			missed++
		}
		all = append(all, res)
	}
	if len(ids) == 0 && !o.quick {
		if err := os.WriteFile(o.out, []byte(report(all)), 0o644); err != nil {
			return err
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d rows miss a floor", missed, len(all))
	}
	return nil
}

// choose gives the rows with the ids, or with none all that are measured by default.
func choose(ids []string) (chosen []row, err error) {
	if len(ids) == 0 {
		return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.apart }), nil
	}
	for _, id := range ids {
		i := slices.IndexFunc(rows, func(r row) bool { return strings.EqualFold(r.id, id) })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q; -list shows them", id)
		}
		chosen = append(chosen, rows[i])
	}
	return chosen, nil
}

func list(out io.Writer) {
	for _, r := range rows {
		apart := ""
		if r.apart {
			apart = " (only when asked for)"
		}
		fmt.Fprintf(out, "%-8s %s: %s%s\n         %s\n", r.id, r.what, r.floors(), apart, r.command())
	}
}
