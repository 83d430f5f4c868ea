package proxyabi

import (
	"io"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
)

func TestMapsAsGuestsSeeThem(t *testing.T) {
	p := newProbe(t)
	p.want("names are lower-case, pseudo fields first, duplicates apart", p.list(mapRequestHeaders),
		":authority=example.com|:path=/path?x=1|:method=GET|:scheme=http|accept=*/*|x-one=first|x-one=second")
	f, _ := p.sh.fieldsOf(mapRequestHeaders)
	if n := f.count(); n != 7 {
		t.Errorf("count %d", n)
	}
	if st := p.call("proxy_get_header_map_size", mapRequestHeaders, probeOut); st != statusOK {
		t.Error(st)
	}
	size := 0
	for _, pair := range strings.Split(p.list(mapRequestHeaders), "|") {
		size += len(pair) - 1
	}
	p.call("proxy_get_header_map_size", mapRequestHeaders, probeOut)
	if n, _ := p.sh.in.Memory().Uint32(probeOut); int(n) != size {
		t.Errorf("size %d, want %d: names and values, and no more", n, size)
	}

	r := &p.x.Request
	r.Method, r.Trailers, p.x.Client.Secure = []byte("POST"), true, true
	r.Body.Init(5, (*silence)(nil))
	p.want("what weir keeps elsewhere comes last", p.list(mapRequestHeaders), ":authority=example.com|:path=/path?x=1|"+
		":method=POST|:scheme=https|accept=*/*|x-one=first|x-one=second|te=trailers|content-length=5")
	r.Trailers, r.Upgrade, r.Method = false, true, []byte("GET")
	r.Body.Init(0, nil)
	p.want("a handshake", p.list(mapRequestHeaders), ":authority=example.com|:path=/path?x=1|"+
		":method=GET|:scheme=https|accept=*/*|x-one=first|x-one=second|upgrade=websocket")
	p.want("no trailers yet", p.list(mapRequestTrailers), "")

	p.answer(404, 12, "Server: x", "Set-Cookie: a", "Set-Cookie: b")
	p.want("an answer", p.list(mapResponseHeaders), ":status=404|server=x|set-cookie=a|set-cookie=b|content-length=12")
	p.want("the request can be read still", p.list(mapRequestHeaders)[:22], ":authority=example.com")
	p.x.Response.Status = 204
	p.want("204", p.list(mapResponseHeaders), ":status=204|server=x|set-cookie=a|set-cookie=b")
}

type silence struct{}

func (*silence) Read([]byte) (int, error) { return 0, io.EOF }
func (*silence) Whole() bool              { return true }

// TestLength: Content-Length is no field of the section, and guests see it all the same where the length is known.
func TestLength(t *testing.T) {
	p := newProbe(t)
	f := func(method string, length int64, want string) {
		t.Helper()
		p.x.Request.Method = []byte(method)
		p.x.Request.Body.Init(length, (*silence)(nil))
		have, st := p.get(mapRequestHeaders, "Content-Length")
		if p.want(method, have, want); (st == statusOK) != (want != "") {
			t.Error(st)
		}
	}
	f("GET", 0, "")
	f("GET", 7, "7")
	f("POST", 0, "0")
	f("POST", -1, "")
	f("PUT", 1<<40, "1099511627776")

	p.replace(mapRequestHeaders, "content-length", "3") // ignored
	f("PUT", 9, "9")
	p.remove(mapRequestHeaders, "Content-Length")
	if !p.st.request.unsized || p.st.response.unsized {
		t.Error("the guest wants the request's body without a length")
	}
	f("PUT", 9, "")

	p.answer(200, 3)
	g := func(method string, status int, length, declared int64, want string) {
		t.Helper()
		p.x.Request.Method, p.x.Response.Status, p.x.Response.Declared = []byte(method), status, declared
		p.x.Response.Body.Init(length, (*silence)(nil))
		have, _ := p.get(mapResponseHeaders, "content-length")
		p.want(method, have, want)
	}
	g("GET", 200, 3, 3, "3")
	g("GET", 200, 0, 0, "0")
	g("GET", 200, -1, -1, "")
	g("HEAD", 200, 0, 77, "77")
	g("GET", 304, 0, 77, "77")
	g("GET", 304, 0, -1, "")
	g("GET", 204, 0, 0, "")
	g("GET", 101, 0, -1, "")
}

func TestMissing(t *testing.T) {
	f := func(mark string, want status) {
		t.Helper()
		p := newProbeOf(t, probeCode(mark, probeAllocator))
		ptr, n := p.text("x-none")
		if st := p.call("proxy_get_header_map_value", mapRequestHeaders, ptr, n, probeOut, probeOut+4); st != want {
			t.Errorf("%q: a missing field: %d", mark, st)
		}
		if want == statusOK {
			p.want("nothing", p.out(), "")
		}
		for kind := uint64(1); kind < maps; kind++ {
			ptr, n := p.text("x-none")
			if st := p.call("proxy_get_header_map_value", kind, ptr, n, probeOut, probeOut+4); st != want {
				t.Errorf("%q: of map %d, that is not there: %d", mark, kind, st)
			}
			p.want("pairs of no map", p.list(kind), "")
		}
	}
	f("", statusOK)
	f("proxy_abi_version_0_1_0", statusOK)
	f("proxy_abi_version_0_2_0", statusNotFound)
	f(mark021, statusNotFound)
}

// TestClosedMaps: what is written where nothing can be written any more is dropped, and never fails.
func TestClosedMaps(t *testing.T) {
	p := newProbe(t)
	every := func(phase string, kinds ...uint64) {
		t.Helper()
		before := [...]string{list(&p.x.Request.Header), list(&p.x.Request.Trailer), list(&p.x.Response.Header), list(&p.x.Response.Trailer)}
		for _, kind := range kinds {
			dropped := p.vm.dropped.Load()
			p.replace(kind, "x-one", "new")
			p.add(kind, "x-one", "new")
			p.remove(kind, "x-one")
			ptr, n := p.text(probeMap("a", "b"))
			if st := p.call("proxy_set_header_map_pairs", kind, ptr, n); st != statusOK {
				t.Errorf("%s: set_pairs of map %d: %d", phase, kind, st)
			}
			if n := p.vm.dropped.Load() - dropped; n != 4 {
				t.Errorf("%s: map %d: %d counted", phase, kind, n)
			}
		}
		after := [...]string{list(&p.x.Request.Header), list(&p.x.Request.Trailer), list(&p.x.Response.Header), list(&p.x.Response.Trailer)}
		if before != after {
			t.Errorf("%s: changed to %q", phase, after)
		}
	}
	every("request headers", 1, 2, 3, 4, 5, 6, 7)
	p.requestBody()
	every("request body", 0, 1, 2, 3, 4, 5, 6, 7)
	p.requestTrailers()
	every("request trailers", 0, 2, 3, 4, 5, 6, 7)
	p.answer(200, 0)
	every("response headers", 0, 1, 3, 4, 5, 6, 7)
	p.responseTrailers()
	every("response trailers", 0, 1, 2, 4, 5, 6, 7)
	p.log()
	every("log", 0, 1, 2, 3, 4, 5, 6, 7)
	p.sh.message = &message{head: &p.x.Response.Header, trailer: &p.x.Response.Trailer, status: 200}
	p.root()
	every("a call's answer", 0, 1, 2, 3, 4, 5, 6, 7)
	for _, fn := range []string{"proxy_get_header_map_size", "proxy_get_header_map_pairs", "proxy_set_header_map_pairs",
		"proxy_get_header_map_value", "proxy_add_header_map_value", "proxy_replace_header_map_value", "proxy_remove_header_map_value"} {
		if st := p.call(fn, maps, probeOut, probeOut, probeOut, probeOut); st != statusBadArgument {
			t.Errorf("%s of map %d: %d", fn, maps, st)
		}
	}
}

func TestCallMaps(t *testing.T) {
	p := newProbe(t)
	m := &message{head: &exchange.Header{}, trailer: &exchange.Header{}, status: 503, body: []byte("four")}
	probeFields(m.head, "Server: x")
	probeFields(m.trailer, "X-End: y")
	p.root()
	p.sh.message = m
	p.want("headers", p.list(mapCallHeaders), ":status=503|server=x|content-length=4")
	p.want("trailers", p.list(mapCallTrailers), "x-end=y")
	m.status = 0
	p.want("gRPC", p.list(mapGrpcInitial), "server=x")
	p.want("gRPC", p.list(mapGrpcTrailing), "x-end=y")
	p.want("the request is not the root's", p.list(mapRequestHeaders), "")
	p.sh.message = &message{}
	p.want("a call that failed", p.list(mapCallHeaders), "")
	p.sh.message = nil
	p.want("no call", p.list(mapCallHeaders), "")
}

// list writes a header section as one text.
func list(h *exchange.Header) string {
	var out []string
	for i := range h.Len() {
		out = append(out, string(h.At(i).Name)+": "+string(h.At(i).Value))
	}
	return strings.Join(out, ", ")
}

func TestChanges(t *testing.T) {
	p := newProbe(t)
	section := func(want string) {
		t.Helper()
		p.want("section", list(&p.x.Request.Header), want)
	}
	p.add(0, "X-Two", " spaced \t")
	section("Accept: */*, X-One: first, x-one: second, X-Two: spaced")
	p.replace(0, "X-ONE", "only")
	section("Accept: */*, X-One: only, X-Two: spaced")
	p.replace(0, "x-three", "")
	section("Accept: */*, X-One: only, X-Two: spaced, x-three: ")
	p.remove(0, "ACCEPT")
	p.remove(0, "x-none")
	section("X-One: only, X-Two: spaced, x-three: ")
	if v, st := p.get(0, "x-three"); v != "" || st != statusOK {
		t.Error("a field without a value is there", st)
	}
	if p.vm.dropped.Load() != 0 {
		t.Error("nothing of this was wrong")
	}

	bad := func(name, value string) {
		t.Helper()
		before, n := list(&p.x.Request.Header), p.vm.dropped.Load()
		p.add(0, name, value)
		p.replace(0, name, value)
		section(before)
		if p.vm.dropped.Load() != n+2 {
			t.Errorf("%q: not counted", name)
		}
	}
	bad("", "x")
	bad("a b", "x")
	bad("a:", "x")
	bad("ä", "x")
	bad("a\r\nb", "x")
	bad("x-a", "one\r\nx-b: two")
	bad("x-a", "one\x00")
	bad("x-a", "\x7f")
	bad("Connection", "close")
	bad("transfer-encoding", "chunked")
	bad("TE", "trailers")
	bad("upgrade", "h2c")
	bad("keep-alive", "x")
	bad("trailer", "x")
	bad("expect", "100-continue")
	bad("proxy-authorization", "x")
	bad(":protocol", "x")
	bad(":status", "200")
	p.replace(0, "x-ok", "é obs-text\t.") // RFC 9110 §5.5

	p.requestTrailers()
	p.add(1, "x-sum", "1")
	p.add(1, "content-type", "x")
	p.add(1, "authorization", "x")
	p.add(1, ":path", "/x")
	p.add(1, "host", "x")
	p.want("trailers", list(&p.x.Request.Trailer), "x-sum: 1")

	p.answer(200, 0)
	p.replace(2, "Server", "weir")
	p.replace(2, "host", "x")
	p.want("answer", list(&p.x.Response.Header), "Server: weir")
	p.responseTrailers()
	p.add(3, "grpc-status", "0")
	p.want("trailers", list(&p.x.Response.Trailer), "grpc-status: 0")
}

func TestPseudoFields(t *testing.T) {
	f := func(name, value, want string) {
		t.Helper()
		p := newProbe(t)
		p.replace(0, name, value)
		r := &p.x.Request
		v, _ := p.get(0, ":scheme")
		have := string(r.Method) + " " + string(r.Target) + " " + string(r.Path) + " " + string(r.Query) + " " + string(r.Host) + " " + v
		taken := want != ""
		if !taken {
			want = "GET /path?x=1 /path x=1 example.com http"
		}
		p.want(name+" "+value, have, want)
		if p.st.rerouted != taken || (p.vm.dropped.Load() == 0) != taken {
			t.Errorf("%s %q: rerouted %v, dropped %d", name, value, p.st.rerouted, p.vm.dropped.Load())
		}
	}
	f(":path", "/other", "GET /other /other  example.com http")
	f(":path", "/a/../%62?q=%zz", "GET /b?q=%zz /b q=%zz example.com http")
	f(":path", "//two", "GET //two //two  example.com http")
	f(":path", "", "")
	f(":path", "other", "")
	f(":path", "http://example.org/", "")
	f(":path", "*", "")
	f(":path", "/a b", "")
	f(":path", "/a#b", "")
	f(":path", "/a\r\nHost: x", "")
	f(":path", "/%00", "")
	f(":path", "/%252e%252e/", "")
	f(":path", "/\\", "")
	f(":path", "/"+strings.Repeat("a", maxTarget), "")
	f(":method", "DELETE", "DELETE /path?x=1 /path x=1 example.com http")
	f(":method", "M-SEARCH", "M-SEARCH /path?x=1 /path x=1 example.com http")
	f(":method", "CONNECT", "")
	f(":method", "TRACE", "")
	f(":method", "", "")
	f(":method", "GET /", "")
	f(":method", strings.Repeat("A", 33), "")
	f(":authority", "example.org:8080", "GET /path?x=1 /path x=1 example.org:8080 http")
	f("Host", "[::1]", "GET /path?x=1 /path x=1 [::1] http")
	f(":authority", "", "")
	f(":authority", "a b", "")
	f(":authority", "user@host", "")
	f(":authority", "a\r\nb", "")
	f(":scheme", "https", "GET /path?x=1 /path x=1 example.com https")
	f(":scheme", "a b", "")
	f(":other", "x", "")

	p := newProbe(t)
	p.replace(0, ":path", "/path?x=1")
	p.replace(0, "x-one", "first")
	if p.remove(0, "host"); !p.st.rerouted {
		t.Error("of two fields one is left: a change")
	}
	p.remove(0, ":path")
	p.want("pseudo fields stay", p.list(0), ":authority=example.com|:path=/path?x=1|:method=GET|:scheme=http|accept=*/*|x-one=first")
	p.st.rerouted = false
	p.replace(0, ":method", "GET")
	p.replace(0, "x-one", "first")
	p.remove(0, "x-none")
	if p.st.rerouted {
		t.Error("nothing has changed")
	}
	p.call("proxy_clear_route_cache")
	if !p.st.rerouted {
		t.Error("proxy_clear_route_cache")
	}
	p.replace(0, ":method", "OPTIONS")
	p.replace(0, ":path", "*")
	p.want("asterisk form", string(p.x.Request.Target)+string(p.x.Request.Path), "**")
}

func TestStatus(t *testing.T) {
	f := func(value string, want int) {
		t.Helper()
		p := newProbe(t)
		p.answer(200, 0)
		p.x.Response.Reason = []byte("Fine")
		p.replace(2, ":status", value)
		if have := p.x.Response.Status; have != want || (len(p.x.Response.Reason) == 0) != (want != 200) {
			t.Errorf("%q: %d %q", value, have, p.x.Response.Reason)
		}
		if p.st.rerouted {
			t.Error("an answer finds no route")
		}
	}
	f("404", 404)
	f("599", 599)
	f("204", 204)
	f("100", 200)
	f("101", 200)
	f("199", 200)
	f("600", 200)
	f("0404", 200)
	f("", 200)
	f("x", 200)
	f("-1", 200)

	p := newProbe(t)
	p.answer(101, 0)
	p.replace(2, ":status", "200")
	p.want("an answer that hands the connection over", p.list(2), ":status=101|upgrade=websocket")
}

func TestCaps(t *testing.T) {
	p := newProbe(t)
	for range 300 {
		p.add(0, "x-many", "x")
	}
	if n := p.x.Request.Header.Len(); n != maxFields {
		t.Errorf("%d fields", n)
	}
	p = newProbe(t)
	large := strings.Repeat("x", 60<<10)
	for range 8 {
		p.add(0, "x-large", large)
	}
	if n := p.x.Request.Header.CountID(exchange.Other) - 2; n != 4 {
		t.Errorf("%d large fields", n)
	}
	if p.st.request.written > maxWritten {
		t.Error("more than may be written")
	}
	p.replace(0, ":path", "/"+strings.Repeat("x", 8<<10-1))
	p.replace(0, ":path", "/"+strings.Repeat("y", 8<<10-1))
	if p.x.Request.Target[1] == 'y' {
		t.Error("targets count")
	}
}

// TestAllocatorSeesNothing: what the host is in the midst of reading cannot be changed by the guest's allocator.
func TestAllocatorSeesNothing(t *testing.T) {
	p := newProbe(t)
	p.sh.granting = true
	p.add(0, "x-new", "x")
	p.sh.granting = false
	if p.vm.dropped.Load() != 1 || p.x.Request.Header.Len() != 3 {
		t.Error("a field came in")
	}
	p.sh.granting = true
	defer func() { p.sh.granting = false }()
	if _, st := p.get(0, "accept"); st != statusNotFound {
		t.Error(st)
	}
}

// TestPointers: what lies outside of the guest's memory is a status, not a trap.
func TestPointers(t *testing.T) {
	p := newProbe(t)
	const far = 1<<32 - 1
	f := func(want status, name string, args ...uint64) {
		t.Helper()
		if st := p.call(name, args...); st != want {
			t.Errorf("%s%v: %d, want %d", name, args, st, want)
		}
	}
	at, n := p.text("accept")
	f(statusInvalidMemory, "proxy_get_header_map_size", 0, far)
	f(statusInvalidMemory, "proxy_get_header_map_pairs", 0, far, probeOut)
	f(statusInvalidMemory, "proxy_get_header_map_pairs", 0, probeOut, far)
	f(statusInvalidMemory, "proxy_set_header_map_pairs", 0, far, 1)
	f(statusInvalidMemory, "proxy_set_header_map_pairs", 0, 1, far)
	f(statusInvalidMemory, "proxy_get_header_map_value", 0, far, n, probeOut, probeOut)
	f(statusInvalidMemory, "proxy_get_header_map_value", 0, at, n, far, probeOut)
	f(statusInvalidMemory, "proxy_get_header_map_value", 0, at, n, probeOut, far-2)
	f(statusInvalidMemory, "proxy_add_header_map_value", 0, at, far, at, n)
	f(statusInvalidMemory, "proxy_replace_header_map_value", 0, at, n, far, far)
	f(statusInvalidMemory, "proxy_remove_header_map_value", 0, far, far)
	f(statusOK, "proxy_replace_header_map_value", 0, at, n, far, 0)
	p.want("a length of 0 needs no pointer", list(&p.x.Request.Header), "Accept: , X-One: first, x-one: second")

	none := newProbeOf(t, probeCode(mark021, asmZero))
	if _, st := none.get(0, "accept"); st != statusInvalidMemory {
		t.Error("an allocator that gives nothing:", st)
	}
}
