package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/weirproxy/weir/core/coretest"
)

// turn is one thing that a client of the soak does; it reports whether its connection can be used again.
type turn struct {
	name string
	do   func(c *coretest.Client, r *rand.Rand) (again bool, err error)
}

// expect reads an answer of the status, with a body of the length.
func expect(c *coretest.Client, method string, status, length int) (bool, error) {
	answer, body, err := coretest.ReadResponse(c.In, method)
	if err != nil {
		return false, err
	}
	if answer.StatusCode != status || length >= 0 && len(body) != length {
		return false, fmt.Errorf("%d with %d bytes, want %d with %d", answer.StatusCode, len(body), status, length)
	}
	return !answer.Close, nil
}

// turns are the mix: what is ordinary several times, what is broken once each.
var turns = []turn{
	{"small", func(c *coretest.Client, r *rand.Rand) (bool, error) {
		c.Send("GET /100 HTTP/1.1\r\nHost: a\r\n\r\n")
		return expect(c, "GET", 200, 100)
	}},
	{"large", func(c *coretest.Client, r *rand.Rand) (bool, error) {
		n := r.IntN(200_000)
		c.Send(fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", n))
		return expect(c, "GET", 200, n)
	}},
	{"upload", func(c *coretest.Client, r *rand.Rand) (bool, error) {
		n := r.IntN(50_000)
		c.Send(fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("x", n)))
		return expect(c, "POST", 200, n)
	}},
	{"chunks", func(c *coretest.Client, r *rand.Rand) (bool, error) {
		c.Send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		n := 1 + r.IntN(20)
		for range n {
			c.Send("3e8\r\n" + strings.Repeat("y", 1000) + "\r\n")
		}
		c.Send("0\r\n\r\n")
		return expect(c, "POST", 200, 1000*n)
	}},
	{"head", func(c *coretest.Client, _ *rand.Rand) (bool, error) {
		c.Send("HEAD /100 HTTP/1.1\r\nHost: a\r\n\r\n")
		return expect(c, "HEAD", 200, 0)
	}},
	{"pipelined", func(c *coretest.Client, _ *rand.Rand) (bool, error) {
		c.Send(strings.Repeat("GET /100 HTTP/1.1\r\nHost: a\r\n\r\n", 3))
		for range 3 {
			if again, err := expect(c, "GET", 200, 100); !again || err != nil {
				return again, err
			}
		}
		return true, nil
	}},
	{"no route", func(c *coretest.Client, _ *rand.Rand) (bool, error) {
		c.Send("GET /nowhere HTTP/1.1\r\nHost: b\r\n\r\n")
		return expect(c, "GET", 404, -1)
	}},
	{"malformed", func(c *coretest.Client, _ *rand.Rand) (bool, error) {
		c.Send("GET /100 HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n")
		_, err := expect(c, "GET", 400, -1)
		return false, err
	}},
	{"upstream resets", func(c *coretest.Client, _ *rand.Rand) (bool, error) {
		c.Send("POST /reset HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
		return expect(c, "POST", 502, -1)
	}},
	{"leaves", func(c *coretest.Client, r *rand.Rand) (bool, error) {
		c.Send("GET /1000000 HTTP/1.1\r\nHost: a\r\n\r\n")
		_, _ = io.CopyN(io.Discard, c.In, int64(r.IntN(500_000)))
		c.Reset()
		return false, nil
	}},
	{"cuts its upload", func(c *coretest.Client, r *rand.Rand) (bool, error) {
		c.Send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("z", r.IntN(99_000)))
		return false, nil
	}},
	{"websocket", func(c *coretest.Client, r *rand.Rand) (bool, error) {
		c.Send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		if head := c.Head(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
			return false, fmt.Errorf("%q", head)
		}
		for range r.IntN(20) {
			c.Send("\x82\x85\x00\x00\x00\x00hello")
			got := make([]byte, 7)
			if _, err := io.ReadFull(c.In, got); err != nil || string(got) != "\x82\x05hello" {
				return false, fmt.Errorf("%q %w", got, err)
			}
		}
		return false, nil
	}},
}

// soakUpstream answers /n with n bytes, /echo with what it gets, /ws as a WebSocket that echoes, and breaks /reset off.
func soakUpstream(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/echo":
		b, err := io.ReadAll(r.Body)
		if err == nil {
			_, _ = w.Write(b)
		}
	case "/reset":
		panic(http.ErrAbortHandler)
	case "/ws":
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, b) != nil {
				return
			}
		}
	default:
		n, _ := strconv.Atoi(r.URL.Path[1:])
		w.Header().Set("Content-Length", strconv.Itoa(n))
		_, _ = w.Write(make([]byte, n))
	}
}

// TestSoak has clients do all that clients do, the same in every run, and compares what weir holds in the end with what it
// held in the beginning. WEIR_SOAK sets how long.
func TestSoak(t *testing.T) {
	length, parts := coretest.Lasting(t, "WEIR_SOAK", 2*time.Second), 2
	if length > time.Minute {
		parts = 16
	}
	up := httptest.NewServer(http.HandlerFunc(soakUpstream))
	defer up.Close()
	p, address, admin := startNode(t, nil, `version: 1
access_log: {output: "off"}
listeners: [{address: "@ADDRESS@"}]
admin: {address: "@ADMIN@"}
timeouts: {idle: 1s}
upstreams: {api: {endpoints: ["`+up.URL+`"], keepalive: {idle_timeout: 1s}}}
routes: [{match: {host: a, path: /*}, auth: none, upstream: api}]
`)
	// rest is what weir holds when nobody asks: its idle connections end after two seconds at most, and what a peak took is given back
	// little by little.
	rest := func() (r resources, goroutines float64) {
		p.wait("weir is at rest", func() bool {
			before := r
			if r = p.settledResources(admin); r.fds == before.fds && r.rss > before.rss-256 {
				return true
			}
			time.Sleep(2200 * time.Millisecond)
			return false
		})
		return r, count(t, admin, "go_goroutines")
	}
	soak(t, address, length/8) // warm
	begin, goroutines := rest()
	alive := count(t, admin, "go_memstats_heap_alloc_bytes")
	var end resources
	var goroutines2 float64
	var all []float64
	var requests, failed int64
	for range parts {
		n, bad := soak(t, address, length/time.Duration(parts))
		requests, failed = requests+n, failed+bad
		end, goroutines2 = rest()
		all = append(all, float64(end.rss))
	}
	t.Logf("alive on the heap: %.0f → %.0f KiB", alive/1024, count(t, admin, "go_memstats_heap_alloc_bytes")/1024)
	rss, fds, fds2 := all[parts/2:], begin.fds, end.fds                                      // of the second half
	slope := slopeOf(rss) * float64(time.Hour) / float64(length/time.Duration(parts)) / 1024 // KiB a part to MiB an hour
	t.Logf("%d requests, %d not answered as they should be; rss %.0f KiB; goroutines %v → %v, fds %d → %d",
		requests, failed, all, goroutines, goroutines2, fds, fds2)
	coretest.Score(t, "C9", "requests", float64(requests))
	coretest.Score(t, "C9", "failed", float64(failed))
	coretest.Score(t, "C9", "rss", slope)
	coretest.Score(t, "C9", "goroutines", goroutines2-goroutines)
	coretest.Score(t, "C9", "fds", float64(fds2-fds))
	if failed != 0 || goroutines2 > goroutines+5 || fds2 > fds+5 || rss[len(rss)-1] > rss[0]+20<<10 {
		t.Error("not as it was")
	}
}

// soak runs the mix for d.
func soak(t *testing.T, address string, d time.Duration) (requests, failed int64) {
	var asked, bad atomic.Int64
	var clients sync.WaitGroup
	end := time.Now().Add(d)
	for i := range 16 {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 7))
			var c *coretest.Client
			for time.Now().Before(end) {
				if c == nil {
					nc, err := net.Dial("tcp", address)
					if err != nil {
						t.Error(err)
						return
					}
					c = coretest.NewClient(t, nc)
				}
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				n := r.IntN(40) // the first is the most frequent
				if n >= len(turns) {
					n = 0
				}
				asked.Add(1)
				again, err := turns[n].do(c, r)
				if err != nil && bad.Add(1) < 5 {
					t.Errorf("%s: %v", turns[n].name, err)
				}
				if !again || err != nil {
					c.Close()
					c = nil
				}
			}
			if c != nil {
				c.Close()
			}
		})
	}
	clients.Wait()
	return asked.Load(), bad.Load()
}

// resident gives what is resident after a collection, in KiB.
func (p *process) resident(admin string) float64 {
	for range 2 { // what the first finds dead is given back by the second
		answer, err := http.Get("http://" + admin + "/debug/pprof/heap?gc=1")
		if err != nil {
			p.t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
	return float64(p.resources().rss)
}

// slopeOf is the median of the slopes between any two values, which are at equal distances: one that is far off, because the
// collector has not given back yet what a peak took, does not count.
func slopeOf(v []float64) float64 {
	var all []float64
	for i := range v {
		for j := range i {
			all = append(all, (v[i]-v[j])/float64(i-j))
		}
	}
	if len(all) == 0 { // a short soak
		return 0
	}
	return coretest.Median(all)
}
