package proxyabi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/wasm/asm"
)

const (
	answerEmpty = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	missed      = `1 [0 0 0] head "" body "" tail "" status 11 "reset"`
)

// TestCall: a request goes out as the guest wrote it, and the whole answer comes back.
func TestCall(t *testing.T) {
	c := newCaller(t)
	var asked coretest.Buffer
	c.within(callYAML, raw(t, func(u *coretest.Client, head string) bool {
		fmt.Fprint(&asked, head)
		u.Send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nX-One: 1\r\nx-one: 2\r\nContent-Length: 5\r\n\r\nhello")
		return true
	}), "")
	id := c.must(callRequest{to: "a", head: []string{
		":method", "PUT", ":path", "/p?q=1", ":authority", "example.com:8080", ":scheme", "https", "X-A", "1", "x-a", "2", "accept", "*/*",
	}})
	n := c.answered(0, id)
	c.want("answer", n.String(), `1 [4 5 0] head ":status=201|x-one=1|x-one=2|content-length=5" body "hello" tail "" status 0 ""`)
	c.want("request", asked.String(), "PUT /p?q=1 HTTP/1.1\r\nHost: example.com:8080\r\nX-A: 1\r\nx-a: 2\r\naccept: */*\r\nContent-Length: 0\r\n\r\n")
	c.over()
	if c.count() != 1 {
		t.Errorf("told %d times", c.count())
	}
	if c.call("proxy_get_status", 600, 604, 608) != statusOK {
		t.Error("no status outside of a callback")
	}
}

// TestCallFields: what frames a message or is none is not the guest's to write.
func TestCallFields(t *testing.T) {
	c := newCaller(t)
	var asked coretest.Buffer
	c.within(callYAML, raw(t, func(u *coretest.Client, head string) bool {
		fmt.Fprint(&asked, head)
		u.Send(answerEmpty)
		return true
	}), "")
	head := []string{":method", "GET", ":path", "/", ":authority", "x", "host", "evil", ":odd", "x"}
	for _, f := range []string{
		"content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect", "proxy-connection", "",
		"bad name", "bad\r\nname", "bad:name", "ü",
	} {
		head = append(head, f, "1")
	}
	for _, v := range []string{"a\r\nb: c", "a\nb", "a\x00b", "a\x7fb"} {
		head = append(head, "x-bad", v)
	}
	c.answered(0, c.must(callRequest{to: "a", head: append(head, "x-good", " \tspaced ", "x-none", "")}))
	c.want("request", asked.String(), "GET / HTTP/1.1\r\nHost: x\r\nx-good: spaced\r\nx-none: \r\n\r\n")
}

// TestCallBodies: bodies and trailers, both ways.
func TestCallBodies(t *testing.T) {
	c := newCaller(t)
	var asked coretest.Buffer
	c.within(callYAML, raw(t, func(u *coretest.Client, head string) bool {
		body := ""
		switch {
		case strings.Contains(head, "Content-Length: 4\r\n"):
			b := make([]byte, 4)
			_, _ = u.In.Read(b)
			body = string(b)
		case strings.Contains(head, "Transfer-Encoding: chunked\r\n"):
			body = u.Head()
		}
		fmt.Fprintf(&asked, "%s|", body)
		if strings.HasPrefix(head, "HEAD") {
			u.Send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
			return true
		}
		u.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-End: 1\r\n\r\n")
		return true
	}), "")
	post := []string{":method", "POST", ":path", "/", ":authority", "x", "te", "trailers"}
	const whole = `1 [2 5 1] head ":status=200|content-length=5" body "abcde" tail "x-end=1" status 0 ""`
	c.want("length", c.answered(0, c.must(callRequest{to: "a", head: post, body: "four"})).String(), whole)
	c.want("chunked", c.answered(1, c.must(callRequest{to: "a", head: post, body: "hello",
		trailer: []string{"x-t", "1", "content-length", "3", "authorization", "x", "x-bad", "a\nb"}})).String(), whole)
	c.want("bodies", asked.String(), "four|5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n|")
	head := c.answered(2, c.must(callRequest{to: "a", head: []string{":method", "HEAD", ":path", "/", ":authority", "x"}}))
	if head.args[1] != 0 || !strings.HasPrefix(head.head, ":status=200") {
		t.Error(head)
	}
}

// TestCallRefused: what is no call, with the statuses that the Rust SDK bears, and a line for the operator.
func TestCallRefused(t *testing.T) {
	c := newCaller(t)
	c.within(callYAML, raw(t, func(u *coretest.Client, head string) bool { t.Errorf("asked %q", head); return false }), "")
	f := func(r callRequest, want status, line string) {
		t.Helper()
		c.p.reach.told.Store(0)
		before := said(c.log, line)
		if _, st := c.send(r); st != want {
			t.Errorf("%v: %d, want %d", r.head, st, want)
		}
		if said(c.log, line) != before+1 {
			t.Errorf("the log does not say %q:\n%s", line, c.log)
		}
	}
	f(callRequest{to: "other"}, statusBadArgument, `list it under calls`) // it is there, and not listed
	f(callRequest{to: ""}, statusBadArgument, `list it under calls`)
	f(callRequest{to: "A"}, statusBadArgument, `list it under calls`) // names are exact
	f(callRequest{to: "gone"}, statusBadArgument, `write it under upstreams`)
	for i := range 3 { // each of the three pseudo fields is needed
		h := append(append([]string(nil), plainHead[:2*i]...), plainHead[2*i+2:]...)
		f(callRequest{to: "a", head: h}, statusBadArgument, "no request")
	}
	for _, h := range [][]string{
		{":method", "CONNECT"}, {":method", "GE T"}, {":method", ""}, {":method", "G\r\n"},
		{":path", ""}, {":path", "x"}, {":path", "/ "}, {":path", "/\r\nx"}, {":path", "/#"}, {":path", "http://x/"}, {":path", "/" + strings.Repeat("x", maxTarget)},
		{":authority", ""}, {":authority", "a b"}, {":authority", "a@b"}, {":authority", "x:99999"}, {":authority", "x\r\nY: z"},
	} {
		f(callRequest{to: "a", head: append(append([]string(nil), plainHead...), h...)}, statusBadArgument, "no request")
	}
	f(callRequest{to: "a", body: strings.Repeat("x", c.vm.room()+1)}, statusInternalFailure, "too large")

	args := func(i int, v uint64) []uint64 {
		a := append(c.texts("a", probeMap(plainHead...), "", ""), 0, outID)
		a[i] = v
		return a
	}
	for _, i := range []int{0, 2, 9} {
		if st := c.call("proxy_http_call", args(i, 0xfffffff0)...); st != statusInvalidMemory {
			t.Errorf("pointer %d: %d", i, st)
		}
	}
	for _, i := range []int{1, 3} {
		if st := c.call("proxy_http_call", args(i, 0xffffffff)...); st != statusInvalidMemory {
			t.Errorf("length %d: %d", i, st)
		}
	}
	if st := c.call("proxy_http_call", args(3, 7)...); st != statusBadArgument { // a torn map
		t.Error(st)
	}
	// The log is not flooded by a guest that asks again and again.
	before := said(c.log, "\n")
	for range 100 {
		c.send(callRequest{to: "other"})
	}
	if n := said(c.log, "\n") - before; n > 1 {
		t.Errorf("%d lines", n)
	}
	if n := c.vm.errands.Load(); n != 0 || c.count() != 0 {
		t.Errorf("%d calls under way, %d told", n, c.count())
	}
}

// TestCallFallback: what stands in for an upstream answers calls, too.
func TestCallFallback(t *testing.T) {
	c := newCaller(t)
	c.within(strings.Replace(callYAML, `a: {endpoints: ["http://${A}"]}`,
		`a: {endpoints: ["http://${A}"], breaker: {consecutive_failures: 1, open_for: 1h, fallback: {respond: {status: 299, headers: {x-from: here}, body: stand-in}}}}`, 1),
		closedPort(t), "")
	c.want("first", c.answered(0, c.must(callRequest{to: "a"})).head, ":status=503|content-type=text/plain|content-length=14")
	c.want("then", c.answered(1, c.must(callRequest{to: "a"})).String(),
		`1 [3 8 0] head ":status=299|x-from=here|content-length=8" body "stand-in" tail "" status 0 ""`)
}

// TestCallCanary: what a filter calls while it is tried goes nowhere, and it is not refused for that.
func TestCallCanary(t *testing.T) {
	p := callerProgram()
	asks := p.call("proxy_http_call", p.text("a"), p.text(probeMap(plainHead...)), p.text(""), p.text(""), num(0), num(outID))
	trap := asm.If(asm.None, asm.Unreachable)
	p.on("proxy_on_configure", asks, trap, num(1)) // as Rust's unwrap
	p.on("proxy_on_request_headers", asks, trap, num(0))
	var asked gate
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.in.Add(1) }))
	defer upstream.Close()
	c := newCallerOf(t, p)
	if n := c.vm.errands.Load(); n != 2 { // of the instance, and the one to spare
		t.Errorf("%d calls are made before there is a plan", n)
	}
	// What was asked before the plugin was in any plan is asked then.
	c.within(callYAML, upstream.Listener.Addr().String(), "")
	if n := c.told(0); !strings.HasPrefix(n.head, ":status=200") {
		t.Error(n)
	}
	c.over()
	if n := asked.in.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

// TestCallStart: while the guest's own start functions run nothing can be asked.
func TestCallStart(t *testing.T) {
	p := callerProgram()
	asks := p.call("proxy_http_call", p.text("a"), p.text(probeMap(plainHead...)), p.text(""), p.text(""), num(0), num(outID))
	// It must be answered 10, and nothing else.
	p.m.Export("_initialize", 0, p.m.Func(nil, nil, nil, asks, num(int32(statusInternalFailure)), asm.Op(0x47), asm.If(asm.None, asm.Unreachable)))
	c := newCallerOf(t, p)
	if n := c.vm.errands.Load(); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// call is host without dropping the status.
func (p *program) call(name string, args ...[]byte) []byte {
	return asm.Cat(asm.Cat(args...), asm.Call(p.at[name]))
}

// TestCallChain: a call made in the callback of another, which fails at once, is told of later and not within.
func TestCallChain(t *testing.T) {
	p := newProgram()
	asks := p.host("proxy_http_call", p.text("a"), p.text(probeMap(plainHead...)), p.text(""), p.text(""), num(0), num(outID))
	// It counts, traps if it is within itself already, and asks again up to a hundred times.
	const inside, times = 600, 604
	set := func(at int32, v []byte) []byte { return asm.Cat(num(at), v, store32) }
	p.on("proxy_on_http_call_response",
		load32(inside), asm.If(asm.None, asm.Unreachable), set(inside, num(1)),
		set(times, asm.Cat(load32(times), num(1), asm.Add32)),
		load32(times), num(100), asm.LtU32, asm.If(asm.None, asks), set(inside, num(0)))
	p.on("proxy_on_tick", asks)
	p.on("proxy_on_configure", p.host("proxy_set_tick_period_milliseconds", num(5)), num(1))
	vm, pl := open(t, p, Options{CPU: 2 * time.Second}, PluginOptions{Calls: []string{"a"}})
	c := &caller{t: t, p: pl, vm: vm}
	c.within(callYAML, closedPort(t), "")
	sh := vm.shards[0].Load()
	coretest.Eventually(t, "a hundred answers", func() bool {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		if sh.dead != nil {
			t.Fatal(sh.dead)
		}
		n, _ := sh.in.Memory().Uint32(times)
		return n >= 100
	})
}

// TestCallPace: what no request makes is paced; what was not used is saved up for a burst.
func TestCallPace(t *testing.T) {
	var l errands
	now := int64(time.Hour)
	for i := range callBurst {
		if w := l.pace(now); w != 0 {
			t.Fatalf("call %d waits %d", i, w)
		}
	}
	for i := range int64(100) {
		if w := l.pace(now); w != (i+1)*int64(callEvery) {
			t.Fatalf("call %d waits %d", i, w)
		}
	}
	now += int64(time.Hour)
	if w := l.pace(now); w != 0 {
		t.Error(w)
	}
	// Messages: half of the time is the guest's.
	l = errands{}
	if w := l.rest(now, int64(restLeast)-1); w != 0 {
		t.Error(w)
	}
	if w := l.rest(now, 1); w != int64(restLeast) {
		t.Error(w)
	}
	if w := l.rest(now+int64(restLeast), int64(time.Second)); w != int64(time.Second) {
		t.Error(w)
	}
}
