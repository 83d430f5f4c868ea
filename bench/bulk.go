package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// bulk is one large body through a proxy.
type bulk struct {
	rate float64 // bytes a second
	cpu  float64 // seconds of the proxy's processes by GiB
	rss  int64   // bytes of resident memory at the peak, beyond what there was before
}

// slowly is for how long the slow reader of measureBulk reads, a little at a time.
const slowly = 10 * time.Second

// runBulk sends a body of size bytes through every proxy, up and down, in turn, and then has weir serve a slow reader.
func runBulk(o options, tmp string, size int64, out io.Writer) error {
	backend, err := startBulkBackend()
	if err != nil {
		return err
	}
	defer backend.Close()
	f := &field{}
	defer func() { f.stop() }()
	for _, r := range rivals {
		program := o.weir
		if r.program != "" {
			if program, err = find(r.program); err != nil {
				continue
			}
		}
		p, err := launch(r, program, tmp, backend.Addr().String())
		if err != nil {
			return err
		}
		f.proxies = append(f.proxies, p)
	}
	up, down := map[string][]bulk{}, map[string][]bulk{}
	for round := range o.rounds {
		for i := range f.proxies {
			p := f.proxies[(i+round)%len(f.proxies)]
			for what, into := range map[string]map[string][]bulk{"upload": up, "download": down} {
				b, err := measureBulk(p, func() error { return transfer(p, what, size, 0) }, size)
				if err != nil {
					return fmt.Errorf("%s through %s: %w", what, p.name, err)
				}
				into[p.name] = append(into[p.name], b)
				fmt.Fprintf(out, "round %d  %-8s %-8s %6.2f GB/s  %5.3f s CPU/GiB  +%.1f MiB\n",
					round+1, what, p.name, b.rate/1e9, b.cpu, float64(b.rss)/(1<<20))
			}
		}
	}
	slow, err := measureBulk(f.proxies[0], func() error { return transfer(f.proxies[0], "download", size, slowly) }, size)
	if err != nil {
		return fmt.Errorf("slow reader: %w", err)
	}
	var report strings.Builder
	fmt.Fprintf(&report, "# Large bodies, one run\n\n%d bytes through one connection at a time, streamed, up and down; %s. Written by `make bench-bulk`.\n", size, processor())
	bulkTable(&report, "Upload", f, up)
	bulkTable(&report, "Download", f, down)
	fmt.Fprintf(&report, "\nweir with a client that reads 64 KiB each 10 ms for %s: +%.1f MiB at the peak.\n", slowly, float64(slow.rss)/(1<<20))
	fmt.Fprint(out, "\n", report.String())
	return os.WriteFile(filepath.Join(o.dir, "bulk.md"), []byte(report.String()), 0o644)
}

func bulkTable(b *strings.Builder, title string, f *field, samples map[string][]bulk) {
	fmt.Fprintf(b, "\n## %s\n\n| proxy | GB/s | GB/s, × nginx | s CPU/GiB | CPU, × nginx | peak memory beyond the start |\n|---|---|---|---|---|---|\n", title)
	base := samples["nginx"]
	if base == nil {
		base = samples["weir"]
	}
	for _, p := range f.proxies {
		var rates, ratios, cpu, cpuRatios []float64
		var most int64
		for i, s := range samples[p.name] {
			rates, ratios = append(rates, s.rate/1e9), append(ratios, s.rate/base[i].rate)
			cpu, cpuRatios = append(cpu, s.cpu), append(cpuRatios, s.cpu/base[i].cpu)
			most = max(most, s.rss)
		}
		fmt.Fprintf(b, "| %s | %.2f | %.2f | %.3f | %.2f | %.1f MiB |\n", p.name, median(rates), median(ratios), median(cpu), median(cpuRatios), float64(most)/(1<<20))
	}
}

// measureBulk runs f and looks at what it cost the proxy. The peak of memory is the kernel's own, reset before.
func measureBulk(p *proxy, f func() error, size int64) (bulk, error) {
	pid := p.cmd.Process.Pid
	before := memory(pid, "VmRSS:")
	for _, file := range processFiles(pid, "clear_refs") {
		if err := os.WriteFile(file, []byte("5"), 0); err != nil {
			return bulk{}, err
		}
	}
	cpu, err := cpuOf(pid)
	if err != nil {
		return bulk{}, err
	}
	began := time.Now()
	if err := f(); err != nil {
		return bulk{}, err
	}
	took := time.Since(began)
	after, err := cpuOf(pid)
	if err != nil {
		return bulk{}, err
	}
	return bulk{
		rate: float64(size) / took.Seconds(), cpu: (after - cpu).Seconds() / (float64(size) / (1 << 30)), rss: memory(pid, "VmHWM:") - before,
	}, nil
}

// processFiles names a file of /proc for a process and its children.
func processFiles(pid int, name string) []string {
	all := []string{fmt.Sprintf("/proc/%d/%s", pid, name)}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		s := string(text)
		if f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:]); f[1] == strconv.Itoa(pid) {
			all = append(all, filepath.Join(filepath.Dir(file), name))
		}
	}
	return all
}

// memory adds up a line of /proc/…/status over a process and its children, in bytes.
func memory(pid int, line string) (sum int64) {
	for _, file := range processFiles(pid, "status") {
		text, _ := os.ReadFile(file)
		for l := range strings.Lines(string(text)) {
			if kb, ok := strings.CutPrefix(l, line); ok {
				n, _ := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
				sum += n << 10
			}
		}
	}
	return sum
}

// transfer sends or takes one body over a connection of its own. A slow reader takes a little at a time, and leaves after
// the time given.
func transfer(p *proxy, what string, size int64, slow time.Duration) error {
	nc, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		return err
	}
	defer nc.Close()
	buf := make([]byte, 256<<10)
	if what == "upload" {
		fmt.Fprintf(nc, "PUT /sink HTTP/1.1\r\nHost: bulk\r\nContent-Length: %d\r\n\r\n", size)
		for left := size; left > 0; {
			n, err := nc.Write(buf[:min(left, int64(len(buf)))])
			if err != nil {
				return err
			}
			left -= int64(n)
		}
	} else {
		fmt.Fprintf(nc, "GET /%d HTTP/1.1\r\nHost: bulk\r\n\r\n", size)
	}
	answer, err := http.ReadResponse(bufio.NewReaderSize(nc, 4<<10), nil)
	if err != nil {
		return err
	}
	if answer.StatusCode != 200 {
		return errors.New(answer.Status)
	}
	if slow > 0 {
		for end := time.Now().Add(slow); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if _, err := io.ReadFull(answer.Body, buf[:64<<10]); err != nil {
				return err
			}
		}
		return nil
	}
	var n int64
	for {
		m, err := answer.Body.Read(buf)
		n += int64(m)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if what == "upload" {
		return nil
	}
	if n != size {
		return fmt.Errorf("%d bytes of %d came", n, size)
	}
	return nil
}

// startBulkBackend serves GET /N with N bytes and takes any body to its end.
func startBulkBackend() (net.Listener, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go serveBulk(nc)
		}
	}()
	return ln, nil
}

func serveBulk(nc net.Conn) {
	defer nc.Close()
	br := bufio.NewReaderSize(nc, 4<<10)
	buf := make([]byte, 256<<10)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		want := r.ContentLength
		var got int64
		for r.Body != http.NoBody {
			n, err := r.Body.Read(buf)
			if got += int64(n); err != nil {
				break
			}
		}
		if want > 0 && got != want {
			return // cut on the way
		}
		size, _ := strconv.ParseInt(r.URL.Path[1:], 10, 64)
		fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		for size > 0 {
			n, err := nc.Write(buf[:min(size, int64(len(buf)))])
			if err != nil {
				return
			}
			size -= int64(n)
		}
	}
}
