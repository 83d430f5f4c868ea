// Command filters measures, in process and in one run, what a WebAssembly filter costs a request: weir's filters of both ABIs
// beside the host of http-wasm that Traefik's plugins run on, and weir's metering on and off. See ../README.md.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

type options struct {
	dir    string
	rounds int
	slice  time.Duration
}

func main() {
	var o options
	quick := flag.Bool("quick", false, "fewer and shorter rounds: under a minute once the guests are built")
	flag.StringVar(&o.dir, "out", "bench/results", "where results are written")
	flag.IntVar(&o.rounds, "rounds", 41, "rounds; in each everything has a turn")
	flag.DurationVar(&o.slice, "slice", 50*time.Millisecond, "of CPU time, of one turn")
	flag.Parse()
	if *quick {
		o.rounds, o.slice = 11, 15*time.Millisecond
	}
	if err := run(o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "filters:", err)
		os.Exit(1)
	}
}

func run(o options, out io.Writer) error {
	g, err := buildGuests()
	if err != nil {
		return err
	}
	s, err := openStand()
	if err != nil {
		return err
	}
	defer s.close()
	heads, err := s.headers(g)
	if err != nil {
		return err
	}
	pairs, err := s.metering(g)
	if err != nil {
		return err
	}
	all := append(append([]*turn{}, heads.turns()...), turnsOf(pairs)...)
	if err := measure(all, o, out); err != nil {
		return err
	}
	text := report(heads, pairs, g.missing)
	fmt.Fprint(out, "\n", text)
	if err := os.MkdirAll(filepath.Join(o.dir, "raw"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.dir, "raw", "filters.tsv"), raw(all), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.dir, "filters.md"), []byte(text), 0o644)
}
