// Command conform plays malformed, ambiguous and legal requests, byte for byte, against weir and the proxies that this machine
// has, before an origin that records exactly what reaches it; then hostile answers. It judges by the rules of HTTP, not by what
// any of them does. See ../README.md.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

type options struct {
	weir string
	dir  string // of the configurations and the results
	only string
	one  string
}

func main() {
	var o options
	flag.StringVar(&o.weir, "weir", "build/weir", "the binary to play against")
	flag.StringVar(&o.dir, "dir", "bench/conform", "where the configurations are, and where results.md is written")
	flag.StringVar(&o.only, "only", "", "this proxy only; no results are written")
	flag.StringVar(&o.one, "case", "", "cases of this name only; no results are written")
	flag.Parse()
	if err := run(o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conform:", err)
		os.Exit(1)
	}
}

// played is what one proxy came to.
type played struct {
	name, version string
	requests      []result
	answers       []result
	poisoned      int
}

func run(o options, out io.Writer) error {
	tmp, err := os.MkdirTemp("", "weir-conform-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	var all []*played
	for i := range programs {
		p := &programs[i]
		if o.only != "" && o.only != p.name {
			continue
		}
		path := o.weir
		if p.name != "weir" {
			if path, err = find(p.name); err != nil {
				return fmt.Errorf("%s is needed; `make bench-tools` installs it", p.name)
			}
		}
		one, err := playAll(p, path, tmp, o, out)
		if err != nil {
			return err
		}
		all = append(all, one)
	}
	text := report(all)
	fmt.Fprint(out, "\n", text)
	if o.only != "" || o.one != "" {
		return nil
	}
	return os.WriteFile(o.dir+"/results.md", []byte(text), 0o644)
}

func playAll(p *program, path, tmp string, o options, out io.Writer) (*played, error) {
	origin, err := openOrigin()
	if err != nil {
		return nil, err
	}
	defer origin.close()
	r, err := p.launch(path, o.dir, tmp, origin.address())
	if err != nil {
		return nil, err
	}
	defer r.stop()
	s := &stage{address: r.address, origin: origin, patience: 4 * time.Second}
	one := &played{name: p.name, version: r.version}
	tell := func(r result) {
		if r.verdict != fine {
			fmt.Fprintf(out, "%-8s %-13s %s: %s: %s\n", p.name, r.verdict, r.rule, r.name, r.reason)
		}
	}
	for _, k := range requests() {
		if o.one == "" || o.one == k.name {
			r := s.play(&k)
			tell(r)
			one.requests = append(one.requests, r)
		}
	}
	for i, a := range hostile() {
		if o.one == "" || o.one == a.name {
			r, poisoned := s.playAnswer(&a, i)
			tell(r)
			one.answers = append(one.answers, r)
			one.poisoned += poisoned
		}
	}
	return one, nil
}
