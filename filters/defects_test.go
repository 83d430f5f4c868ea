package filters_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/wasm/asm"
	"github.com/weirproxy/weir/core/wasm/httpabi"
	"github.com/weirproxy/weir/filters"
)

// handler is a guest of http-wasm built by hand. It reads to place, where there are 16 KiB.
type handler struct {
	asm.Module
	host  map[string]uint32
	write uint32 // fd_write of WASI
	heap  int32
}

const place = 32 << 10

func newHandler() *handler {
	h := &handler{host: map[string]uint32{}, heap: 64}
	h.Memory(2, 4)
	for _, f := range httpabi.Offered() {
		h.host[f.Name] = h.Import(f.Module, f.Name, f.Params, f.Results)
	}
	h.write = h.Import("wasi_snapshot_preview1", "fd_write", asm.T(asm.I32, asm.I32, asm.I32, asm.I32), asm.T(asm.I32))
	return h
}

// text puts a text into memory: its place and length.
func (h *handler) text(s string) []byte {
	at := h.heap
	h.Data(at, []byte(s))
	h.heap += int32(len(s)) + 8
	return asm.Cat(asm.Const32(at), asm.Const32(int32(len(s))))
}

func (h *handler) call(name string, args ...[]byte) []byte {
	return asm.Cat(asm.Cat(args...), asm.Call(h.host[name]))
}

// has is not 0 in requests with a field.
func (h *handler) has(name string) []byte {
	return asm.Cat(h.call("get_header_values", asm.Const32(0), h.text(name), asm.Const32(0), asm.Const32(0)), asm.Eqz64, asm.Eqz32)
}

func (h *handler) build(request, response []byte) []byte {
	h.Export("memory", 2, 0)
	h.Export("handle_request", 0, h.Func(nil, asm.T(asm.I64), nil, request))
	h.Export("handle_response", 0, h.Func(asm.T(asm.I32, asm.I32), nil, nil, response, asm.Op(0x01)))
	return h.Bytes()
}

var (
	goOn    = asm.Const64(1)
	fromBuf = asm.Cat(asm.Const32(place), asm.Const32(1<<10))
	lowHalf = asm.Op(0xa7)
)

// defective are guests that other hosts of http-wasm are known to serve wrongly, by the number of the defect.
func defective() map[string][]byte {
	all := map[string][]byte{}
	enable := func(h *handler, features int32) []byte {
		return asm.Cat(h.call("enable_features", asm.Const32(features)), asm.Drop)
	}
	drain := func(h *handler) []byte {
		return asm.Loop(asm.None, h.call("read_body", asm.Const32(0), fromBuf), asm.Const64(32), asm.Op(0x88), asm.Eqz64, asm.BrIf(0))
	}
	h := newHandler()
	all["tee"] = h.build(asm.Cat(enable(h, 1), drain(h), goOn), nil)
	h = newHandler()
	all["trailers"] = h.build(asm.Cat(enable(h, 7), drain(h),
		h.call("add_header_value", asm.Const32(2), h.text("x-sum"), h.text("more")), goOn),
		h.call("set_header_value", asm.Const32(3), h.text("x-end"), h.text("mine")))
	h = newHandler()
	all["host"] = h.build(asm.Cat(h.call("set_header_value", asm.Const32(0), h.text("Host"), h.text("other.example:81")), goOn), nil)
	h = newHandler()
	n := h.Global(asm.I32, true, asm.Const32('0'))
	all["count"] = h.build(asm.Cat(
		asm.GlobalGet(n), asm.Const32(1), asm.Add32, asm.GlobalSet(n), h.has("armed"), asm.If(asm.None, asm.Unreachable),
		asm.Const32(place), asm.GlobalGet(n), asm.Op(0x3a, 0, 0), h.call("write_body", asm.Const32(1), asm.Const32(place), asm.Const32(1)),
		asm.Const64(7<<32)), nil) // next is 0, and a context is given nevertheless
	h = newHandler()
	all["replace"] = h.build(asm.Cat(h.call("write_body", asm.Const32(0), h.text("a body that is longer than the client's")), goOn), nil)
	h = newHandler()
	all["feature"] = h.build(asm.Cat(h.has("ask"), asm.If(asm.None, enable(h, 2)),
		asm.Const32(place), h.call("enable_features", asm.Const32(0)), asm.Const32('0'), asm.Add32, asm.Op(0x3a, 0, 0),
		h.call("set_header_value", asm.Const32(1), h.text("x-features"), asm.Const32(place), asm.Const32(1)), goOn), nil)
	h = newHandler()
	all["stream"] = h.build(goOn, h.call("set_header_value", asm.Const32(1), h.text("x-filter"), h.text("seen")))
	h = newHandler()
	line := func(length []byte) []byte { // fd_write of what is at place, its length in memory at 4
		return asm.Cat(asm.Const32(0), asm.Const32(place), asm.Load(0x36, 2, 0), asm.Const32(4), length, asm.Load(0x36, 2, 0),
			asm.Const32(1), asm.Const32(0), asm.Const32(1), asm.Const32(8), asm.Call(h.write), asm.Drop)
	}
	id := asm.Cat(h.call("get_header_values", asm.Const32(0), h.text("x-id"), fromBuf), lowHalf, asm.Const32(1), asm.Sub32) // without the NUL
	all["output"] = h.build(asm.Cat(line(id), line(id), asm.Const32(place), asm.Const32('\n'), asm.Op(0x3a, 0, 0), line(asm.Const32(1)), asm.Const64(0)), nil)
	return all
}

// seen is what the upstream says of a request.
func seen(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Host", r.Host)
	w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
	w.Header().Set("X-Sum", strings.Join(r.Trailer["X-Sum"], ","))
	w.Header().Set("Trailer", "X-End")
	_, _ = w.Write(b)
	w.Header().Set("X-End", "theirs")
}

// TestDefects plays what other hosts of http-wasm are known to do wrong through weir, over both versions of HTTP. What is left of
// the list, 8, is about costs: httpabi's TestAllocationFloors and TestBusy hold weir to those.
func TestDefects(t *testing.T) {
	guests := defective()
	var routes, wasm strings.Builder
	for name := range guests {
		fmt.Fprintf(&wasm, "  %s: {file: %s.wasm, instances: 2}\n", name, name)
		fmt.Fprintf(&routes, "  - {match: {path: /%s/*}, auth: none, wasm: [%s], upstream: api}\n", name, name)
	}
	log := &coretest.Buffer{}
	set := open(t, filters.Options{
		Open: func(file string) ([]byte, error) {
			return guests[strings.TrimSuffix(filepath.Base(file), ".wasm")], nil
		},
		Log: zerolog.New(log),
	})
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.HandleFunc("/", seen)
			mux.HandleFunc("/stream/events", events)
			mux.HandleFunc("/stream/socket", socket)
			r := coretest.Start(t, "version: 1\naccess_log: {output: \"off\"}\nlisteners: [{address: \"127.0.0.1:0\", h2c: true}]\nwasm:\n"+wasm.String()+
				"upstreams: {api: {endpoints: [\"http://${UPSTREAM}\"]}}\nroutes:\n"+routes.String(), mux, coretest.Options{Kinds: set.Standard()})
			speaks := &http.Protocols{}
			speaks.SetHTTP1(version == "HTTP/1.1")
			speaks.SetUnencryptedHTTP2(version == "HTTP/2.0")
			transport := &http.Transport{Protocols: speaks}
			defer transport.CloseIdleConnections()
			d := &defects{t: t, r: r, client: &http.Client{Transport: transport, Timeout: 20 * time.Second}, log: log}
			d.run()
			if version == "HTTP/1.1" {
				d.upgrades()
			}
		})
	}
}

type defects struct {
	t      *testing.T
	r      *coretest.Rig
	client *http.Client
	log    *coretest.Buffer
}

func (d *defects) do(path string, body io.Reader, change func(*http.Request)) (*http.Response, string) {
	d.t.Helper()
	q, err := http.NewRequest("POST", d.r.URL+path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	if change != nil {
		change(q)
	}
	a, err := d.client.Do(q)
	if err != nil {
		d.t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		d.t.Error(path, err)
	}
	return a, string(b)
}

// slow is a body that comes in pieces, of a length that is not known.
type slow struct{ r io.Reader }

func (s slow) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), 1000)]) }

func (d *defects) run() {
	t := d.t
	t.Helper()
	eq := func(what, have, want string) {
		t.Helper()
		if have != want {
			t.Errorf("%s: have %.100q, want %.100q", what, have, want)
		}
	}
	// 1: the upstream gets a body that was buffered, not its last piece.
	big := strings.Repeat("0123456789abcdef", 20_000)
	_, body := d.do("/tee/", strings.NewReader(big), nil)
	eq("1", body, big)
	_, body = d.do("/tee/", slow{strings.NewReader(big)}, nil)
	eq("1, in pieces", body, big)
	// 2: trailers of the request are the request's, and what is added is added.
	a, body := d.do("/trailers/", slow{strings.NewReader("abc")}, func(q *http.Request) {
		q.Trailer = http.Header{"X-Sum": {"old"}}
		q.Header.Set("TE", "trailers")
	})
	eq("2", body+" "+a.Header.Get("X-Sum")+" "+strings.Join(a.Trailer["X-End"], ",")+strings.Join(a.Trailer["X-Sum"], ","), "abc old,more mine")
	// 3: the host that a filter sets is the one that the upstream sees.
	a, _ = d.do("/host/", nil, nil)
	eq("3", a.Header.Get("X-Host"), "other.example:81")
	// 4: an instance that has trapped serves no more, and others do. 5: next is the low half; none of the two is lost by that.
	count := func() string { _, s := d.do("/count/", nil, nil); return s }
	before := count()
	for range 8 {
		if now := count(); now == "" || now <= before {
			t.Errorf("5: %q after %q", now, before)
		} else {
			before = now
		}
	}
	if a, _ := d.do("/count/", nil, func(q *http.Request) { q.Header.Set("armed", "1") }); a.StatusCode != 503 {
		t.Error("4:", a.Status)
	}
	eq("4", count(), "1")
	// 5b: a body that was replaced has its own length.
	a, body = d.do("/replace/", strings.NewReader("short"), nil)
	eq("5b", body+a.Header.Get("X-Length"), "a body that is longer than the client's39")
	// 6: a feature that one request has asked for is not had by those beside it.
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			want := "0"
			change := func(*http.Request) {}
			if i%2 == 1 {
				want, change = "2", func(q *http.Request) { q.Header.Set("ask", "1") }
			}
			for range 10 {
				a, _ := d.do("/feature/", nil, change)
				eq("6", a.Header.Get("X-Features"), want)
			}
		})
	}
	all.Wait()
	// 7: events pass as they come.
	d.events()
	// 9: what instances write at once does not mix.
	for i := range 6 {
		all.Go(func() {
			for range 4 {
				d.do("/output/", nil, func(q *http.Request) { q.Header.Set("X-Id", strings.Repeat(fmt.Sprint(i), 100)) })
			}
		})
	}
	all.Wait()
	lines := regexp.MustCompile(`"message":"([0-9]+)"`).FindAllStringSubmatch(d.log.String(), -1)
	if len(lines) < 24 {
		t.Errorf("9: %d lines", len(lines))
	}
	for _, l := range lines {
		if l[1] != strings.Repeat(l[1][:1], 200) {
			t.Errorf("9: %s", l[1])
		}
	}
}

// events sends one event, and the next when it has been told that the first has arrived.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range 3 {
		_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-arrived:
		case <-r.Context().Done():
			return
		}
	}
}

// arrived is what clients tell the upstream by.
var arrived = make(chan struct{})

func (d *defects) events() {
	a, err := d.client.Get(d.r.URL + "/stream/events")
	if err != nil {
		d.t.Fatal("7:", err)
	}
	defer a.Body.Close()
	if a.Header.Get("X-Filter") != "seen" {
		d.t.Error("7: no filter:", a.Header)
	}
	lines := bufio.NewReader(a.Body)
	for i := range 3 {
		line, err := lines.ReadString('\n')
		if want := fmt.Sprintf("data: %d\n", i); line != want || err != nil {
			d.t.Fatalf("7: %q, %v", line, err)
		}
		_, _ = lines.ReadString('\n')
		arrived <- struct{}{}
	}
}

// socket takes an upgrade and says what it hears.
func socket(w http.ResponseWriter, _ *http.Request) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	_ = rw.Flush()
	_, _ = io.Copy(c, rw)
}

// upgrades is 7 for WebSocket: the filter has its say about the head, and what follows passes.
func (d *defects) upgrades() {
	t := d.t
	c := d.r.Dial()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, "GET /stream/socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	from := bufio.NewReader(c)
	a, err := http.ReadResponse(from, nil)
	if err != nil || a.StatusCode != 101 || a.Header.Get("X-Filter") != "seen" {
		t.Fatalf("7: %+v, %v", a, err)
	}
	frame := "\x81\x85\x00\x00\x00\x00hello" // masked by nothing
	_, _ = io.WriteString(c, frame)
	got := make([]byte, len(frame))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != frame {
		t.Errorf("7: %q, %v", got, err)
	}
}
