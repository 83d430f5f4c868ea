package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// proxyTagger is a Proxy-Wasm filter that adds x-p to answers: its plugin configuration, if it has one, else the text. Guests of
// real toolchains take far longer to compile than all else that a reload does; what is looked for here is what stays behind.
func proxyTagger(text string) []byte {
	m, i := &asm.Module{}, asm.I32
	add := m.Import("env", "proxy_add_header_map_value", asm.T(i, i, i, i, i), asm.T(i))
	get := m.Import("env", "proxy_get_buffer_bytes", asm.T(i, i, i, i, i), asm.T(i))
	m.Memory(2, 16)
	m.Export("memory", 2, 0)
	at, length := m.Global(i, true, asm.Const32(512)), m.Global(i, true, asm.Const32(int32(len(text))))
	m.Export("proxy_abi_version_0_2_1", 0, m.Func(nil, nil, nil))
	m.Export("proxy_on_memory_allocate", 0, m.Func(asm.T(i), asm.T(i), nil, asm.Const32(1<<16)))
	m.Export("proxy_on_context_create", 0, m.Func(asm.T(i, i), nil, nil))
	m.Export("proxy_on_configure", 0, m.Func(asm.T(i, i), asm.T(i), nil,
		asm.Get(1), asm.If(asm.None,
			asm.Const32(7), asm.Const32(0), asm.Get(1), asm.Const32(16), asm.Const32(20), asm.Call(get), asm.Drop,
			asm.Const32(16), asm.Load(0x28, 2, 0), asm.GlobalSet(at), asm.Get(1), asm.GlobalSet(length)),
		asm.Const32(1)))
	m.Export("proxy_on_response_headers", 0, m.Func(asm.T(i, i, i), asm.T(i), nil,
		asm.Const32(2), asm.Const32(500), asm.Const32(3), asm.GlobalGet(at), asm.GlobalGet(length), asm.Call(add), asm.Drop, asm.Const32(0)))
	m.Data(500, []byte("x-p"))
	m.Data(512, []byte(text))
	return m.Bytes()
}

// httpTagger is the same for http-wasm: it adds x-h to answers.
func httpTagger(text string) []byte {
	m, i := &asm.Module{}, asm.I32
	add := m.Import("http_handler", "add_header_value", asm.T(i, i, i, i, i), nil)
	get := m.Import("http_handler", "get_config", asm.T(i, i), asm.T(i))
	m.Memory(2, 16)
	m.Export("memory", 2, 0)
	m.Export("handle_request", 0, m.Func(nil, asm.T(asm.I64), nil, asm.Const64(1)))
	m.Export("handle_response", 0, m.Func(asm.T(i, i), nil, asm.T(i),
		asm.Const32(1024), asm.Const32(100), asm.Call(get), asm.Tee(2),
		asm.IfElse(asm.None,
			asm.Cat(asm.Const32(1), asm.Const32(500), asm.Const32(3), asm.Const32(1024), asm.Get(2), asm.Call(add)),
			asm.Cat(asm.Const32(1), asm.Const32(500), asm.Const32(3), asm.Const32(512), asm.Const32(int32(len(text))), asm.Call(add)))))
	m.Data(500, []byte("x-h"))
	m.Data(512, []byte(text))
	return m.Bytes()
}

// maps is the number of memory mappings.
func (p *process) maps() int {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/maps")
	return bytes.Count(b, []byte("\n"))
}

// Reloads under load that change modules of both ABIs, and reloads that change only what they are configured with: no request
// fails or is served by half of each, and nothing stays behind. WEIR_RELOADS sets how many of each.
func TestReloadModules(t *testing.T) {
	n := coretest.Times(t, "WEIR_RELOADS", 40)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	defer up.Close()
	dir := t.TempDir()
	file, proxy, plain := filepath.Join(dir, "weir.yaml"), filepath.Join(dir, "p.wasm"), filepath.Join(dir, "h.wasm")
	address, admin := freeAddress(t), freeAddress(t)
	write := func(text, config string) {
		writeFile(t, proxy, string(proxyTagger(text)))
		writeFile(t, plain, string(httpTagger(text)))
		writeFile(t, file, fmt.Sprintf(`version: 1
access_log: {output: "off"}
listeners: [{address: %q}]
admin: {address: %q}
wasm:
  p: {file: p.wasm, config: %q}
  h: {file: h.wasm, config: %q}
upstreams: {api: {endpoints: [%q]}}
routes: [{name: all, match: {path: /*}, auth: none, wasm: [p, h], upstream: api}]
`, address, admin, config, config, up.URL))
	}
	write("tag-0", "")
	p := startWeir(t, nil, "run", "-c", file)
	p.wait("weir listens", func() bool { return listens(address) && listens(admin) })
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var asked, failed atomic.Int64
	for range 8 {
		clients.Go(func() { checkTags(t, address, stop, &asked, &failed) })
	}
	reload := func(text, config string) {
		write(text, config)
		done := count(t, admin, "weir_reload_attempts_total")
		p.signal(syscall.SIGHUP)
		p.wait("the reload", func() bool { return count(t, admin, "weir_reload_attempts_total") > done })
	}
	for _, what := range []string{"module", "configuration"} {
		var half resources
		var goroutines float64
		var maps int
		for i := range n {
			text, config := fmt.Sprintf("tag-%d", i+1), ""
			if what == "configuration" {
				text, config = "tag-0", text
			}
			reload(text, config)
			if i == n/2 {
				half, goroutines, maps = p.resources(), count(t, admin, "go_goroutines"), p.maps()
			}
		}
		p.wait("old plans to close", func() bool { return count(t, admin, "go_goroutines") <= goroutines+8 })
		end := p.resources()
		t.Logf("%d reloads that change the %s: rss %d → %d KiB, fds %d → %d, goroutines %v → %v, mappings %d → %d (from the half to the end)",
			n, what, half.rss, end.rss, half.fds, end.fds, goroutines, count(t, admin, "go_goroutines"), maps, p.maps())
		coretest.Score(t, "F6", what+"-rss", float64(end.rss-half.rss)/1024)
		grown := 8 << 10
		if n < 200 {
			grown = 32 << 10 // the heap has hardly found its size by the half
		}
		if end.rss > half.rss+half.rss/8+grown || end.fds > half.fds+8 || p.maps() > maps+maps/8+32 {
			t.Error("not flat")
		}
	}
	close(stop)
	clients.Wait()
	coretest.Score(t, "F6", "failed", float64(failed.Load()))
	t.Logf("%d requests, %d failed", asked.Load(), failed.Load())
	if failed.Load() != 0 || count(t, admin, "weir_reload_errors_total") != 0 {
		t.Errorf("%d of %d requests failed\n%s", failed.Load(), asked.Load(), p.stderr.String())
	}
}

var tagged = regexp.MustCompile(`^tag-\d+$`)

// checkTags asks without pause, and wants every answer tagged once by each filter.
func checkTags(t *testing.T, address string, stop chan struct{}, asked, failed *atomic.Int64) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	for {
		select {
		case <-stop:
			return
		default:
		}
		asked.Add(1)
		answer, err := client.Get("http://" + address + "/")
		if err != nil {
			if failed.Add(1) < 5 {
				t.Error(err)
			}
			continue
		}
		answer.Body.Close()
		a, b := answer.Header.Values("X-P"), answer.Header.Values("X-H")
		if answer.StatusCode != 200 || len(a) != 1 || len(b) != 1 || !tagged.MatchString(a[0]) || !tagged.MatchString(b[0]) {
			if failed.Add(1) < 5 {
				t.Errorf("%d %v %v", answer.StatusCode, a, b)
			}
		}
	}
}

// spinner is a Proxy-Wasm filter that spins in a request's headers if that has the field spin: for ever, or for 4 ms, which is
// just less than it may.
func spinner(forever bool) []byte {
	m, i := &asm.Module{}, asm.I32
	get := m.Import("env", "proxy_get_header_map_value", asm.T(i, i, i, i, i), asm.T(i))
	now := m.Import("env", "proxy_get_current_time_nanoseconds", asm.T(i), asm.T(i))
	m.Memory(1, 16)
	m.Export("memory", 2, 0)
	m.Export("proxy_abi_version_0_2_1", 0, m.Func(nil, nil, nil))
	m.Export("proxy_on_memory_allocate", 0, m.Func(asm.T(i), asm.T(i), nil, asm.Const32(1024)))
	m.Export("proxy_on_context_create", 0, m.Func(asm.T(i, i), nil, nil))
	spin := asm.Loop(asm.None, asm.Br(0))
	if !forever {
		clock := func(at int32) []byte { return asm.Cat(asm.Const32(at), asm.Call(now), asm.Drop) }
		at := func(at int32) []byte { return asm.Cat(asm.Const32(at), asm.Load(0x29, 3, 0)) }
		turns := asm.Cat(asm.Const32(0), asm.Set(3), asm.Loop(asm.None,
			asm.Get(3), asm.Const32(1), asm.Add32, asm.Tee(3), asm.Const32(10_000), asm.LtU32, asm.BrIf(0)))
		spin = asm.Cat(clock(32), asm.Loop(asm.None, turns, clock(40), at(40), at(32), asm.Sub64, asm.Const64(4_000_000), asm.Op(0x54), asm.BrIf(0)))
	}
	m.Export("proxy_on_request_headers", 0, m.Func(asm.T(i, i, i), asm.T(i), asm.T(i),
		asm.Const32(0), asm.Const32(500), asm.Const32(4), asm.Const32(16), asm.Const32(20), asm.Call(get),
		asm.Eqz32, asm.If(asm.None, spin), asm.Const32(0)))
	m.Data(500, []byte("spin"))
	return m.Bytes()
}

// A hundred requests a second run into filters that spin, while another route is at half of what the node can do and garbage
// is collected all the time: nothing of that route fails, and its p99 stays within 1.5 times what it is without. The filters:
// one that never returns, which is soon stopped for a while; as many of these as it takes for none to be stopped; and one that
// returns just before its budget is spent, every time. WEIR_SPIN sets how long; then it comes three times, and the figures are
// the medians. What the process's pauses are is TestSpinningPauses of filters/wasm.
func TestSpinningFilter(t *testing.T) {
	const rate = 100
	length := coretest.Lasting(t, "WEIR_SPIN", time.Second)
	rounds := 1
	if os.Getenv("WEIR_SPIN") != "" {
		rounds = 3
	}
	// A filter is stopped at its fifth trap in ten seconds.
	many := int(min(length.Seconds()+1, 11) * rate / 4)
	up := coretest.StartRaw(t, func(u *coretest.Client) {
		_ = u.SetDeadline(time.Now().Add(time.Hour))
		for u.Head() != "" {
			u.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "forever.wasm"), string(spinner(true)))
	writeFile(t, filepath.Join(dir, "nearly.wasm"), string(spinner(false)))
	var filters, routes strings.Builder
	ask := func(path string) string { return "GET /" + path + " HTTP/1.1\r\nHost: a\r\nspin: 1\r\n\r\n" }
	add := func(name, module string) string {
		fmt.Fprintf(&filters, "  %s: {file: %q, instances: 1}\n", name, filepath.Join(dir, module))
		fmt.Fprintf(&routes, "  - {name: %s, match: {path: /%s}, auth: none, wasm: [%s], upstream: api}\n", name, name, name)
		return ask(name)
	}
	kinds := []*struct {
		name   string
		all    []string
		want   int // the status that requests that spin get, but for those of nearly that come late
		ratios []float64
	}{
		{name: "stopped", want: 503, all: []string{add("stopped", "forever.wasm")}},
		{name: "turns", want: 503},
		{name: "nearly", want: 200, all: []string{add("nearly", "nearly.wasm")}},
	}
	for i := range many {
		kinds[1].all = append(kinds[1].all, add(fmt.Sprint("turn-", i), "forever.wasm"))
	}
	_, address, admin := startNode(t, nil, fmt.Sprintf(`version: 1
access_log: {output: "off"}
listeners: [{address: "@ADDRESS@"}]
admin: {address: "@ADMIN@"}
upstreams: {api: {endpoints: ["http://%s"]}}
wasm:
%sroutes:
%s  - {name: plain, match: {path: /*}, auth: none, upstream: api}
`, up.Address(), filters.String(), routes.String()))
	others := &coretest.Steady{Address: address, Request: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Timeout: 10 * time.Second}
	defer others.Close()
	// Of this machine, which also makes the load: more would measure how late that comes.
	others.Rate = min(int(closedLoop(t, others, 16, length)/2), 2000)
	defer collect(t, admin)()
	for range rounds {
		for _, k := range kinds {
			spins := &coretest.Steady{Address: address, InTurn: k.all, Rate: rate, Timeout: 10 * time.Second}
			before := others.Run(t, length)
			var spun []coretest.Sample
			var both sync.WaitGroup
			both.Go(func() { spun = spins.Run(t, length) })
			seen := others.Run(t, length)
			both.Wait()
			spins.Close()
			if n := coretest.Good(t, seen, 200); n != len(seen) {
				t.Errorf("%s: other requests got %v", k.name, coretest.Statuses(seen))
			}
			if n := coretest.Good(t, spun, k.want); n == 0 || n != len(spun) && k.want == 503 {
				t.Errorf("%s: requests that spin got %v, want %d", k.name, coretest.Statuses(spun), k.want)
			}
			a, b := coretest.Percentile(before, 200, 0.99), coretest.Percentile(seen, 200, 0.99)
			k.ratios = append(k.ratios, float64(b)/float64(a))
			t.Logf("%s: %d requests a second: p50 %s and p99 %s without, %s and %s with %d that spin: %v", k.name, others.Rate,
				coretest.Percentile(before, 200, 0.5), a, coretest.Percentile(seen, 200, 0.5), b, len(spun), coretest.Statuses(spun))
		}
	}
	for _, k := range kinds {
		coretest.Score(t, "F2", "p99-"+k.name, coretest.Median(k.ratios))
	}
	if count(t, admin, `weir_filter_budget_stops_total{filter="stopped"}`) < 1 || count(t, admin, `weir_filter_budget_stops_total{filter="turn-0"}`) < 1 {
		t.Error("no call was stopped for its budget")
	}
}

// collect has a node collect its garbage twenty times a second, until stop.
func collect(t *testing.T, admin string) (stop func()) {
	over := make(chan struct{})
	var worker sync.WaitGroup
	worker.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			answer, err := http.Get("http://" + admin + "/debug/pprof/heap?gc=1")
			if err != nil || answer.StatusCode != 200 {
				t.Errorf("collect garbage: %v %v", answer, err)
				return
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
	})
	return func() { close(over); worker.Wait() }
}
