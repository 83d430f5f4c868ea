package wasm_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest/guest"
)

// odd is a guest that is built with these flags.
type odd struct {
	name  string
	flags string
	note  string // what it tells in x-odd, but for the number of allocators that were used
}

// TestOdd loads modules as old and odd as they are found, and each works.
func TestOdd(t *testing.T) {
	for _, o := range []odd{
		{"plain", "", "config=0;blue;started=0;"},
		{"0.1.0 with _start, malloc and the old functions", "-DMARK_0_1_0 -DMALLOC -DSTART -DTWO_PARAMETERS -DOLD_CONFIGURATION -DOLD_CONTINUE", "config=0;blue;started=1;"},
		{"0.1.0 whose proxy_continue_request gives nothing", "-DMARK_0_1_0 -DMALLOC -DTWO_PARAMETERS -DVOID_CONTINUE", "config=0;blue;started=0;"},
		{"0.2.0", "-DMARK_0_2_0", "config=0;blue;started=0;"},
		{"without a marker, two parameters", "-DUNMARKED -DMALLOC -DTWO_PARAMETERS -DOLD_CONFIGURATION -DOLD_CONTINUE", "config=0;blue;started=0;"},
		{"without a marker, three parameters", "-DUNMARKED", "config=0;blue;started=0;"},
		{"0.2.1 with proxy_continue_request", "-DOLD_CONTINUE", "config=0;blue;started=0;"},
		{"proxy_grpc_call of ten parameters", "-DGRPC10", "config=0;blue;started=0;grpc=1;"},
		{"wasi_unstable.fd_write", "-DWASI_UNSTABLE", "config=0;blue;started=0;out=0;err=0;written=15;other=8;"},
		{"like Emscripten's", "-DEMSCRIPTEN -DINITIALIZE -DBOTH_ALLOCATORS -Wl,--initial-memory=16777216", "config=0;blue;started=100;equal=10;done=0;"},
		{"Redis of Higress, not used", "-DREDIS", "config=0;blue;started=0;imported=1;"},
		{"functions that nobody knows", "-DUNKNOWN", "config=0;blue;started=0;future=1;thing=1;"},
		{"no allocator", "-DNO_ALLOCATOR", "config=10;;started=0;"},
		{"an allocator that gives 0", "-DNULL_ALLOCATOR", "config=6;;started=0;"},
		{"an allocator that grows memory each time", "-DGROWING", "config=0;blue;started=0;"},
		{"both allocators", "-DBOTH_ALLOCATORS", "config=0;blue;started=0;"},
		{"calls before it has started", "-DEARLY", "config=0;blue;started=0;"},
		{"a plugin that is done a tick later", "-DPENDING", "config=0;blue;started=0;"},
		{"a plugin that is never done", "-DNEVER_DONE", "config=0;blue;started=0;"},
	} {
		t.Run(o.name, func(t *testing.T) { o.run(t) })
	}
}

func (o *odd) run(t *testing.T) {
	h := serveOdd(t, o.flags)
	reads := strings.HasPrefix(o.note, "config=0;") // who has no memory for what the host gives can't
	body := strings.Repeat("0123456789abcdef", 1<<10)
	for range 20 {
		got := h.is("POST", "/", body, 200, body)
		want := o.note + "allocators=1;"
		if !reads {
			want = o.note + "allocators=0;"
		}
		if note := got.Get("X-Odd"); note != want {
			t.Fatalf("it notes %q, want %q\n%s", note, want, h.log)
		}
		missing := "missing=1;"
		if strings.Contains(o.flags, "MARK_0_1_0") || strings.Contains(o.flags, "UNMARKED") && strings.Contains(o.flags, "TWO") {
			missing = "missing=0;" // with an empty value
		}
		if seen := got.Get("X-Seen"); !strings.Contains(o.flags, "UNMARKED") && reads && seen != missing+"|" {
			t.Fatalf("a header that is missing: %q, want %q", seen, missing)
		}
	}
	if reads {
		if got := h.is("POST", "/", body, 200, body, "Hold", "1"); !strings.HasSuffix(got.Get("X-Seen"), "|1") {
			t.Errorf("not held: %v", got)
		}
	}
	switch {
	case strings.Contains(o.flags, "WASI_UNSTABLE"):
		h.hears("standard output", "standard error")
	case strings.Contains(o.flags, "EARLY"):
		h.hears("early")
	case strings.Contains(o.flags, "PENDING"):
		h.dropFilters()
		h.hears("not yet", "now", "deleted")
	case strings.Contains(o.flags, "NEVER_DONE"):
		h.dropFilters() // a node does not wait for ever
		h.hears("not yet")
	}
	h.sound()
}

func serveOdd(t *testing.T, flags string) *house {
	code := guest.C(t, "testdata/c/odd.c", strings.Fields(flags)...)
	return serve(t, "", `
wasm: {odd: {file: odd.wasm, instances: 1, config: blue, memory: 64MiB, `+unhurried+`}}
upstreams: {web: {endpoints: ["http://${UPSTREAM}"]}}
routes: [{match: {path: /*}, auth: none, wasm: [odd], upstream: web}]
`, map[string][]byte{"odd.wasm": code}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", r.Header.Get("X-Note")+"|"+r.Header.Get("X-Held"))
		_, _ = w.Write(b)
	}), nil)
}

// TestOddActions: filters in C++ return more than the two actions of the specification. What is more than the last of them
// is the last.
func TestOddActions(t *testing.T) {
	h := serveOdd(t, "")
	for action, held := range map[string]string{"0": "", "1": "1", "2": "", "3": "1", "4": "1", "5": "1", "9": "1"} {
		if got := h.is("GET", "/", "", 200, "", "Action", action); !strings.HasSuffix(got.Get("X-Seen"), "|"+held) {
			t.Errorf("action %s for headers: %q", action, got.Get("X-Seen"))
		}
	}
	body := strings.Repeat("0123456789abcdef", 1<<10)
	for _, action := range []string{"0", "1", "2"} {
		h.is("POST", "/", body, 200, body, "Data", action)
	}
	for _, action := range []string{"3", "4", "9"} { // who says that nothing is to be buffered has taken it
		if status, _, _ := h.Do("POST", "/", body, "Data", action); status != 200 {
			t.Errorf("action %s for a body: %d\n%s", action, status, h.log)
		}
	}
	h.is("POST", "/", body, 200, body)
	h.sound()
}
