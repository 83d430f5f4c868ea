package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// attack is one way in which slowhttptest holds connections open.
type attack struct {
	name string
	args []string
}

// slowClients is how many connections an attack opens.
const slowClients = "1000"

var attacks = []attack{
	{"slow headers", []string{"-H", "-i", "5"}},
	{"slow bodies", []string{"-B", "-i", "5", "-s", "8192", "-t", "POST"}},
	{"slow readers", []string{"-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "1"}},
}

// runSlow has ordinary clients ask weir at a constant rate, by turns alone and while slowhttptest holds 1,000 connections.
func runSlow(o options, tmp string, out io.Writer) error {
	slowhttptest, err := find("slowhttptest")
	if err != nil {
		return errors.New("slowhttptest is needed; `make bench-tools` installs it")
	}
	backend, err := startBulkBackend()
	if err != nil {
		return err
	}
	defer backend.Close()
	p, err := launch(rivals[0], o.weir, tmp, backend.Addr().String())
	if err != nil {
		return err
	}
	f := &field{proxies: []*proxy{p}}
	defer f.stop()
	quiet, held := map[string][]float64{}, map[string][]float64{}
	if _, err := steady(p, 3*time.Second); err != nil { // nobody is measured cold
		return err
	}
	for round := range o.rounds {
		for _, a := range attacks {
			before, err := steady(p, o.duration)
			if err != nil {
				return err
			}
			cmd := exec.Command(slowhttptest, append([]string{"-c", slowClients, "-r", "500", "-l", "600", "-p", "5", "-u", p.url + "/100000"}, a.args...)...)
			if err := cmd.Start(); err != nil {
				return err
			}
			time.Sleep(4 * time.Second) // until all connections are there
			open := openConnections(p)
			during, err := steady(p, o.duration)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
			quiet[a.name], held[a.name] = append(quiet[a.name], before), append(held[a.name], during)
			fmt.Fprintf(out, "round %d  %-13s p99 %6.2f ms alone, %6.2f ms beside %d slow connections\n", round+1, a.name, before, during, open)
		}
	}
	var report strings.Builder
	fmt.Fprintf(&report, "# Slow clients, one run\n\n%s connections of slowhttptest beside %d ordinary requests a second over %d connections; p99 of these, counted from when each was due, by turns without and with. %s. Written by `make bench-slow`.\n\n", slowClients, steadyRate, steadyClients, processor())
	report.WriteString("| attack | p99 alone | p99 beside it | ratio, median (range) |\n|---|---|---|---|\n")
	worst := 0.0
	for _, a := range attacks {
		var ratios []float64
		for i := range quiet[a.name] {
			ratios = append(ratios, held[a.name][i]/quiet[a.name][i])
		}
		worst = max(worst, median(ratios))
		fmt.Fprintf(&report, "| %s | %.2f ms | %.2f ms | %.2f (%.2f–%.2f) |\n", a.name, median(quiet[a.name]), median(held[a.name]), median(ratios), slices.Min(ratios), slices.Max(ratios))
	}
	fmt.Fprint(out, "\n", report.String())
	fmt.Fprintf(out, "score C1 p99 %g\n", worst)
	return os.WriteFile(filepath.Join(o.dir, "slow.md"), []byte(report.String()), 0o644)
}

// openConnections counts a process' sockets, about.
func openConnections(p *proxy) int {
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	return len(fds)
}

const (
	steadyRate    = 1000 // requests a second
	steadyClients = 20
)

// steady asks at a constant rate for d and gives the 99th percentile in milliseconds, of times from when a request was due:
// one that waits behind a slow one is counted as slow, too.
func steady(p *proxy, d time.Duration) (p99 float64, err error) {
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var clients sync.WaitGroup
	start := time.Now()
	gap := time.Second * steadyClients / steadyRate
	for i := range steadyClients {
		clients.Go(func() {
			own, err := steadyClient(p, start.Add(gap*time.Duration(i)/steadyClients), start.Add(d), gap)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, own...)
			failed = errors.Join(failed, err)
		})
	}
	clients.Wait()
	if failed != nil {
		return 0, failed
	}
	slices.Sort(all)
	return float64(all[len(all)*99/100].Microseconds()) / 1000, nil
}

func steadyClient(p *proxy, due, end time.Time, gap time.Duration) (all []time.Duration, err error) {
	nc, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	br := bufio.NewReader(nc)
	for ; due.Before(end); due = due.Add(gap) {
		time.Sleep(time.Until(due))
		if _, err := io.WriteString(nc, "GET /100 HTTP/1.1\r\nHost: steady\r\n\r\n"); err != nil {
			return nil, err
		}
		answer, err := http.ReadResponse(br, nil)
		if err != nil {
			return nil, err
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != 200 {
			return nil, fmt.Errorf("%s, %w", answer.Status, err)
		}
		all = append(all, time.Since(due))
	}
	return all, nil
}
