package node_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
)

// TestPanicStorm has a part of weir panic a thousand times a second: other routes notice nothing. WEIR_STORM sets how long.
func TestPanicStorm(t *testing.T) {
	length := coretest.Lasting(t, "WEIR_STORM", 2*time.Second)
	ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		if string(x.Request.Path) == "/panic" {
			panic("boom")
		}
		return filter.Continue, nil
	}}
	yaml := strings.Replace(plain, `access_log: {output: "off"}`, "log: {level: error}", 1)
	r := coretest.Start(t, yaml, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), coretest.Options{Kinds: ff.kinds(false)})
	storm := &coretest.Steady{Address: r.Address, Request: "GET /panic HTTP/1.1\r\nHost: a\r\n\r\n", Rate: 1000, Timeout: 10 * time.Second}
	others := &coretest.Steady{Address: r.Address, Request: get, Rate: 500, Timeout: 10 * time.Second}
	defer storm.Close()
	defer others.Close()
	var panics, good []coretest.Sample
	var both sync.WaitGroup
	both.Go(func() { panics = storm.Run(t, length) })
	both.Go(func() { good = others.Run(t, length) })
	both.Wait()
	failed := len(good) - coretest.Good(t, good, 200)
	t.Logf("answers to panics %v, to others %v", coretest.Statuses(panics), coretest.Statuses(good))
	coretest.Score(t, "C7", "failed", float64(failed))
	if failed != 0 || coretest.Good(t, panics, 500) != len(panics) {
		t.Error("somebody noticed")
		for line := range strings.Lines(r.Access.String()) {
			if !strings.Contains(line, `"status_code":200`) && !strings.Contains(line, `"path":"/panic"`) {
				t.Log(line)
			}
		}
	}
}

// TestHungNeighbour has one upstream hang with hundreds of requests, by turns with a quiet one: the latency of another's
// requests stays. WEIR_STORM sets how long a turn takes.
func TestHungNeighbour(t *testing.T) {
	length := coretest.Lasting(t, "WEIR_STORM", 300*time.Millisecond)
	const hangers = 300
	var waiting atomic.Int64
	hung := coretest.StartRaw(t, func(u *coretest.Client) {
		u.Head()
		waiting.Add(1)
		_, _ = u.Rest()
		waiting.Add(-1)
	})
	yaml := strings.Replace(plain, `["http://${UPSTREAM}"]}`, `["http://${UPSTREAM}"]}, hung: {endpoints: ["http://${HUNG}"]}`, 1)
	yaml = strings.Replace(yaml, "routes:", "routes:\n  - {name: hung, match: {path: /hung}, auth: none, upstream: hung}", 1)
	up := coretest.StartStill(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	r := coretest.Start(t, yaml, nil, coretest.Options{Env: map[string]string{"UPSTREAM": up.Address(), "HUNG": hung.Address()}})
	s := &coretest.Steady{Address: r.Address, Request: get, Rate: 500, Timeout: 10 * time.Second}
	defer s.Close()
	s.Run(t, length) // warm
	var ratios []float64
	const turns = 7
	for range turns {
		alone := s.Run(t, length)
		all := make([]*coretest.Client, hangers)
		for i := range all {
			all[i] = r.Client()
			all[i].Send("GET /hung HTTP/1.1\r\nHost: a\r\n\r\n")
		}
		coretest.Eventually(t, "all hang", func() bool { return waiting.Load() == hangers })
		beside := s.Run(t, length)
		for _, c := range all {
			c.Close()
		}
		coretest.Eventually(t, "none hangs", func() bool { return waiting.Load() == 0 })
		if n := coretest.Good(t, alone, 200) + coretest.Good(t, beside, 200); n != len(alone)+len(beside) {
			t.Errorf("%d of %d", n, len(alone)+len(beside))
		}
		ratios = append(ratios, float64(coretest.Percentile(beside, 200, 0.99))/float64(coretest.Percentile(alone, 200, 0.99)))
	}
	t.Logf("p99 beside a hung upstream to p99 alone, by turns: %.2f", ratios)
	coretest.Score(t, "D5", "p99", coretest.Median(ratios))
	if m := coretest.Median(ratios); m > 5 {
		t.Errorf("p99 × %.2f", m)
	}
}
