package proxyabi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	rpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weirproxy/weir/core/coretest"
)

// plainCodec passes messages on as they are.
type plainCodec struct{}

func (plainCodec) Name() string                  { return "raw" }
func (plainCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (plainCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data)
	return nil
}

// talker is a gRPC service.
type talker struct {
	waiting, cancelled, deadlines, sent atomic.Int64
	seen                                coretest.Buffer // metadata of its calls
}

func (k *talker) wait(ctx context.Context) error {
	if _, ok := ctx.Deadline(); ok {
		k.deadlines.Add(1)
	}
	k.waiting.Add(1)
	<-ctx.Done()
	k.cancelled.Add(1)
	return ctx.Err()
}

func (k *talker) one(ctx context.Context, m []byte) ([]byte, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	fmt.Fprintf(&k.seen, "%s %s %s;", md.Get(":authority"), md.Get("x-one"), md.Get("x-two"))
	_ = grpc.SetHeader(ctx, metadata.Pairs("x-head", "1"))
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-tail", "2"))
	switch string(m) {
	case "fail":
		return nil, rpcstatus.Error(codes.NotFound, "no such thing")
	case "wait":
		return nil, k.wait(ctx)
	case "large":
		return make([]byte, callRoom+1), nil
	}
	return m, nil
}

func (k *talker) service() *grpc.ServiceDesc {
	stream := func(name string, f func(s grpc.ServerStream) error) grpc.StreamDesc {
		return grpc.StreamDesc{StreamName: name, ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error { return f(s) }}
	}
	return &grpc.ServiceDesc{
		ServiceName: "test.Talk", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "One", Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var m []byte
			if err := dec(&m); err != nil {
				return nil, err
			}
			out, err := k.one(ctx, m)
			return &out, err
		}}},
		Streams: []grpc.StreamDesc{
			stream("Both", func(s grpc.ServerStream) error {
				_ = s.SendHeader(metadata.Pairs("x-head", "1"))
				s.SetTrailer(metadata.Pairs("x-tail", "2"))
				for {
					var m []byte
					if err := s.RecvMsg(&m); err == io.EOF {
						return nil
					} else if err != nil {
						return err
					}
					if string(m) == "enough" {
						return rpcstatus.Error(codes.OutOfRange, "enough")
					}
					if err := s.SendMsg(&m); err != nil {
						return err
					}
				}
			}),
			stream("Hold", func(s grpc.ServerStream) error {
				m := []byte("here")
				if err := s.SendMsg(&m); err != nil {
					return err
				}
				return k.wait(s.Context())
			}),
			stream("Pour", func(s grpc.ServerStream) error { // as fast as it is taken
				m := make([]byte, 16<<10)
				for s.Context().Err() == nil {
					if err := s.SendMsg(&m); err != nil {
						return err
					}
					k.sent.Add(1)
				}
				return nil
			}),
		},
	}
}

func startTalker(t testing.TB) (k *talker, address string) {
	t.Helper()
	k = &talker{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.ForceServerCodec(plainCodec{}), grpc.MaxConcurrentStreams(1000))
	s.RegisterService(k.service(), nil)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return k, ln.Addr().String()
}

// rpc makes a unary call.
func (c *caller) rpc(to, method, msg string, timeout time.Duration, meta ...string) (id uint32, st status) {
	c.t.Helper()
	return c.rpcOf(to, "test.Talk", method, msg, timeout, meta...)
}

func (c *caller) rpcOf(to, service, method, msg string, timeout time.Duration, meta ...string) (id uint32, st status) {
	c.t.Helper()
	c.sh.mu.Lock()
	defer c.sh.mu.Unlock()
	args := append(c.texts(to, service, method, probeMap(meta...), msg), uint64(timeout/time.Millisecond), outID)
	st = c.callLocked("proxy_grpc_call", args...)
	id, _ = c.sh.in.Memory().Uint32(outID)
	return id, st
}

// stream opens a stream to upstream b.
func (c *caller) stream(method string) uint32 {
	c.t.Helper()
	c.sh.mu.Lock()
	defer c.sh.mu.Unlock()
	args := append(c.texts("b", "test.Talk", method, probeMap("x-one", "1")), outID)
	if st := c.callLocked("proxy_grpc_stream", args...); st != statusOK {
		c.t.Fatalf("stream: %d\n%s", st, c.log)
	}
	id, _ := c.sh.in.Memory().Uint32(outID)
	return id
}

func (c *caller) sendRPC(id uint32, msg string, end bool) status {
	c.t.Helper()
	c.sh.mu.Lock()
	defer c.sh.mu.Unlock()
	last := uint64(0)
	if end {
		last = 1
	}
	m := c.texts(msg)
	return c.callLocked("proxy_grpc_send", uint64(id), m[0], m[1], last)
}

// heard checks note i of a gRPC call.
func (c *caller) heard(i int, id uint32, want string) {
	c.t.Helper()
	n := c.told(i)
	if n.id != id {
		c.t.Errorf("note %d is of %d, want %d", i, n.id, id)
	}
	n.head = strings.ReplaceAll(n.head, "content-type=application/grpc|", "")
	c.want(fmt.Sprintf("note %d", i), n.String(), want)
}

// TestGRPC: a message and its answer, or how it failed; never both.
func TestGRPC(t *testing.T) {
	c := newCaller(t)
	k, address := startTalker(t)
	c.within(callYAML, closedPort(t), address)
	i := 0
	f := func(want string, to, msg string, timeout time.Duration) {
		t.Helper()
		id, st := c.rpc(to, "One", msg, timeout, "x-one", "1", "X-Bad", "a\nb", "grpc-timeout", "1n", "content-type", "x", ":path", "/x", "te", "x")
		if st != statusOK {
			t.Fatalf("not made: %d", st)
		}
		c.heard(i, id, want)
		i++
	}
	f(`3 [5 0 0] head "" body "hello" tail "" status 0 ""`, "b", "hello", 0)
	f(`3 [0 0 0] head "" body "" tail "" status 0 ""`, "b", "", time.Minute)
	f(`5 [5 0 0] head "" body "" tail "" status 5 "no such thing"`, "b", "fail", 0)
	late := func(to string, timeout time.Duration) {
		t.Helper()
		id, _ := c.rpc(to, "One", "wait", timeout)
		// The other side knows the time as well, and may be the first to say that it is over.
		if n := c.told(i); n.kind != noteClose || n.id != id || n.code != 4 || n.args[0] != 4 {
			t.Error(n)
		}
		i++
	}
	late("b", 100*time.Millisecond)
	f(`5 [8 0 0] head "" body "" tail "" status 8 "filter_limit"`, "b", "large", 0)
	coretest.Eventually(t, "the timed out call ends there", func() bool { return k.cancelled.Load() == 1 })
	if k.deadlines.Load() != 1 {
		t.Error("the deadline was not told")
	}
	big := strings.Repeat("0123456789", 30_000)
	id, _ := c.rpc("b", "One", big, 0)
	if n := c.told(i); n.id != id || n.args[0] != uint32(len(big)) {
		t.Error(n)
	}
	i++
	// By protobuf: upstream, authority, timeout, metadata.
	id, st := c.rpc(serviceMessage("b", "talk.example", time.Minute, "x-two", "2"), "One", "hi", 0, "x-one", "1")
	if st != statusOK {
		t.Fatal(st)
	}
	c.heard(i, id, `3 [2 0 0] head "" body "hi" tail "" status 0 ""`)
	i++
	if !strings.HasSuffix(k.seen.String(), `[talk.example] [1] [2];`) {
		t.Error(k.seen.String())
	}
	late(serviceMessage("b", "", 100*time.Millisecond), 0)
	id, _ = c.rpc("b", "None", "x", 0)
	c.heard(i, id, `5 [12 0 0] head "" body "" tail "" status 12 "unknown method None for service test.Talk"`)
	c.over()
	if c.count() != i+1 {
		t.Errorf("told %d times, want %d", c.count(), i+1)
	}
}

// serviceMessage is an envoy.config.core.v3.GrpcService.
func serviceMessage(cluster, authority string, timeout time.Duration, meta ...string) string {
	text := func(b []byte, n protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
	}
	number := func(b []byte, n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
	}
	envoy := text(text(nil, 1, cluster), 2, authority)
	envoy = number(envoy, 9, 1) // a field that nobody knows
	b := text(nil, 1, string(envoy))
	b = text(b, 3, string(number(number(nil, 1, uint64(timeout/time.Second)), 2, uint64(timeout%time.Second))))
	for i := 0; i+1 < len(meta); i += 2 {
		b = text(b, 5, string(text(text(nil, 1, meta[i]), 2, meta[i+1])))
	}
	return string(b)
}

func TestService(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		s, ok := parseService([]byte(in))
		got := fmt.Sprintf("%s %s %v %d %v", s.name, s.authority, s.timeout, len(s.metadata), ok)
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	f("", "  0s 0 true")
	f(serviceMessage("c", "", 0), "c  0s 0 true")
	f(serviceMessage("c", "a", 1500*time.Millisecond, "k", "v", "k", "w"), "c a 1.5s 2 true")
	f("outbound|80||x", "  0s 0 false") // a name, as it happens
	f(serviceMessage("c", "", 0)[:2], "  0s 0 false")
	f("\x0a\xff\xff\xff\xff\x0f", "  0s 0 false") // a length beyond the end
	f("\x1a\x02\x08\xff", "  0s 0 false")
	f("\x1a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "  8760h0m0s 0 true") // seconds below 0 are as good as for ever
}

func FuzzService(f *testing.F) {
	f.Add([]byte(serviceMessage("c", "a", 1500*time.Millisecond, "k", "v")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := parseService(b); ok && (s.timeout < 0 || len(s.metadata) > maxPairs) {
			t.Error(s)
		}
	})
}

// TestGRPCRefused: what is no call, with the statuses that the Rust SDK bears.
func TestGRPCRefused(t *testing.T) {
	c := newCaller(t)
	_, address := startTalker(t)
	c.within(callYAML, address, address)
	f := func(to, service, method, msg string, want status, line string) {
		t.Helper()
		c.p.reach.told.Store(0)
		if _, st := c.rpcOf(to, service, method, msg, 0); st != want {
			t.Errorf("%q %q %q: %d, want %d", to, service, method, st, want)
		}
		if line != "" && said(c.log, line) == 0 {
			t.Errorf("the log does not say %q:\n%s", line, c.log)
		}
	}
	f("a", "s", "m", "", statusParseFailure, "write protocol: h2 into it")
	f("other", "s", "m", "", statusParseFailure, "list it under calls")
	f("gone", "s", "m", "", statusParseFailure, "write it under upstreams")
	f(serviceMessage("other", "", 0), "s", "m", "", statusParseFailure, "")
	f("", "s", "m", "", statusParseFailure, "")
	f(serviceMessage("b", "talk.example\r\nx-role: admin", 0), "s", "m", "", statusParseFailure, "")
	f(serviceMessage("b", "talk.example/x@y", 0), "s", "m", "", statusParseFailure, "")
	for _, bad := range []string{"", "a/b", "a b", "a?b", "a\r\nb", "a#b", "%2f"} {
		f("b", bad, "m", "", statusParseFailure, "")
		f("b", "s", bad, "", statusParseFailure, "")
	}
	f("b", "s", "m", strings.Repeat("x", callRoom+1), statusInternalFailure, "too large")
	for _, name := range []string{"proxy_grpc_cancel", "proxy_grpc_close"} {
		for _, id := range []uint64{0, 4, 5, 6, 7, 0xffffffff} {
			if st := c.call(name, id); st != statusNotFound {
				t.Errorf("%s %d: %d", name, id, st)
			}
		}
	}
	for id, want := range map[uint32]status{0: statusBadArgument, 4: statusBadArgument, 5: statusBadArgument, 7: statusBadArgument, 6: statusNotFound} {
		if st := c.sendRPC(id, "x", false); st != want {
			t.Errorf("send to %d: %d, want %d", id, st, want)
		}
	}
	if held, n := c.vm.held.Load(), c.vm.errands.Load(); held != 0 || n != 0 || c.count() != 0 {
		t.Errorf("%d bytes, %d calls, %d told", held, n, c.count())
	}
}

// TestGRPCStream: messages both ways, metadata before and after.
func TestGRPCStream(t *testing.T) {
	c := newCaller(t)
	_, address := startTalker(t)
	c.within(callYAML, closedPort(t), address)
	id := c.stream("Both")
	c.heard(0, id, `2 [2 0 0] head "x-head=1" body "" tail "" status 0 ""`)
	for i, m := range []string{"one", "", strings.Repeat("three", 10_000)} {
		if st := c.sendRPC(id, m, false); st != statusOK {
			t.Fatal(st)
		}
		if n := c.told(1 + i); n.kind != noteReceive || n.id != id || n.body != m {
			t.Error(n)
		}
	}
	if st := c.call("proxy_grpc_close", uint64(id)); st != statusOK {
		t.Error(st)
	}
	if st := c.sendRPC(id, "late", false); st != statusBadArgument && st != statusNotFound {
		t.Error(st)
	}
	c.heard(4, id, `4 [3 0 0] head "" body "" tail "grpc-status=0|grpc-message=|x-tail=2" status 0 ""`)
	c.heard(5, id, `5 [0 0 0] head "" body "" tail "" status 0 ""`)
	c.over()
	if st := c.call("proxy_grpc_close", uint64(id)); st != statusNotFound {
		t.Error(st)
	}
	// The last message and the end in one; an end by the other side.
	id = c.stream("Both")
	if st := c.sendRPC(id, "last", true); st != statusOK {
		t.Fatal(st)
	}
	for i, kind := range []uint32{noteInitial, noteReceive, noteTrailing, noteClose} {
		if n := c.told(6 + i); n.kind != kind || n.id != id {
			t.Error(n)
		}
	}
	id = c.stream("Both")
	c.sendRPC(id, "enough", false)
	c.told(11)
	c.heard(12, id, `5 [11 0 0] head "" body "" tail "" status 11 "enough"`)
	c.over()
	if st := c.sendRPC(id, "x", false); st != statusNotFound {
		t.Error(st)
	}
	// All head: an unknown method.
	id = c.stream("None")
	c.heard(13, id, `2 [0 0 0] head "" body "" tail "" status 0 ""`)
	if n := c.told(14); n.kind != noteTrailing || !strings.Contains(n.tail, "grpc-status=12") {
		t.Error(n)
	}
	c.heard(15, id, `5 [12 0 0] head "" body "" tail "" status 12 "unknown method None for service test.Talk"`)
}

// TestGRPCCancel: the other side sees it, and the guest hears no more.
func TestGRPCCancel(t *testing.T) {
	c := newCaller(t)
	k, address := startTalker(t)
	c.within(callYAML, closedPort(t), address)
	id := c.stream("Hold")
	c.told(1)
	if st := c.call("proxy_grpc_cancel", uint64(id)); st != statusOK {
		t.Error(st)
	}
	for i, name := range []string{"proxy_grpc_cancel", "proxy_grpc_close"} {
		id, _ := c.rpc("b", "One", "wait", 0)
		coretest.Eventually(t, "it waits", func() bool { return int(k.waiting.Load()) == 2+i })
		if st := c.call(name, uint64(id)); st != statusOK {
			t.Error(st)
		}
	}
	coretest.Eventually(t, "all are cancelled", func() bool { return k.cancelled.Load() == 3 })
	c.over()
	if c.count() != 2 {
		t.Errorf("told %d times", c.count())
	}
	// It has cost no connection: others go on.
	_, _ = c.rpc("b", "One", "x", 0)
	c.told(2)
}

// TestGRPCEnds: streams end with their plan, which the guest is told, and with their plugin.
func TestGRPCEnds(t *testing.T) {
	c := newCaller(t)
	k, address := startTalker(t)
	r := c.within(callYAML, closedPort(t), address)
	id := c.stream("Hold")
	c.told(1)
	r.Node.Drain()
	c.heard(2, id, `5 [14 0 0] head "" body "" tail "" status 14 "draining"`)
	c.within(callYAML, closedPort(t), address)
	for range 20 {
		c.stream("Hold")
	}
	coretest.Eventually(t, "all wait", func() bool { return k.waiting.Load() == 21 })
	_ = c.p.Close()
	if n := c.vm.errands.Load(); n != 0 {
		t.Errorf("%d calls", n)
	}
	coretest.Eventually(t, "all are cancelled", func() bool { return k.cancelled.Load() == 21 })
}

// TestGRPCPressure: who does not take is not poured upon, who pours is refused.
func TestGRPCPressure(t *testing.T) {
	c := newCaller(t)
	k, address := startTalker(t)
	c.within(callYAML, closedPort(t), address)
	// The guest is busy: its shard is locked.
	c.stream("Pour")
	c.told(1)
	c.sh.mu.Lock()
	begin, before := k.sent.Load(), int64(0)
	for quiet := 0; quiet < 20; {
		n := k.sent.Load()
		if quiet++; n != before {
			before, quiet = n, 0
		}
		time.Sleep(5 * time.Millisecond) // until nothing has been sent for 100 ms
	}
	if bytes := (before - begin) * 16 << 10; bytes > 1<<20 {
		t.Errorf("%d bytes were sent to a guest that takes none", bytes)
	}
	c.sh.mu.Unlock()
	coretest.Eventually(t, "it pours again", func() bool { return k.sent.Load() > before+100 })
	// The other side takes nothing of this one.
	id := c.stream("Hold")
	m := strings.Repeat("x", 64<<10)
	sent := 0
	for ; sent < 1000; sent++ {
		if st := c.sendRPC(id, m, false); st == statusBadArgument {
			break
		} else if st != statusOK {
			t.Fatal(st)
		}
	}
	coretest.Eventually(t, "the network takes what it can, and no more", func() bool {
		for c.sendRPC(id, m, false) == statusOK {
			sent++
		}
		before := sent
		time.Sleep(20 * time.Millisecond)
		return c.sendRPC(id, m, false) == statusBadArgument && sent == before
	})
	if sent < 10 || sent > 200 {
		t.Errorf("%d messages of 64 KiB were taken", sent)
	}
	if held := c.vm.held.Load(); held > 3<<20 {
		t.Errorf("%d bytes are held", held)
	}
}

// TestGRPCHostile: answers that are none.
func TestGRPCHostile(t *testing.T) {
	c := newCaller(t)
	var handle atomic.Value
	address := h2Server(t, func(s *h2Stream) { handle.Load().(func(*h2Stream))(s) })
	c.within(callYAML, closedPort(t), address)
	i := 0
	f := func(what string, serve func(s *h2Stream), code uint32) {
		t.Helper()
		handle.Store(serve)
		id, st := c.rpc("b", "One", "x", 0)
		if st != statusOK {
			t.Fatal(st)
		}
		if n := c.told(i); n.kind != noteClose || n.id != id || n.code != code || n.args[0] != code {
			t.Errorf("%s: %v", what, n)
		}
		i++
	}
	head := []string{":status", "200", "content-type", "application/grpc"}
	f("HTTP 503", func(s *h2Stream) { s.head(true, ":status", "503") }, 14)
	f("HTTP 404 with a body", func(s *h2Stream) { s.head(false, ":status", "404"); s.data(true, "<html>") }, 12)
	f("HTTP 401", func(s *h2Stream) { s.head(true, ":status", "401") }, 16)
	f("HTTP 418", func(s *h2Stream) { s.head(true, ":status", "418") }, 2)
	f("HTTP 403 with a status", func(s *h2Stream) { s.head(true, ":status", "403", "grpc-status", "9") }, 9)
	f("no status", func(s *h2Stream) { s.head(false, head...); s.data(true, "\x00\x00\x00\x00\x01x") }, 2)
	f("no message", func(s *h2Stream) { s.head(false, head...); s.head(true, "grpc-status", "0") }, 13)
	f("an odd status", func(s *h2Stream) { s.head(false, head...); s.head(true, "grpc-status", "-1") }, 2)
	f("two messages", func(s *h2Stream) {
		s.head(false, head...)
		s.data(false, "\x00\x00\x00\x00\x01x\x00\x00\x00\x00\x01y")
		s.head(true, "grpc-status", "0")
	}, 13)
	f("compressed", func(s *h2Stream) {
		s.head(false, head...)
		s.data(false, "\x01\x00\x00\x00\x01x")
		s.head(true, "grpc-status", "0")
	}, 13)
	f("torn", func(s *h2Stream) {
		s.head(false, head...)
		s.data(false, "\x00\x00\x00\x00\x09x")
		s.head(true, "grpc-status", "0")
	}, 13)
	f("torn head", func(s *h2Stream) { s.head(false, head...); s.data(false, "\x00\x00"); s.head(true, "grpc-status", "0") }, 13)
	f("huge", func(s *h2Stream) { s.head(false, head...); s.data(false, "\x00\xff\xff\xff\xff") }, 8)
	f("reset", func(s *h2Stream) { s.reset() }, 14)
	f("reset in the middle", func(s *h2Stream) { s.head(false, head...); s.data(false, "\x00\x00\x00\x00\x09x"); s.reset() }, 14)
	f("no HTTP", func(s *h2Stream) { s.head(true, "x", "y") }, 13)
	c.over()
}

// TestGRPCCodes: what ends a call on the way, as a status of gRPC.
func TestGRPCCodes(t *testing.T) {
	if codeOf(errCallLate) != 4 || codeOf(errCallLeft) != 14 || codeOf(errors.New("x")) != 13 || codeOf(errRPCLarge) != 8 {
		t.Error("codes")
	}
}
