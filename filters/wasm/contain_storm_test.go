package wasm_test

import (
	"fmt"
	"math"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// pound asks for a path over and over, over some connections, until stop is closed, and counts answers by status; 0 is none.
func (h *house) pound(path, field string, clients int, stop chan struct{}) (wait func() map[int]int) {
	var all sync.WaitGroup
	var mu sync.Mutex
	seen := map[int]int{}
	for range clients {
		all.Go(func() {
			own := map[int]int{}
			s := &coretest.Steady{Address: h.Address, Request: "GET " + path + " HTTP/1.1\r\nHost: a\r\n" + field + "\r\n", Timeout: 10 * time.Second}
			defer s.Close()
			for {
				select {
				case <-stop:
					mu.Lock()
					defer mu.Unlock()
					for status, n := range own {
						seen[status] += n
					}
					return
				default:
				}
				own[s.Ask()]++
			}
		})
	}
	return func() map[int]int { all.Wait(); return seen }
}

// A filter that traps on every request, as many of them as the machine gives: its routes answer as on_error says, others do
// not notice, and few instances are made anew: the filter is stopped after five traps in ten seconds, and after each trial
// for twice as long. WEIR_TRAPS sets how long.
func TestTrapStorm(t *testing.T) {
	length := coretest.Lasting(t, "WEIR_TRAPS", 2*time.Second)
	w, v := proxyGuest(), httpGuest()
	trap := asm.Cat(w.ask("proxy_get_header_map_value", num(0), w.text("armed"), num(outAt), num(outAt+4)), asm.Eqz32, asm.If(asm.None, asm.Unreachable))
	files := map[string][]byte{"p.wasm": w.on("proxy_on_request_headers", trap, num(0)).bytes(),
		"h.wasm":    v.on("handle_request", v.ifField("armed", asm.Unreachable), asm.Const64(1)).bytes(),
		"good.wasm": proxyGuest().on("proxy_on_request_headers", num(0)).on("proxy_on_response_headers", num(0)).bytes()}
	h := serve(t, "", `
wasm:
  proxy-closed: {file: p.wasm}
  proxy-open: {file: p.wasm, on_error: fail_open}
  http-closed: {file: h.wasm}
  http-open: {file: h.wasm, on_error: fail_open}
  good: {file: good.wasm}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {name: a, match: {path: /proxy-closed}, auth: none, wasm: [proxy-closed], upstream: api}
  - {name: b, match: {path: /proxy-open}, auth: none, wasm: [proxy-open], upstream: api}
  - {name: c, match: {path: /http-closed}, auth: none, wasm: [http-closed], upstream: api}
  - {name: d, match: {path: /http-open}, auth: none, wasm: [http-open], upstream: api}
  - {name: e, match: {path: /good}, auth: none, wasm: [good], respond: {status: 200, body: ok}}
  - {name: f, match: {path: /*}, auth: none, respond: {status: 200, body: ok}}
`, files, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }), nil)
	names := []string{"proxy-closed", "proxy-open", "http-closed", "http-open"}
	before := map[string]int64{}
	for _, name := range names {
		before[name] = h.told(name).Instances.Made
	}
	stop := make(chan struct{})
	waits := map[string]func() map[int]int{}
	for _, name := range names {
		waits[name] = h.pound("/"+name, "armed: 1\r\n", 4, stop)
	}
	waits["good"], waits["plain"] = h.pound("/good", "", 2, stop), h.pound("/", "", 2, stop)
	time.AfterFunc(length, func() { close(stop) })
	failed, wrong, hit := 0, 0, 0
	for name, wait := range waits {
		want := 200
		if strings.HasSuffix(name, "closed") {
			want = 503
		}
		seen := wait()
		others := 0
		for status, n := range seen {
			if status != want {
				others += n
			}
		}
		if name == "good" || name == "plain" {
			failed += others
		} else {
			wrong += others
			hit += seen[want]
		}
		if others > 0 || seen[want] == 0 {
			t.Errorf("%s: %v, want %d", name, seen, want)
		}
	}
	most := 0.0
	for _, name := range names {
		s := h.told(name)
		made := float64(s.Instances.Made - before[name])
		t.Logf("%s: %v traps, %v instances made, %s", name, s.Failures["trap"], made, s.State)
		most = max(most, made/length.Seconds())
		if s.Failures["trap"] == 0 || made > 5+2*float64(1+length/time.Second)+float64(runtime.GOMAXPROCS(0)) {
			t.Errorf("%s: %+v, %v instances made in %s", name, s.Failures, made, length)
		}
	}
	t.Logf("%d requests a second to filters that trap; at most %.3g instances a second were made for one of them", int(float64(hit)/length.Seconds()), most)
	coretest.Score(t, "F4", "failed", float64(failed))
	coretest.Score(t, "F4", "wrong", float64(wrong))
	coretest.Score(t, "F4", "instances", most)
	coretest.Score(t, "F4", "requests", float64(hit)/length.Seconds())
}

// spinners are guests that spin for as long as they may: one that never returns, and one that does shortly before its budget of
// 5 ms is spent, if the request has a field spin.
func spinners() map[string][]byte {
	a, b := proxyGuest(), proxyGuest()
	spins := func(w *writing, code []byte) []byte {
		return asm.Cat(w.ask("proxy_get_header_map_value", num(0), w.text("spin"), num(outAt), num(outAt+4)), asm.Eqz32, asm.If(asm.None, code))
	}
	now := func(at int) []byte { return b.host("proxy_get_current_time_nanoseconds", num(at)) }
	i := b.global(0)
	nearly := asm.Cat(now(2048), asm.Loop(asm.None,
		num(0), asm.GlobalSet(i), asm.Loop(asm.None, asm.GlobalGet(i), num(1), asm.Add32, asm.GlobalSet(i), asm.GlobalGet(i), num(10_000), asm.LtU32, asm.BrIf(0)),
		now(2056), num(2056), asm.Load(0x29, 3, 0), num(2048), asm.Load(0x29, 3, 0), asm.Sub64, asm.Const64(4_000_000), asm.Op(0x54), asm.BrIf(0)))
	return map[string][]byte{
		"forever.wasm": a.on("proxy_on_request_headers", spins(a, forever()), num(0)).bytes(),
		"nearly.wasm":  b.on("proxy_on_request_headers", spins(b, nearly), num(0)).bytes(),
	}
}

// Garbage is collected all the time while filters spin for as long as they may, each on a route of its own, more of them than
// there are processors: the process stands still for no longer than it takes a guest to come to where it lets itself be
// stopped. WEIR_SPIN sets how long.
func TestSpinningPauses(t *testing.T) {
	length := coretest.Lasting(t, "WEIR_SPIN", time.Second)
	var filters, routes strings.Builder
	for i := range 4 {
		fmt.Fprintf(&filters, "  f%d: {file: forever.wasm}\n  n%d: {file: nearly.wasm}\n", i, i)
		fmt.Fprintf(&routes, "  - {match: {path: /f%d}, auth: none, wasm: [f%d], respond: {status: 200}}\n  - {match: {path: /n%d}, auth: none, wasm: [n%d], respond: {status: 200}}\n", i, i, i, i)
	}
	h := serve(t, "", "wasm:\n"+filters.String()+"routes:\n"+routes.String(), spinners(), nil, nil)
	stop := make(chan struct{})
	var waits []func() map[int]int
	for i := range 4 {
		waits = append(waits, h.pound(fmt.Sprintf("/f%d", i), "spin: 1\r\n", 1, stop), h.pound(fmt.Sprintf("/n%d", i), "spin: 1\r\n", 1, stop))
	}
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	read := func() ([]uint64, []float64) {
		metrics.Read(sample)
		p := sample[0].Value.Float64Histogram()
		return append([]uint64(nil), p.Counts...), p.Buckets
	}
	before, _ := read()
	collections := 0
	for begin := time.Now(); time.Since(begin) < length; collections++ {
		runtime.GC()
	}
	after, bounds := read()
	close(stop)
	spun := 0
	for _, wait := range waits {
		for _, n := range wait() {
			spun += n
		}
	}
	var all, long uint64
	longest := 0.0
	for i := range after {
		n := after[i] - before[i]
		if all += n; n == 0 {
			continue
		}
		if longest = bounds[i+1]; math.IsInf(longest, 1) {
			longest = bounds[i]
		}
		if bounds[i] >= 0.010 {
			long += n
		}
	}
	t.Logf("%d collections with %d pauses while %d requests spun: the longest below %.2f ms, %d over 10 ms", collections, all, spun, 1000*longest, long)
	coretest.Score(t, "F2", "pauses", float64(long))
	coretest.Score(t, "F2", "pause", 1000*longest)
	if collections == 0 || all == 0 || spun == 0 || long > all/10 {
		t.Errorf("%d of %d pauses over 10 ms", long, all)
	}
	if s := h.told("n0"); s.Failures["budget"] > 0 {
		t.Logf("%d calls that wanted to return in time did not", s.Failures["budget"])
	}
}
