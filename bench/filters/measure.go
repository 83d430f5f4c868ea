package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// turn is something that is measured: run makes so many requests. A sample is nanoseconds of the process's CPU time a request,
// one a round, so that other processes disturb little, and so that what the garbage collector does counts.
type turn struct {
	name    string
	run     func(n int) error
	n       int // requests of one turn
	samples []float64
	allocs  float64 // of one request: the least of all rounds
}

// measure gives each a turn in every round. Those that are compared stand next to each other; the direction changes from round
// to round.
func measure(all []*turn, o options, out io.Writer) error {
	for _, t := range all {
		if err := t.warm(o.slice); err != nil {
			return err
		}
	}
	for round := range o.rounds {
		for i := range all {
			t := all[i]
			if round%2 == 1 {
				t = all[len(all)-1-i]
			}
			if err := t.sample(); err != nil {
				return err
			}
		}
		if (round+1)%10 == 0 || round+1 == o.rounds {
			fmt.Fprintf(out, "round %d of %d\n", round+1, o.rounds)
		}
	}
	return nil
}

// warm finds how many requests a turn takes.
func (t *turn) warm(slice time.Duration) error {
	for t.n = 64; ; t.n *= 2 {
		begin := cpu()
		if err := t.run(t.n); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		if took := cpu() - begin; took >= slice/4 {
			t.n = max(1, int(float64(t.n)*float64(slice)/float64(took)))
			return nil
		}
	}
}

func (t *turn) sample() error {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := cpu()
	err := t.run(t.n)
	took := cpu() - begin
	runtime.ReadMemStats(&after)
	if err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	allocs := float64(after.Mallocs-before.Mallocs) / float64(t.n)
	if len(t.samples) == 0 || allocs < t.allocs {
		t.allocs = allocs
	}
	t.samples = append(t.samples, float64(took.Nanoseconds())/float64(t.n))
	return nil
}

// cpu is the process's CPU time.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// series is a number for each round.
type series []float64

// less is what a adds to b.
func less(a, b *turn) series {
	var s series
	for i := range a.samples {
		s = append(s, a.samples[i]-b.samples[i])
	}
	return s
}

func over(a, b series) series {
	var s series
	for i := range a {
		s = append(s, a[i]/b[i])
	}
	return s
}

// at gives a quantile.
func (s series) at(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	i := q * float64(len(s)-1)
	low := int(i)
	high := min(low+1, len(s)-1)
	return sorted[low] + (sorted[high]-sorted[low])*(i-float64(low))
}

func raw(all []*turn) []byte {
	var b strings.Builder
	for _, t := range all {
		b.WriteString(t.name)
		for _, v := range t.samples {
			b.WriteString("\t" + strconv.FormatFloat(v, 'f', 1, 64))
		}
		b.WriteByte('\n')
	}
	return []byte(b.String())
}
