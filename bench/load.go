package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// sample is what one turn showed.
type sample struct {
	rate     float64 // requests a second
	cpu      float64 // microseconds of the proxy's processes, user and system, a request
	p50, p99 string
}

var (
	total     = regexp.MustCompile(`(\d+) requests in`)
	rate      = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	p50       = regexp.MustCompile(`(?m)^\s+50%\s+(\S+)`)
	p99       = regexp.MustCompile(`(?m)^\s+99%\s+(\S+)`)
	notOK     = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
	socketErr = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
)

// load has wrk ask the proxy for the duration. A turn in which a request failed is no measurement.
func load(wrk string, p *proxy, connections int, d time.Duration) (sample, error) {
	before, err := cpuOf(p.cmd.Process.Pid)
	if err != nil {
		return sample{}, err
	}
	text, err := exec.Command(wrk, "-t1", "-c"+strconv.Itoa(connections), fmt.Sprintf("-d%ds", int(d.Seconds())), "--latency", p.url).CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("wrk on %s: %w\n%s", p.name, err, text)
	}
	after, err := cpuOf(p.cmd.Process.Pid)
	if err != nil {
		return sample{}, err
	}
	n := number(total, text)
	if n == 0 || notOK.Match(text) || socketErr.Match(text) {
		return sample{}, fmt.Errorf("requests failed through %s:\n%s", p.name, text)
	}
	return sample{
		rate: number(rate, text), cpu: float64((after - before).Microseconds()) / n, p50: word(p50, text), p99: word(p99, text),
	}, nil
}

func word(re *regexp.Regexp, text []byte) string {
	if m := re.FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return ""
}

func number(re *regexp.Regexp, text []byte) float64 {
	n, _ := strconv.ParseFloat(word(re, text), 64)
	return n
}

// cpuOf adds up the processor time of a process and its children, from /proc in clock ticks of 10 ms.
func cpuOf(pid int) (time.Duration, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	var ticks int64
	found := false
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// Fields are counted behind the name, which is in brackets and may hold anything.
		s := string(text)
		f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
		if own := strings.HasPrefix(s, strconv.Itoa(pid)+" "); !own && f[1] != strconv.Itoa(pid) {
			continue
		} else if own {
			found = true
		}
		user, _ := strconv.ParseInt(f[11], 10, 64)
		system, _ := strconv.ParseInt(f[12], 10, 64)
		ticks += user + system
	}
	if !found {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
