// Command bench measures weir beside the proxies that this machine has, in one run: the same backend, the same work,
// turn by turn, so that a noisy machine is noisy for all of them. See README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

type options struct {
	weir        string
	dir         string
	rounds      int
	duration    time.Duration
	connections []int
}

func main() {
	var o options
	quick := flag.Bool("quick", false, "fewer and shorter rounds, 64 connections only: under 90 seconds")
	flag.StringVar(&o.weir, "weir", "build/weir", "the binary to measure")
	flag.StringVar(&o.dir, "out", "bench/results", "where results are written")
	flag.IntVar(&o.rounds, "rounds", 7, "rounds; in each every proxy has a turn")
	flag.DurationVar(&o.duration, "duration", 6*time.Second, "of one turn")
	bulk := flag.Int64("bulk", 0, "bytes of one large body to send through each proxy, instead of many small ones")
	slow := flag.Bool("slow", false, "ordinary traffic beside slow clients, instead")
	flag.Parse()
	o.connections = []int{64, 1000}
	if *quick {
		o.rounds, o.duration, o.connections = 5, 3*time.Second, []int{64}
	}
	do := func() error { return run(o, os.Stdout) }
	if *bulk > 0 {
		o.rounds = min(o.rounds, 3)
		do = func() error { return withTemp(func(tmp string) error { return runBulk(o, tmp, *bulk, os.Stdout) }) }
	}
	if *slow {
		o.rounds = min(o.rounds, 3)
		do = func() error { return withTemp(func(tmp string) error { return runSlow(o, tmp, os.Stdout) }) }
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o options, out io.Writer) error {
	wrk, err := find("wrk")
	if err != nil {
		return errors.New("wrk is needed to make load; `make bench-tools` installs it")
	}
	return withTemp(func(tmp string) error { return runPlain(o, wrk, tmp, out) })
}

// withTemp gives f a folder for as long as it runs.
func withTemp(f func(tmp string) error) error {
	tmp, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	return f(tmp)
}

func runPlain(o options, wrk, tmp string, out io.Writer) error {
	field, err := start(o, tmp, out)
	if err != nil {
		return err
	}
	defer field.stop()
	if len(field.proxies) < 2 {
		return errors.New("no rival was found, and a lone number says nothing; `make bench-tools` installs nginx and haproxy")
	}
	var report strings.Builder
	heading(&report, field)
	for _, c := range o.connections {
		samples, err := measure(wrk, field, c, o, out)
		if err != nil {
			return err
		}
		table(&report, fmt.Sprintf("Plain HTTP/1.1 proxy, %d keep-alive connections", c), field, samples)
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	fmt.Fprint(out, "\n", report.String())
	return os.WriteFile(filepath.Join(o.dir, "plain.md"), []byte(report.String()), 0o644)
}

// measure gives every proxy a turn in each round. The order turns from round to round.
func measure(wrk string, f *field, connections int, o options, out io.Writer) (map[string][]sample, error) {
	samples := map[string][]sample{}
	for _, p := range f.proxies { // nobody is measured cold
		if _, err := load(wrk, p, connections, time.Second); err != nil {
			return nil, err
		}
	}
	for round := range o.rounds {
		for i := range f.proxies {
			p := f.proxies[(i+round)%len(f.proxies)]
			s, err := load(wrk, p, connections, o.duration)
			if err != nil {
				return nil, err
			}
			samples[p.name] = append(samples[p.name], s)
			fmt.Fprintf(out, "round %d  %4d connections  %-8s %8.0f req/s  %6.2f µs CPU/request  p99 %s\n",
				round+1, connections, p.name, s.rate, s.cpu, s.p99)
		}
	}
	return samples, nil
}
