package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/wasm/asm"
)

// hostile are the bodies of handle_request that hurt the node, or try to.
var hostile = map[string][]byte{
	"loop":    asm.Loop(asm.None, asm.Br(0)),
	"recurse": asm.Cat(asm.Call(1), asm.Drop),
	"fill":    asm.Loop(asm.None, asm.Const32(0), asm.Const32(1), asm.Const32(32<<20), asm.MemoryFill, asm.Br(0)),
	"grow":    asm.Loop(asm.None, asm.Const32(1), asm.MemoryGrow, asm.Drop, asm.Br(0)),
	"trap":    asm.Unreachable,
}

// hostileModule is a guest that behaves on the request it is tried with, of path /, and on no other: so it is accepted. Its
// handle_request is function 1.
func hostileModule(request []byte, start bool) []byte {
	var m asm.Module
	uri := m.Import("http_handler", "get_uri", asm.T(asm.I32, asm.I32), asm.T(asm.I32))
	m.Memory(513, -1) // 32 MiB and a page
	m.Export("memory", 2, 0)
	long := asm.Cat(asm.Const32(0), asm.Const32(0), asm.Call(uri), asm.Const32(1), asm.Sub32)
	m.Export("handle_request", 0, m.Func(nil, asm.T(asm.I64), nil, asm.Cat(long, asm.If(asm.None, request), asm.Const64(1))))
	m.Export("handle_response", 0, m.Func(asm.T(asm.I32, asm.I32), nil, nil, nil))
	if start {
		m.Start(m.Func(nil, nil, nil, asm.Loop(asm.None, asm.Br(0))))
	}
	return m.Bytes()
}

// TestHostileFilters runs weir with filters that never end: on_error is obeyed, and other routes do not notice.
func TestHostileFilters(t *testing.T) {
	for _, procs := range []string{"1", "2"} {
		t.Run("GOMAXPROCS="+procs, func(t *testing.T) { testHostile(t, procs) })
	}
}

func testHostile(t *testing.T, procs string) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }))
	defer up.Close()
	dir, address, admin := t.TempDir(), freeAddress(t), freeAddress(t)
	var filters, routes strings.Builder
	for name, code := range hostile {
		writeFile(t, filepath.Join(dir, name+".wasm"), string(hostileModule(code, false)))
		for _, onError := range []string{"fail_closed", "fail_open"} {
			id := name + "-" + onError
			fmt.Fprintf(&filters, "  %s: {file: %s.wasm, cpu: 5ms, memory: 64MiB, instances: 4, on_error: %s}\n", id, name, onError)
			fmt.Fprintf(&routes, "  - {name: %s, match: {path: /%s}, auth: none, wasm: [%s], upstream: api}\n", id, id, id)
		}
	}
	file := filepath.Join(dir, "weir.yaml")
	writeFile(t, file, fmt.Sprintf(`
version: 1
access_log: {output: "off"}
listeners: [{address: %q}]
admin: {address: %q}
upstreams: {api: {endpoints: [%q]}}
wasm:
%sroutes:
%s  - {name: good, match: {path: /*}, auth: none, upstream: api}
`, address, admin, up.URL, filters.String(), routes.String()))
	p := startWeir(t, []string{"GOMAXPROCS=" + procs, "GODEBUG=gctrace=0"}, "run", "-c", file)
	p.wait("weir listens", func() bool { return listens(address) && listens(admin) })

	stop := make(chan struct{})
	var attackers sync.WaitGroup
	attackers.Go(func() { // one collection after the other while guests spin
		for {
			select {
			case <-stop:
				return
			default:
				if answer, err := http.Get("http://" + admin + "/debug/pprof/heap?gc=1"); err == nil {
					answer.Body.Close()
				}
			}
		}
	})
	seen := map[string]map[int]int{}
	var mu sync.Mutex
	for name := range hostile {
		for _, onError := range []string{"fail_closed", "fail_open"} {
			attackers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					answer, err := http.Get("http://" + address + "/" + name + "-" + onError)
					if err != nil {
						t.Errorf("%s %s: %v", name, onError, err)
						return
					}
					answer.Body.Close()
					mu.Lock()
					if seen[onError] == nil {
						seen[onError] = map[int]int{}
					}
					seen[onError][answer.StatusCode]++
					mu.Unlock()
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
	}
	client := &http.Client{Timeout: 5 * time.Second}
	var times []time.Duration
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		began := time.Now()
		answer, err := client.Get("http://" + address + "/fine")
		if err != nil || answer.StatusCode != 200 {
			t.Fatalf("a route without filters: %v %v\n%s", answer, err, p.stderr.String())
		}
		answer.Body.Close()
		times = append(times, time.Since(began))
	}
	close(stop)
	attackers.Wait()
	slices.Sort(times)
	t.Logf("other route: %d requests, p50 %v, p99 %v, longest %v; filters: %v", len(times), times[len(times)/2], times[len(times)*99/100], times[len(times)-1], seen)
	if len(seen["fail_closed"]) != 1 || seen["fail_closed"][503] == 0 || len(seen["fail_open"]) != 1 || seen["fail_open"][200] == 0 {
		t.Errorf("on_error not obeyed: %v", seen)
	}
}

// TestHostileStart refuses a filter whose start section never ends: at the start with exit status 2, on reload by keeping the old.
func TestHostileStart(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "start.wasm"), string(hostileModule(asm.Cat(), true)))
	file := filepath.Join(dir, "weir.yaml")
	writeFile(t, file, `
version: 1
listeners: [{address: "127.0.0.1:0"}]
wasm: {start: {file: start.wasm, start: 50ms}}
routes: [{match: {path: /*}, auth: none, wasm: [start], respond: {status: 204}}]
`)
	p := startWeir(t, nil, "run", "-c", file)
	if code := p.exit(20 * time.Second); code != 2 {
		t.Errorf("exit status %d", code)
	}
	if text := p.stderr.String(); !strings.Contains(text, "weir.yaml:4:8: wasm.start: ") || strings.Count(text, "\n") != 1 {
		t.Errorf("stderr:\n%s", text)
	}
	_ = os.Remove(file)
}
