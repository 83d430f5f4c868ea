package proxyabi

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/filter"
	"github.com/weirproxy/weir/core/wasm/asm"
)

// tagging reads a field of the request, sets another to that, and adds one to the answer.
func tagging(p *program) *program {
	const size = outAt + 4
	p.on("proxy_on_request_headers",
		p.host("proxy_get_header_map_value", num(mapRequestHeaders), p.text("x-one"), num(outAt), num(size)),
		p.host("proxy_replace_header_map_value", num(mapRequestHeaders), p.text("x-tag"), num(outAt), asm.Load(0x28, 2, 0), num(size), asm.Load(0x28, 2, 0)),
		num(actionContinue))
	return p.on("proxy_on_response_headers",
		p.host("proxy_add_header_map_value", num(mapResponseHeaders), p.text("x-tag"), p.text("weir")),
		num(actionContinue)).without("proxy_on_request_body", "proxy_on_response_body", "proxy_on_request_trailers", "proxy_on_response_trailers")
}

// client makes one exchange after another, with nothing made anew.
type client struct {
	connection uint64
	failed     error
}

var (
	benchMethod, benchTarget, benchHost = []byte("GET"), []byte("/path?x=1"), []byte("example.com")
	benchID, benchValue                 = []byte("id-1"), []byte("a value")
)

// exchange is a whole one, its own making included; without a filter it is that alone.
func (c *client) exchange(f *Filter) {
	x := exchange.Acquire()
	r := &x.Request
	r.Method, r.Target, r.Path, r.Host, r.Version = benchMethod, benchTarget, benchTarget[:5], benchHost, exchange.HTTP11
	x.RequestID, x.Client.Connection = benchID, c.connection
	r.Header.AddString("accept", benchValue)
	r.Header.AddString("user-agent", benchValue)
	r.Header.AddString("x-forwarded-for", benchValue)
	r.Header.AddString("x-one", benchValue)
	r.Body.Init(0, nil)
	x.Response.Status = 200
	x.Response.Body.Init(0, nil)
	x.Response.Header.AddString("content-type", benchValue)
	if f != nil {
		v, err := f.Request(x, 0)
		if err == nil && v == filter.Continue {
			_, err = f.Response(x, 0, false)
		}
		if err != nil {
			c.failed = err
		}
	}
	exchange.Release(x)
}

var goGuest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "weir-guest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./testdata/goguest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if _, err := cmd.CombinedOutput(); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
})

func stockGo(t testing.TB) []byte {
	t.Helper()
	b, err := goGuest()
	if err != nil {
		t.Fatalf("stock Go cannot build the guest: %v", err)
	}
	return b
}

// tagger is a filter that tags, and what closes it.
func tagger(t testing.TB, code []byte, n int) *Filter {
	t.Helper()
	_, p := start(t, code, shards(n))
	return at(t, p, Site{})
}

// TestTagging: what is measured does what it says, with both guests.
func TestTagging(t *testing.T) {
	for name, code := range map[string][]byte{"by hand": tagging(newProgram()).build(), "stock Go": stockGo(t)} {
		t.Run(name, func(t *testing.T) {
			f := tagger(t, code, 1)
			x := ask(t, 0)
			x.Request.Header.AddString("x-one", benchValue)
			request(t, f, x, filter.Continue)
			answer(x, 0)
			response(t, f, x, filter.Continue)
			same(t, "request", string(x.Request.Header.Get("x-tag")), "a value")
			same(t, "response", string(x.Response.Header.Get("x-tag")), "weir")
			exchange.Release(x)
		})
	}
}

// BenchmarkFilter is a whole exchange past a filter that reads one field, replaces one, and adds one to the answer: seven guest
// calls with proxy_on_context_create, _done, _log and _delete, and three host calls, which need the allocator once.
func BenchmarkFilter(b *testing.B) {
	run := func(name string, f *Filter) {
		b.Run(name, func(b *testing.B) {
			c := &client{}
			b.ReportAllocs()
			for b.Loop() {
				c.exchange(f)
			}
			if c.failed != nil {
				b.Fatal(c.failed)
			}
		})
	}
	run("without a filter", nil)
	run("by hand", tagger(b, tagging(newProgram()).build(), 1))
	bare := tagging(newProgram()).without("proxy_on_context_create", "proxy_on_done", "proxy_on_log", "proxy_on_delete")
	run("by hand, two callbacks", tagger(b, bare.build(), 1))
	run("stock Go", tagger(b, stockGo(b), 1))
	b.Run("stock Go, parallel", func(b *testing.B) {
		f := tagger(b, stockGo(b), 0)
		b.ReportAllocs()
		var connections atomic.Uint64
		b.RunParallel(func(pb *testing.PB) {
			c := &client{connection: connections.Add(1)}
			for pb.Next() {
				c.exchange(f)
			}
			if c.failed != nil {
				b.Error(c.failed)
			}
		})
	})
}
