package proxyabi

import (
	"bytes"
	"compress/zlib"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

func (p *probe) foreign(name, arg string) (string, status) {
	p.t.Helper()
	np, nn := p.text(name)
	ap, an := p.text(arg)
	if st := p.call("proxy_call_foreign_function", np, nn, ap, an, probeOut, probeOut+4); st != statusOK {
		return "", st
	}
	return p.out(), statusOK
}

func TestCompress(t *testing.T) {
	p := newProbe(t)
	for _, n := range []int{0, 1, 1000, 64 << 10, 200 << 10} {
		text := strings.Repeat("some text, ", n/11+1)[:n]
		packed, st := p.foreign("compress", text)
		if st != statusOK || n > 1000 && len(packed) > n/10 {
			t.Errorf("%d bytes: %d, %d bytes", n, st, len(packed))
		}
		r, err := zlib.NewReader(strings.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		if back, err := io.ReadAll(r); err != nil || string(back) != text {
			t.Errorf("%d bytes: %v", n, err)
		}
		if back, st := p.foreign("uncompress", packed); st != statusOK || back != text {
			t.Errorf("%d bytes: %d", n, st)
		}
		if n > 0 {
			if _, st := p.foreign("uncompress", packed[:len(packed)-1]); st != statusSerialization {
				t.Errorf("cut off: %d", st)
			}
		}
	}
	for _, bad := range []string{"", "x", "\x78", "nonsense that is none"} {
		if _, st := p.foreign("uncompress", bad); st != statusSerialization {
			t.Errorf("%q: %d", bad, st)
		}
	}
	if back, st := p.foreign("uncompress", mustCompress("after a failure")); st != statusOK || back != "after a failure" {
		t.Error(back, st)
	}
}

func mustCompress(s string) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

// TestCompressBounds: neither a bomb nor a heap of work gets past the budget of a call.
func TestCompressBounds(t *testing.T) {
	p := newProbe(t, func(o *Options, _ *PluginOptions, _ *Site) { o.CPU = 2 * time.Millisecond })
	bomb := mustCompress(strings.Repeat("\x00", 4<<20))
	if _, st := p.foreign("uncompress", bomb); st != statusInternalFailure {
		t.Errorf("a bomb of %d bytes: %d", len(bomb), st)
	}
	if most := p.sh.most(costOut); cap(p.sh.scratch) > 4*most {
		t.Errorf("%d bytes are kept, of %d", cap(p.sh.scratch), most)
	}
	if _, st := p.foreign("compress", strings.Repeat("x", 200<<10)); st != statusInternalFailure {
		t.Errorf("more than can be paid for: %d", st)
	}
	if _, st := p.foreign("compress", strings.Repeat("x", 90<<10)); st != statusOK {
		t.Error(st)
	}
}

func TestForeign(t *testing.T) {
	p := newProbe(t)
	there, missing := Foreign()
	if !slices.Contains(there, "compress") || !slices.Contains(missing, "verify_signature") {
		t.Error(there, missing)
	}
	for _, name := range append(missing, "", "nonsense") {
		if _, st := p.foreign(name, "x"); st != statusNotFound {
			t.Errorf("%q: %d", name, st)
		}
	}
	for _, name := range []string{"declare_property", "set_global_max_requests_per_io_cycle", "clear_route_cache"} {
		if v, st := p.foreign(name, "x"); st != statusOK || v != "" {
			t.Errorf("%q: %d", name, st)
		}
	}
	if !p.st.rerouted {
		t.Error("the route is to be found anew")
	}
	if v, st := p.foreign("get_log_level", ""); st != statusOK || v != "\x05\x00\x00\x00" {
		t.Errorf("level %q", v)
	}
	np, nn := p.text("compress")
	ap, an := p.text("text")
	before, _ := p.sh.in.Memory().Uint32(0)
	for _, out := range [][2]uint64{{0, 0}, {0, probeOut}, {probeOut, 0}} {
		if st := p.call("proxy_call_foreign_function", np, nn, ap, an, out[0], out[1]); st != statusOK {
			t.Errorf("a result that is not wanted: %d", st)
		}
		np, nn = p.text("compress")
		ap, an = p.text("text")
	}
	if after, _ := p.sh.in.Memory().Uint32(0); after != before {
		t.Error("something was written to address 0")
	}
	for _, bad := range [][]uint64{{1<<32 - 1, 8, 0, 0, 0, 0}, {np, nn, 1<<32 - 1, 8, 0, 0}, {np, nn, ap, an, 1<<32 - 1, 0}, {np, nn, ap, an, 0, 1<<32 - 4 + 1}} {
		if st := p.call("proxy_call_foreign_function", bad...); st != statusInvalidMemory {
			t.Errorf("%v: %d", bad, st)
		}
	}
}

func TestClearRouteCacheNeedsTheRequest(t *testing.T) {
	p := newProbe(t)
	p.answer(200, 0)
	p.foreign("clear_route_cache", "")
	p.call("proxy_clear_route_cache")
	p.root()
	p.foreign("clear_route_cache", "")
	if p.st.rerouted {
		t.Error("the request has gone on")
	}
}

func TestSetFilterState(t *testing.T) {
	p := newProbe(t)
	message := func(name, value string) string {
		b := protowire.AppendTag(nil, 1, protowire.BytesType)
		b = protowire.AppendString(b, name)
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendString(b, value)
		b = protowire.AppendTag(b, 3, protowire.VarintType)
		return string(protowire.AppendVarint(b, 2))
	}
	f := func(arg string, want status) {
		t.Helper()
		if _, st := p.foreign("set_envoy_filter_state", arg); st != want {
			t.Errorf("%q: %d", arg, st)
		}
	}
	f(message("envoy.network.x", "value"), statusOK)
	v, _ := p.property("filter_state/envoy.network.x")
	p.want("state", v, "value")
	f(message("", "value"), statusBadArgument)
	f(message(":scheme", "gopher"), statusBadArgument)
	f("nonsense", statusBadArgument)
	f("", statusBadArgument)
	f(message("large", strings.Repeat("x", 70<<10)), statusInternalFailure)
	p.root()
	f(message("x", "y"), statusNotFound)
}

// FuzzUncompress: whatever is said to be compressed gives a status that is borne, and no more than may be given.
func FuzzUncompress(f *testing.F) {
	random := make([]byte, 2000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	for _, s := range []string{"", "x", mustCompress(""), mustCompress("text"), mustCompress(string(random)), mustCompress(strings.Repeat("\x00", 1<<20))} {
		f.Add([]byte(s))
	}
	p := newProbe(f, func(o *Options, _ *PluginOptions, _ *Site) { o.CPU = time.Millisecond })
	f.Fuzz(func(t *testing.T, b []byte) {
		p.t = t
		out, st := p.foreign("uncompress", string(b[:min(len(b), 60<<10)]))
		if st != statusOK && st != statusSerialization && st != statusInternalFailure || len(out) > p.sh.most(costOut) {
			t.Errorf("%d, %d bytes", st, len(out))
		}
	})
}

func TestForeignAllocations(t *testing.T) {
	p := newProbe(t)
	nothing := func() {}
	for _, name := range []string{"compress", "clear_route_cache", "declare_property", "get_log_level", "sign"} {
		np, nn := p.text(name)
		ap, an := p.text(strings.Repeat("some text, ", 100))
		p.floor(t, nothing, "proxy_call_foreign_function", np, nn, ap, an, probeOut, probeOut+4)
		p.heap = probeArgs
	}
}
