package filters_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/http-wasm/http-wasm-host-go/tck"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/wasm"
	"github.com/weirproxy/weir/core/wasm/asm"
	"github.com/weirproxy/weir/core/wasm/httpabi"
	"github.com/weirproxy/weir/examples/demo"
	"github.com/weirproxy/weir/filters"
)

// tagFilter and its like build the examples once for all tests: the modules' bytes.
var (
	tagFilter  = sync.OnceValues(func() ([]byte, error) { return buildExample("01-tag-filter") })
	denyFilter = sync.OnceValues(func() ([]byte, error) { return buildExample("02-deny-filter") })
	askFilter  = sync.OnceValues(func() ([]byte, error) { return buildExample("03-ask-filter") })
)

func buildExample(name string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "weir")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "filter.wasm")
	c := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
	c.Dir = filepath.Join("..", "examples", name)
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWORK=off", "GOFLAGS=")
	if text, err := c.CombinedOutput(); err != nil {
		return text, err
	}
	return os.ReadFile(out)
}

func open(t *testing.T, o filters.Options) *filters.Set {
	t.Helper()
	s := filters.Open(o)
	t.Cleanup(func() {
		coretest.Eventually(t, "filters to be given up", func() bool { return len(s.Wasm.Filters()) == 0 })
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Seen", r.Header.Get("X-Tag")+"|"+r.Header.Get("X-Set")+"|"+r.Header.Get("Cookie"))
	w.Header().Set("Server", "upstream")
	b, _ := io.ReadAll(r.Body)
	_, _ = w.Write(b)
}

// TestWholeWay runs the example, a filter in stock Go, between client and upstream beside the built-in kinds.
func TestWholeWay(t *testing.T) {
	code, err := tagFilter()
	if err != nil {
		t.Fatalf("%v: %s", err, code)
	}
	set := open(t, filters.Options{StateDir: t.TempDir(), Open: func(string) ([]byte, error) { return code, nil }})
	r := coretest.Start(t, `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
wasm: {tag: {file: tag.wasm, config: {value: edge}, cpu: 100ms, cpu_total: 200ms}}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - name: fixed
    match: {path: /fixed}
    auth: none
    wasm: [tag]
    respond: {status: 200, body: fixed}
    headers: {response: {preset: security}}
  - name: all
    match: {path: /*}
    auth: none
    wasm: [tag, {filter: tag, slot: edge, config: {header: x-edge, value: other}}]
    headers: {request: {set: {x-set: "${route.name}"}, remove: [cookie]}, response: {set: {x-set: last}, remove: [server], preset: security}}
    upstream: api
`, http.HandlerFunc(echo), coretest.Options{Kinds: set.Standard()})

	f := func(what, have, want string) {
		t.Helper()
		if have != want {
			t.Errorf("%s: have %q, want %q", what, have, want)
		}
	}
	status, h, body := r.Do("POST", "/a", "hello", "Cookie", "c=1")
	f("body", body, "hello")
	f("seen by the upstream", h.Get("X-Seen"), "edge|all|")
	f("seen by the client", h.Get("X-Tag")+" "+h.Get("X-Edge")+" "+h.Get("X-Set")+" "+h.Get("Server"), "edge other last ")
	f("preset", h.Get("X-Content-Type-Options")+" "+h.Get("X-Frame-Options"), "nosniff DENY")
	if status != 200 {
		t.Error(status)
	}
	_, h, _ = r.Get("/a", "X-Tag", "mine")
	f("seen by the upstream", h.Get("X-Seen"), "mine|all|")
	f("seen by the client", h.Get("X-Tag"), "mine")
	_, h, body = r.Get("/fixed")
	f("fixed answer", body+" "+h.Get("X-Tag")+" "+h.Get("X-Frame-Options"), "fixed edge DENY")
	for _, filter := range set.Wasm.Filters() {
		if filter.Use.InUse != 0 || len(filter.Failures) != 0 {
			t.Errorf("%+v", filter)
		}
	}
}

// TestExamples serves every example with its own configuration, on another port, and holds each README to the files beside it.
func TestExamples(t *testing.T) {
	dirs, err := filepath.Glob("../examples/[0-9]*")
	if err != nil || len(dirs) != 3 {
		t.Fatalf("%v, %v", dirs, err)
	}
	build := map[string]func() ([]byte, error){"01-tag-filter": tagFilter, "02-deny-filter": denyFilter, "03-ask-filter": askFilter}
	for _, dir := range dirs {
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			code, err := build[name]()
			if err != nil {
				t.Fatalf("%v: %s", err, code)
			}
			yaml, readme := read(t, filepath.Join(dir, "weir.yaml")), read(t, filepath.Join(dir, "README.md"))
			if !strings.Contains(readme, yaml) {
				t.Error("the README shows another configuration")
			}
			set := open(t, filters.Options{Open: func(string) ([]byte, error) { return code, nil }})
			asked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/" || r.Header.Get("Authorization") == "" {
					w.WriteHeader(404)
				}
			}))
			defer asked.Close()
			yaml = strings.NewReplacer("127.0.0.1:8080", "127.0.0.1:0", "http://127.0.0.1:9000", asked.URL).Replace(yaml)
			r := coretest.Start(t, yaml, nil, coretest.Options{Kinds: set.Standard()})
			plain, h, body := r.Get("/")
			switch name {
			case "01-tag-filter":
				_, own, _ := r.Get("/", "x-tag", "mine")
				if plain != 200 || h.Get("x-tag") != "edge" || own.Get("x-tag") != "mine" {
					t.Errorf("%d %v %v", plain, h, own)
				}
			case "02-deny-filter":
				named, _, hello := r.Get("/", "x-team", "blue")
				if plain != 403 || body != "which team are you?\n" || named != 200 || hello != "hello\n" {
					t.Errorf("%d %q, %d %q", plain, body, named, hello)
				}
			case "03-ask-filter":
				may, _, hello := r.Get("/", "authorization", "me")
				if plain != 403 || body != "you may not\n" || may != 200 || hello != "hello\n" {
					t.Errorf("%d %q, %d %q", plain, body, may, hello)
				}
			}
		})
	}
	if !strings.Contains(read(t, "../README.md"), read(t, "../examples/02-deny-filter/main.go")) {
		t.Error("the README at the top shows another filter than examples/02-deny-filter/main.go")
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The demo's filter is there if it was built, and else says how to have it.
func TestDemo(t *testing.T) {
	code, err := demo.Filter()
	if err == demo.ErrNotBuilt {
		return // the test's binary was not made by make
	}
	if err != nil || !strings.HasPrefix(string(code), "\x00asm") {
		t.Error(err)
	}
}

// fragile is a guest that reads the whole body, buffered, and traps if the request has a field armed.
func fragile() []byte {
	var m asm.Module
	m.Memory(1, 1)
	m.Data(0, []byte("armed"))
	i32, i64 := asm.T(asm.I32), asm.T(asm.I64)
	enable := m.Import("http_handler", "enable_features", i32, i32)
	read := m.Import("http_handler", "read_body", asm.T(asm.I32, asm.I32, asm.I32), i64)
	values := m.Import("http_handler", "get_header_values", asm.T(asm.I32, asm.I32, asm.I32, asm.I32, asm.I32), i64)
	m.Export("memory", 2, 0)
	n := asm.Const32
	m.Export("handle_request", 0, m.Func(nil, i64, nil,
		n(1), asm.Call(enable), asm.Drop,
		asm.Loop(asm.None, n(0), n(64), n(4096), asm.Call(read), asm.Const64(32), asm.Op(0x88), asm.Eqz64, asm.BrIf(0)),
		n(0), n(0), n(5), n(0), n(0), asm.Call(values), asm.Eqz64, asm.Eqz32, asm.If(asm.None, asm.Unreachable),
		asm.Const64(1)))
	m.Export("handle_response", 0, m.Func(asm.T(asm.I32, asm.I32), nil, nil, asm.Op(0x01)))
	return m.Bytes()
}

// TestFailing runs a filter that traps, closed and open, before an upstream that wants the body.
func TestFailing(t *testing.T) {
	set := open(t, filters.Options{Open: func(string) ([]byte, error) { return fragile(), nil }})
	r := coretest.Start(t, `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
wasm: {closed: {file: f.wasm, body_limit: 64KiB}, open: {file: f.wasm, on_error: fail_open}}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {match: {path: /closed}, auth: none, wasm: [closed], upstream: api}
  - {match: {path: /open}, auth: none, wasm: [open], upstream: api}
`, http.HandlerFunc(echo), coretest.Options{Kinds: set.Standard()})
	big := strings.Repeat("0123456789abcdef", 4000)
	for _, path := range []string{"/closed", "/open"} {
		if status, _, body := r.Do("POST", path, big); status != 200 || body != big {
			t.Errorf("%s: %d, %d bytes", path, status, len(body))
		}
	}
	if status, _, body := r.Do("POST", "/closed", big, "armed", "1"); status != 503 || strings.Contains(body, "trap") {
		t.Errorf("%d %q", status, body)
	}
	if status, _, body := r.Do("POST", "/open", big, "armed", "1"); status != 200 || body != big {
		t.Errorf("skipped: %d, %d bytes", status, len(body))
	}
	if status, _, _ := r.Do("POST", "/closed", big+big); status != 503 {
		t.Errorf("over the limit: %d", status)
	}
	// Chunked, with a trailer section, cut, and good again.
	const head = "POST /closed HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
	if got := r.Raw(head+"3\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 1\r\n\r\n", time.Second); !strings.HasPrefix(got, "HTTP/1.1 200") || !strings.HasSuffix(got, "abcde") {
		t.Errorf("%q", got)
	}
	if got := r.Raw(head+"0\r\n\r\n", time.Second); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("%q", got)
	}
	if got := r.Raw(head+"zz\r\n", time.Second); !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("%q", got)
	}
	c := r.Dial()
	_, _ = io.WriteString(c, head+"3\r\nab")
	_ = c.Close()
	coretest.Eventually(t, "instances to come back", func() bool {
		for _, f := range set.Wasm.Filters() {
			if f.Use.InUse != 0 {
				return false
			}
		}
		return true
	})
	for _, f := range set.Wasm.Filters() {
		if f.Instances.Discarded != 1 || f.Failures["trap"] != 1 {
			t.Errorf("%+v", f)
		}
	}
	// A reload that changes nothing keeps the filters.
	if err := r.Node.Reload(); err != nil {
		t.Fatal(err)
	}
	coretest.Eventually(t, "the old plan to close", func() bool { return set.Wasm.Filters()[0].Places == 1 && set.Wasm.Filters()[1].Places == 1 })
	if status, _, _ := r.Do("POST", "/closed", "x"); status != 200 {
		t.Error(status)
	}
	for _, f := range set.Wasm.Filters() {
		if f.Failures["trap"] != 1 || f.Places != 1 { // it remembers, so it is the same
			t.Errorf("%s: %+v", f.Name, f)
		}
	}
}

// TestConformance runs the public kit of the ABI through weir, over both versions of HTTP. TRACE, which the kit sends too, never
// comes as far as a filter.
func TestConformance(t *testing.T) {
	set := open(t, filters.Options{Open: func(string) ([]byte, error) { return tck.GuestWASM, nil }})
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			r := coretest.Start(t, `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0", h2c: true}]
wasm: {kit: {file: kit.wasm}}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, wasm: [kit], upstream: api}]
`, tck.BackendHandler(), coretest.Options{Kinds: set.Standard()})
			speaks := &http.Protocols{}
			speaks.SetHTTP1(version == "HTTP/1.1")
			speaks.SetUnencryptedHTTP2(version == "HTTP/2.0")
			transport := &http.Transport{Protocols: speaks}
			n := noTrace{t: t, next: transport, version: version}
			t.Cleanup(func() { // the kit's tests run beside one another, after this one
				transport.CloseIdleConnections()
				if n.answers.Load() < 30 {
					t.Errorf("the kit has had %d answers", n.answers.Load())
				}
			})
			t.Run("kit", func(t *testing.T) { tck.Run(t, &http.Client{Transport: &n}, r.URL) })
		})
	}
}

// noTrace answers the kit's TRACE for weir, and sees to it that the others are of the version meant.
type noTrace struct {
	t       *testing.T
	next    http.RoundTripper
	version string
	answers atomic.Int64
}

func (n *noTrace) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := n.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if n.answers.Add(1); answer.Proto != n.version {
		n.t.Errorf("answered in %s", answer.Proto)
	}
	if r.Method == "TRACE" {
		if answer.StatusCode != 405 {
			n.t.Errorf("TRACE is answered with %d", answer.StatusCode)
		}
		answer.StatusCode = 200
		answer.Header.Set("x-httpwasm-tck-handled", "1")
	}
	return answer, nil
}

// BenchmarkExample is one exchange with the example, stock Go with JSON configuration, called on both sides.
func BenchmarkExample(b *testing.B) {
	code, err := tagFilter()
	if err != nil {
		b.Fatalf("%v: %s", err, code)
	}
	e, err := wasm.OpenEngine(wasm.Options{})
	if err != nil {
		b.Fatal(err)
	}
	f, err := httpabi.Open(b.Context(), e, code, httpabi.Options{Name: "tag", CPU: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	get, slash := []byte("GET"), []byte("/")
	b.ReportAllocs()
	for b.Loop() {
		x := exchange.Acquire()
		x.Request.Method, x.Request.Target, x.Request.Path = get, slash, slash
		x.Request.Header.AddString("x-tag", get)
		if _, err := f.Request(x, 0); err != nil {
			b.Fatal(err)
		}
		x.Response.Status = 200
		if _, err := f.Response(x, 0, false); err != nil {
			b.Fatal(err)
		}
		exchange.Release(x)
	}
}

// TestReloadUnderLoad changes a filter's configuration again and again while clients go on: no request fails, and no filter
// is left behind.
func TestReloadUnderLoad(t *testing.T) {
	set := open(t, filters.Options{Open: func(string) ([]byte, error) { return fragile(), nil }})
	configuration := func(i int) string {
		return `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
wasm: {same: {file: f.wasm}, other: {file: f.wasm, config: "` + strings.Repeat("x", i%3) + `"}}
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, wasm: [same, other], upstream: api}]
`
	}
	r := coretest.Start(t, configuration(0), http.HandlerFunc(echo), coretest.Options{Kinds: set.Standard()})
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status, _, body := r.Do("POST", "/", "hello"); status != 200 || body != "hello" {
					t.Errorf("%d %q", status, body)
					return
				}
			}
		})
	}
	for i := range 30 {
		r.Write(configuration(i))
		if err := r.Node.Reload(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	clients.Wait()
	coretest.Eventually(t, "old filters to be closed", func() bool { return len(set.Wasm.Filters()) == 2 })
	for _, f := range set.Wasm.Filters() {
		if len(f.Failures) != 0 || f.Name == "same" && f.Instances.Made > 8 {
			t.Errorf("%+v", f)
		}
	}
}
