package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
)

// startNode runs weir with a configuration in which @ADDRESS@ and @ADMIN@ stand for its own addresses, and waits until it
// listens.
func startNode(t *testing.T, env []string, yaml string) (p *process, address, admin string) {
	t.Helper()
	address, admin = freeAddress(t), freeAddress(t)
	file := filepath.Join(t.TempDir(), "weir.yaml")
	writeFile(t, file, strings.NewReplacer("@ADDRESS@", address, "@ADMIN@", admin).Replace(yaml))
	p = startWeir(t, env, "run", "-c", file)
	p.wait("weir listens", func() bool { return listens(address) && listens(admin) })
	return p, address, admin
}

// TestOverload offers three times what an upstream can serve, at a constant rate: it is kept as busy as it can be, who is
// served is served soon, and when the load is gone so is what it did. WEIR_OVERLOAD sets how long it lasts; then it comes three
// times, and the figures are the medians.
func TestOverload(t *testing.T) {
	length := coretest.Lasting(t, "WEIR_OVERLOAD", 2*time.Second)
	rounds := 1
	if os.Getenv("WEIR_OVERLOAD") != "" {
		rounds = 3
	}
	const places, cost = 20, 50 * time.Millisecond
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(cost) }))
	defer up.Close()
	_, address, _ := startNode(t, nil, `version: 1
access_log: {output: "off"}
listeners: [{address: "@ADDRESS@"}]
admin: {address: "@ADMIN@"}
upstreams: {api: {endpoints: ["`+up.URL+`"], max_in_flight: `+strconv.Itoa(places)+`, queue: {max: 10, wait: 45ms}}}
routes: [{match: {path: /*}, auth: none, upstream: api}]
`)
	s := &coretest.Steady{Address: address, Request: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Timeout: 5 * time.Second}
	defer s.Close()
	var goodput, p99, recovery []float64
	for range rounds {
		peak := closedLoop(t, s, places, length/2)
		s.Rate = int(peak / 2)
		normal := s.Run(t, length/2)
		s.Rate = int(peak * 3)
		over := s.Run(t, length)
		s.Rate = int(peak / 2)
		after := s.Run(t, 4*time.Second)
		usual, under := coretest.Percentile(normal, 200, 0.99), coretest.Percentile(over, 200, 0.99)
		goodput = append(goodput, float64(coretest.Good(t, over, 200))/length.Seconds()/peak)
		p99 = append(p99, float64(under)/float64(usual))
		recovery = append(recovery, recovered(after, s.Rate/2, 2*usual).Seconds())
		t.Logf("peak %.0f/s; p99 %s at half of it, %s of the admitted at three times that: %v", peak, usual, under, coretest.Statuses(over))
	}
	t.Logf("goodput %.2f, p99 × %.2f, recovered after %.2f s", goodput, p99, recovery)
	coretest.Score(t, "C3", "goodput", coretest.Median(goodput))
	coretest.Score(t, "C3", "p99", coretest.Median(p99))
	coretest.Score(t, "C3", "recovery", coretest.Median(recovery))
	if coretest.Median(goodput) < 0.6 || coretest.Median(recovery) > 3 {
		t.Error("not as it should be")
	}
}

// closedLoop has so many clients ask again and again, and gives what is served a second.
func closedLoop(t *testing.T, s *coretest.Steady, clients int, d time.Duration) float64 {
	var served atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range clients {
		all.Go(func() {
			nc, err := net.Dial("tcp", s.Address)
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			c := coretest.NewClient(t, nc)
			_ = c.SetDeadline(began.Add(d + time.Minute))
			for time.Since(began) < d {
				c.Send(s.Request)
				if answer, _, err := coretest.ReadResponse(c.In, "GET"); err == nil && answer.StatusCode == 200 {
					served.Add(1)
				}
			}
		})
	}
	all.Wait()
	return float64(served.Load()) / time.Since(began).Seconds()
}

// recovered is when the first n samples in a row begin of which no more than one in fifty is refused or slow.
func recovered(all []coretest.Sample, n int, slow time.Duration) time.Duration {
	bad := func(s *coretest.Sample) bool { return s.Status != 200 || s.Took > slow }
	in := 0
	for i := range all {
		if bad(&all[i]) {
			in++
		}
		if i < n-1 {
			continue
		}
		first := &all[i-n+1]
		if in <= n/50 {
			return first.Due
		}
		if bad(first) {
			in--
		}
	}
	return all[len(all)-1].Due
}

// TestMemoryCap floods a node that may use 256 MiB, as a control group of that size makes it be, with connections, heads that do
// not end and bodies that nobody takes: it stays within, and serves when they have gone. WEIR_FLOOD sets how many of each.
func TestMemoryCap(t *testing.T) {
	n := coretest.Times(t, "WEIR_FLOOD", 1500)
	hold := make(chan struct{})
	up := coretest.StartRaw(t, func(u *coretest.Client) { // takes nothing of a body
		if head := u.Head(); strings.HasPrefix(head, "GET") {
			u.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
			return
		}
		<-hold
	})
	defer close(hold)
	p, address, admin := startNode(t, []string{"GOMEMLIMIT=230MiB"}, `version: 1
access_log: {output: "off"}
listeners: [{address: "@ADDRESS@"}]
admin: {address: "@ADMIN@"}
upstreams: {api: {endpoints: ["http://`+up.Address()+`"]}}
routes: [{match: {path: /*}, auth: none, upstream: api}]
`)
	body := strings.Repeat("x", 256<<10)
	peak := 0
	for _, flood := range []struct{ name, bytes string }{
		{"connections", ""},
		{"heads", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X-Fill: "+strings.Repeat("y", 492)+"\r\n", 62)}, // 31 KiB of 32
		{"bodies", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" + body},
	} {
		var held []net.Conn
		var wg sync.WaitGroup
		for range n {
			nc, err := net.DialTimeout("tcp", address, time.Second)
			if err != nil {
				break // weir accepts no more
			}
			held = append(held, nc)
			wg.Go(func() {
				_ = nc.SetWriteDeadline(time.Now().Add(3 * time.Second))
				_, _ = io.WriteString(nc, flood.bytes)
			})
		}
		wg.Wait()
		peak = p.resources().peak
		t.Logf("%d × %s: rss %d KiB, peak %d KiB", len(held), flood.name, p.resources().rss, peak)
		for _, nc := range held {
			_ = nc.Close()
		}
		p.wait("the flood is over", func() bool { return openFiles(p.cmd.Process.Pid) < 100 })
		p.wait("weir serves", func() bool { return askOnce("tcp", address, "/") == nil })
	}
	select {
	case <-p.done:
		t.Fatalf("weir has ended\n%s", p.stderr.String())
	default:
	}
	if !listens(admin) {
		t.Error("the admin side does not answer")
	}
	coretest.Score(t, "C4", "rss", float64(peak)/1024)
	if peak > 240<<10 {
		t.Errorf("rss %d KiB", peak)
	}
}
