package wasm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/coretest/guest"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// trapper traps for a request or an answer that has the header trap, and every hundredth time that it is woken by a tick.
func trapper() []byte {
	m, i := &asm.Module{}, asm.I32
	get := m.Import("env", "proxy_get_header_map_value", asm.T(i, i, i, i, i), asm.T(i))
	tick := m.Import("env", "proxy_set_tick_period_milliseconds", asm.T(i), asm.T(i))
	m.Memory(2, 16)
	m.Export("memory", 2, 0)
	ticks := m.Global(i, true, asm.Const32(0))
	m.Export("proxy_abi_version_0_2_1", 0, m.Func(nil, nil, nil))
	m.Export("proxy_on_memory_allocate", 0, m.Func(asm.T(i), asm.T(i), nil, asm.Const32(1<<16)))
	m.Export("proxy_on_context_create", 0, m.Func(asm.T(i, i), nil, nil))
	m.Export("proxy_on_configure", 0, m.Func(asm.T(i, i), asm.T(i), nil, asm.Const32(5), asm.Call(tick), asm.Drop, asm.Const32(1)))
	m.Export("proxy_on_tick", 0, m.Func(asm.T(i), nil, nil,
		asm.GlobalGet(ticks), asm.Const32(1), asm.Add32, asm.GlobalSet(ticks),
		asm.Const32(100), asm.GlobalGet(ticks), asm.LtU32, asm.If(asm.None, asm.Unreachable)))
	on := func(kind int32) []byte {
		return asm.Cat(asm.Const32(kind), asm.Const32(500), asm.Const32(4), asm.Const32(16), asm.Const32(20), asm.Call(get),
			asm.Eqz32, asm.If(asm.None, asm.Unreachable), asm.Const32(0))
	}
	m.Export("proxy_on_request_headers", 0, m.Func(asm.T(i, i, i), asm.T(i), nil, on(0)))
	m.Export("proxy_on_response_headers", 0, m.Func(asm.T(i, i, i), asm.T(i), nil, on(2)))
	m.Data(500, []byte("trap"))
	return m.Bytes()
}

// another gives a module of another hash that does the same.
func another(code []byte, n byte) []byte {
	return append(bytes.Clone(code), 0, 3, 1, 'n', n) // a custom section
}

// stressYAML is a configuration by chance: filters of other modules, configurations and vm_ids, with and without calls, on more
// and fewer routes. Without a source of chance it has them all: what takes long to compile is compiled before the load.
func stressYAML(r *rand.Rand, strict bool) string {
	draw := func(n int) int {
		if r == nil {
			return 0
		}
		return r.IntN(n)
	}
	pick := func(all ...string) string { return all[draw(len(all))] }
	var b strings.Builder
	b.WriteString("timeouts: {drain: 5s}\nwasm:\n")
	fmt.Fprintf(&b, "  gate: {file: gate-%d.wasm, config: %s, calls: [%s], %s %s}\n", draw(4), pick("blue", "red"), pick("web", "web, dead"),
		pick("", "vm_id: one,", "vm_id: two,"), unhurried)
	fmt.Fprintf(&b, "  more: {file: gate-%d.wasm, config: %s, calls: [web], %s instances: 1, %s}\n", draw(2), pick("blue", "red"), pick("", "vm_id: one,"), unhurried)
	fmt.Fprintf(&b, "  plain: {file: plain-%d.wasm, config: %s, %s}\n", draw(4), pick("blue", "red"), unhurried)
	fmt.Fprintf(&b, "  traps: {file: traps-%d.wasm, on_error: %s}\n", draw(2), pick("fail_open", "fail_closed"))
	fmt.Fprintf(&b, "  later: {file: go.wasm, root_id: postpone_requests, instances: 1, %s %s}\n", pick("", "vm_id: go,"), unhurried)
	fmt.Fprintf(&b, "  body: {file: go.wasm, root_id: http_body, instances: 1, %s %s}\n", pick("", "vm_id: go,"), unhurried)
	fmt.Fprintf(&b, "  calls: {file: go.wasm, root_id: dispatch_call_on_tick, instances: 1, calls: [web, dead], %s %s}\n", pick("", "vm_id: go,"), unhurried)
	list := "/free"
	if strict {
		fmt.Fprintf(&b, "  strict: {file: strict.wasm, instances: %s, vm_id: strict, calls: [web], config: wild, pause: 2s, %s}\n", pick("1", "2"), unhurried)
		list = "/strict"
	}
	fmt.Fprintf(&b, "upstreams:\n  web: {endpoints: [\"http://${UPSTREAM}\"]}\n  dead: {endpoints: [\"http://${DEAD}\"]}\nroutes:\n")
	fmt.Fprintf(&b, "  - {match: {path: /free}, auth: none, upstream: web}\n")
	fmt.Fprintf(&b, "  - {match: {path: /gate}, auth: none, upstream: web, wasm: [%s]}\n", pick("gate", "gate, more", "gate, plain", "traps, gate", ""))
	fmt.Fprintf(&b, "  - {match: {path: /plain}, auth: none, upstream: web, wasm: [%s]}\n", pick("plain", "gate, plain", "traps, plain"))
	fmt.Fprintf(&b, "  - {match: {path: /go}, auth: none, upstream: web, wasm: [%s]}\n", pick("later, body", "later", "body, calls", "calls, gate", ""))
	if strict {
		fmt.Fprintf(&b, "  - {match: {path: %s}, auth: none, upstream: web, wasm: [%s]}\n", list, pick("strict", "gate, strict", "strict, traps"))
	}
	fmt.Fprintf(&b, "  - {match: {path: /*}, auth: none, upstream: web, wasm: [%s]}\n", pick("gate, traps, plain, more", "traps", ""))
	return b.String()
}

// stressed is what clients of the stress ask.
type stressed struct {
	t      *testing.T
	h      *house
	strict bool
	asked  [6]atomic.Int64 // by the first digit of the answer; 0: none
}

// ask sends one request by chance.
func (s *stressed) ask(r *rand.Rand, c *http.Client) {
	paths := []string{"/free", "/gate", "/gate", "/plain", "/go", "/all"}
	if s.strict && r.IntN(200) == 0 {
		paths = []string{"/strict"}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var body io.Reader
	method := "GET"
	switch r.IntN(4) {
	case 0:
		method, body = "POST", strings.NewReader(strings.Repeat("x", r.IntN(40<<10)))
	case 1:
		in, out := io.Pipe()
		method, body = "POST", in
		n := r.IntN(5)
		go func() { // piece by piece; whoever is answered or gone before closes the other end
			for range n {
				if _, err := out.Write(bytes.Repeat([]byte("y"), 1000)); err != nil {
					return
				}
				runtime.Gosched()
			}
			out.CloseWithError(nil)
		}()
	}
	req, err := http.NewRequestWithContext(ctx, method, s.h.URL+paths[r.IntN(len(paths))], body)
	if err != nil {
		s.t.Error(err)
		return
	}
	for name, chance := range map[string]int{"X-Ask": 3, "X-Replace": 3, "Trap": 60, "Answer-Trap": 60, "X-Break": 20, "X-Early": 8, "Buffer-Replace-At": 4} {
		if r.IntN(chance) == 0 {
			req.Header.Set(name, []string{"request", "response"}[r.IntN(2)])
		}
	}
	gone := false
	if r.IntN(12) == 0 {
		gone = true
		time.AfterFunc(time.Duration(r.IntN(20))*time.Millisecond, cancel)
	}
	answer, err := c.Do(req)
	if err != nil {
		s.asked[0].Add(1)
		if !gone && errors.Is(err, context.DeadlineExceeded) {
			s.t.Error("no answer:", req.Method, req.URL, req.Header, err)
		}
		return
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	s.asked[answer.StatusCode/100].Add(1)
	switch answer.StatusCode {
	case 200, 403, 502, 503:
	default:
		if req.URL.Path != "/strict" {
			s.t.Error(req.Method, req.URL, req.Header, answer.Status)
		}
	}
}

// stressUpstream answers, some requests before their bodies have come, and breaks some off.
func stressUpstream(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Break") != "" {
		panic(http.ErrAbortHandler)
	}
	if r.Header.Get("X-Early") == "" {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	if r.Header.Get("Answer-Trap") != "" {
		w.Header().Set("Trap", "1")
	}
	_, _ = io.WriteString(w, "one ")
	if r.Header.Get("X-Ask") != "" {
		w.(http.Flusher).Flush()
	}
	_, _ = io.WriteString(w, strings.Repeat("two", 1000))
}

// TestStress: mixed load over HTTP/1 and HTTP/2 through guests of many makes, with bodies, pauses, calls, traps, clients that leave and an
// upstream that breaks off, while the configuration changes all the time: every request ends, and at the end nothing is left.
// WEIR_SOAK says for how long.
func TestStress(t *testing.T) {
	length := coretest.Lasting(t, "WEIR_SOAK", 2*time.Second)
	strict := os.Getenv("WEIR_SOAK") != ""
	gate, plain, traps := guest.C(t, "testdata/c/filter.c"), guest.C(t, "testdata/c/http.c"), trapper()
	modules := map[string][]byte{"go.wasm": guest.Go(t, "testdata/sdkgo"), "strict.wasm": guest.C(t, "testdata/c/strict.c")}
	for i := range byte(4) {
		modules[fmt.Sprintf("gate-%d.wasm", i)] = another(gate, i)
		modules[fmt.Sprintf("plain-%d.wasm", i)] = another(plain, i)
		modules[fmt.Sprintf("traps-%d.wasm", i)] = another(traps, i)
	}
	before, maps := goleak.IgnoreCurrent(), mappings()
	t.Run("load", func(t *testing.T) {
		s := &stressed{t: t, strict: strict}
		s.h = serve(t, t.TempDir(), stressYAML(nil, strict), modules, http.HandlerFunc(stressUpstream), map[string]string{"DEAD": deadAddress(t)})
		s.run(length, rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)))
	})
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
	coretest.Eventually(t, "compiled code to be unmapped", func() bool {
		runtime.GC() // by finalizers
		return mappings() <= maps
	})
}

// mappings is how many mappings of compiled code the process has; 0 where that cannot be told. Guests' memories are looked at by
// who frees them, and the rest is the runtime's.
func mappings() int {
	b, _ := os.ReadFile("/proc/self/maps")
	return len(executable.FindAll(b, -1))
}

var executable = regexp.MustCompile(`(?m)^\S+ r-xp \S+ 00:00 0 *$`)

func (s *stressed) run(length time.Duration, r *rand.Rand) {
	t := s.t
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 12 {
		clients.Go(func() {
			tr := &http.Transport{MaxIdleConnsPerHost: 1}
			if i%2 == 0 {
				tr.Protocols = &http.Protocols{}
				tr.Protocols.SetUnencryptedHTTP2(true)
			}
			defer tr.CloseIdleConnections()
			c := &http.Client{Transport: tr, Timeout: 30 * time.Second}
			r := rand.New(rand.NewPCG(uint64(i), uint64(time.Now().UnixNano())))
			for {
				select {
				case <-stop:
					return
				default:
					s.ask(r, c)
				}
			}
		})
	}
	reloads := 0
	for until := time.Now().Add(length); reloads < 3 || time.Now().Before(until); reloads++ {
		s.h.Write(head + stressYAML(r, s.strict))
		if err := s.h.Node.Reload(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	clients.Wait()
	var asked []int64
	for i := range s.asked {
		asked = append(asked, s.asked[i].Load())
	}
	t.Logf("%d reloads; answers by class, without one first: %v", reloads, asked)
	if asked[2] == 0 || asked[5] == 0 {
		t.Error("nothing has happened")
	}
	s.h.await("streams to end", func() bool {
		for _, f := range s.h.Set.Wasm.Filters() {
			if f.Streams != nil && (f.Streams.Open != 0 || f.Streams.Paused != 0) {
				return false
			}
		}
		return true
	})
	s.h.dropFilters()
	s.h.is("GET", "/", "", 200, "")
	if strings.Contains(s.h.Log.String()+s.h.log.String(), "panic") {
		t.Errorf("panic:\n%s\n%s", s.h.Log, s.h.log)
	}
	for _, l := range s.h.lines() { // but for guests of the SDK: who resumes a request whose client has left is told that there is none
		if strings.Contains(l.Message, "WRONG: ") && !strings.Contains(l.Message, "error status returned by host") {
			t.Error(l.raw)
		}
	}
}
