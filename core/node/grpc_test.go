package node_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/fault"
)

// bytesCodec passes messages on as they are.
type bytesCodec struct{}

func (bytesCodec) Name() string                  { return "raw" }
func (bytesCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (bytesCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data)
	return nil
}

// talker is a gRPC service, and what has become of its calls.
type talker struct {
	waiting, cancelled atomic.Int64 // of Wait
	deadlines          atomic.Int64 // calls of Wait that had one
}

const bothWays = "/test.Talk/"

func (k *talker) one(ctx context.Context, m []byte) ([]byte, error) {
	if err := grpc.SetHeader(ctx, metadata.Pairs("x-head", "1", "x-raw-bin", "\x00\xff")); err != nil {
		return nil, err
	}
	if err := grpc.SetTrailer(ctx, metadata.Pairs("x-count", fmt.Sprint(len(m)), "x-tail-bin", "\x01\xfe")); err != nil {
		return nil, err
	}
	if code, ok := bytes.CutPrefix(m, []byte("fail ")); ok {
		var c codes.Code
		_, _ = fmt.Sscan(string(code), (*uint32)(&c))
		return nil, status.Error(c, "it was asked for: 50 % ü")
	}
	return m, nil
}

// wait is over when its caller is gone.
func (k *talker) wait(ctx context.Context) error {
	if _, ok := ctx.Deadline(); ok {
		k.deadlines.Add(1)
	}
	k.waiting.Add(1)
	defer k.waiting.Add(-1)
	<-ctx.Done()
	k.cancelled.Add(1)
	return ctx.Err()
}

func (k *talker) service() *grpc.ServiceDesc {
	unary := func(f func(ctx context.Context, m []byte) ([]byte, error)) grpc.MethodHandler {
		return func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var m []byte
			if err := dec(&m); err != nil {
				return nil, err
			}
			out, err := f(ctx, m)
			if err != nil {
				return nil, err
			}
			return &out, nil
		}
	}
	return &grpc.ServiceDesc{
		ServiceName: "test.Talk", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "One", Handler: unary(k.one)},
			{MethodName: "Wait", Handler: unary(func(ctx context.Context, m []byte) ([]byte, error) { return m, k.wait(ctx) })},
		},
		Streams: []grpc.StreamDesc{
			{StreamName: "Down", ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error { // each byte a message
				var m []byte
				if err := s.RecvMsg(&m); err != nil {
					return err
				}
				for i := range m {
					b := m[i : i+1]
					if err := s.SendMsg(&b); err != nil {
						return err
					}
				}
				return nil
			}},
			{StreamName: "Up", ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
				var all []byte
				for {
					var m []byte
					if err := s.RecvMsg(&m); err == io.EOF {
						return s.SendMsg(&all)
					} else if err != nil {
						return err
					}
					all = append(all, m...)
				}
			}},
			{StreamName: "Both", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
				for {
					var m []byte
					if err := s.RecvMsg(&m); err == io.EOF {
						return nil
					} else if err != nil {
						return err
					}
					if string(m) == "enough" { // an end before the client's
						return status.Error(codes.OutOfRange, "enough")
					}
					if err := s.SendMsg(&m); err != nil {
						return err
					}
				}
			}},
			{StreamName: "Hold", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
				m := []byte("here")
				if err := s.SendMsg(&m); err != nil {
					return err
				}
				return k.wait(s.Context())
			}},
		},
	}
}

func (k *talker) start(t testing.TB) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.ForceServerCodec(bytesCodec{}), grpc.MaxConcurrentStreams(250))
	s.RegisterService(k.service(), nil)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return ln.Addr().String()
}

// startTalk starts a gRPC service, a node before it that speaks HTTP/2 on both sides, and a client.
func startTalk(t *testing.T, yaml string, secure bool) (*talker, *coretest.Rig, *grpc.ClientConn) {
	t.Helper()
	k := &talker{}
	r, _ := start2(t, yaml, secure, nil, coretest.Options{Env: map[string]string{"UPSTREAM": k.start(t)}, Files: map[string]string{}})
	creds := insecure.NewCredentials()
	if secure {
		creds = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	c, err := grpc.NewClient("passthrough:///"+r.Address, grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(grpc.ForceCodec(bytesCodec{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return k, r, c
}

// talking is the configuration of a node before a gRPC service.
var talking = with("protocol: h2")

func one(ctx context.Context, c *grpc.ClientConn, method string, m string, o ...grpc.CallOption) (string, error) {
	in, out := []byte(m), []byte(nil)
	err := c.Invoke(ctx, bothWays+method, &in, &out, o...)
	return string(out), err
}

func talk(t *testing.T, ctx context.Context, c *grpc.ClientConn, name string) grpc.ClientStream {
	t.Helper()
	s, err := c.NewStream(ctx, &grpc.StreamDesc{StreamName: name, ServerStreams: true, ClientStreams: true}, bothWays+name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func say(s grpc.ClientStream, m string) error {
	b := []byte(m)
	return s.SendMsg(&b)
}

func receive(s grpc.ClientStream) (string, error) {
	var b []byte
	err := s.RecvMsg(&b)
	return string(b), err
}

// pingPong sends a message only when the one before has come back: neither direction waits for the other's end.
func pingPong(t *testing.T, s grpc.ClientStream, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := say(s, m); err != nil {
			t.Fatal(err)
		}
		if got, err := receive(s); got != m || err != nil {
			t.Fatalf("%d bytes, %v; want %d", len(got), err, len(m))
		}
	}
}

func TestGRPC(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		_, r, c := startTalk(t, talking, secure)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		mebi := strings.Repeat("0123456789abcdef", 1<<16)
		for _, m := range []string{"", "hello", mebi} {
			var head, tail metadata.MD
			got, err := one(ctx, c, "One", m, grpc.Header(&head), grpc.Trailer(&tail))
			if err != nil || got != m {
				t.Fatalf("%d bytes, %v; want %d", len(got), err, len(m))
			}
			if fmt.Sprint(head["x-head"], head["x-raw-bin"], tail["x-count"], tail["x-tail-bin"]) != fmt.Sprintf("[1] [\x00\xff] [%d] [\x01\xfe]", len(m)) {
				t.Errorf("%v %v", head, tail)
			}
		}
		// Every status comes as it is, with what it says; none is a failure of the endpoint's.
		for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
			_, err := one(ctx, c, "One", fmt.Sprint("fail ", int(code)))
			if s := status.Convert(err); s.Code() != code || s.Message() != "it was asked for: 50 % ü" {
				t.Errorf("%d: %v", code, err)
			}
		}
		if _, err := one(ctx, c, "Nothing", ""); status.Code(err) != codes.Unimplemented { // trailers only
			t.Error(err)
		}
		// A stream from the server, and one from the client.
		s := talk(t, ctx, c, "Down")
		_ = say(s, "abcdefgh")
		_ = s.CloseSend()
		down := ""
		for {
			m, err := receive(s)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			down += m
		}
		s = talk(t, ctx, c, "Up")
		for range 10 {
			_ = say(s, mebi[:100_000])
		}
		_ = s.CloseSend()
		up, err := receive(s)
		if down != "abcdefgh" || up != strings.Repeat(mebi[:100_000], 10) || err != nil {
			t.Errorf("%q, %d bytes, %v", down, len(up), err)
		}
		// Both ways at once.
		s = talk(t, ctx, c, "Both")
		for range 200 {
			pingPong(t, s, "ping", "")
		}
		pingPong(t, s, mebi, "pong")
		_ = s.CloseSend()
		if _, err := receive(s); err != io.EOF {
			t.Error(err)
		}
		// The server ends first. Nothing else on the connection is the worse for it.
		other := talk(t, ctx, c, "Both")
		pingPong(t, other, "a")
		for range 20 {
			s = talk(t, ctx, c, "Both")
			pingPong(t, s, "b")
			_ = say(s, "enough")
			if _, err := receive(s); status.Code(err) != codes.OutOfRange || status.Convert(err).Message() != "enough" {
				t.Error(err)
			}
		}
		pingPong(t, other, "c")
		_ = other.CloseSend()
		if _, err := receive(other); err != io.EOF {
			t.Error(err)
		}
		if _, failures, opened := r.Node.Plan().Upstreams[0].Endpoints()[0].Stats(); failures != 0 || opened != 1 {
			t.Errorf("%d failures, %d connections", failures, opened)
		}
		coretest.Eventually(t, "nothing in flight", func() bool { return r.Node.Plan().Upstreams[0].InFlight() == 0 })
		if log := grep(r.Access.String(), `"fault":"`); strings.Count(log, "\n") != 0 {
			t.Errorf("faults were recorded:\n%s", log)
		}
	})
}

func TestGRPCManyStreams(t *testing.T) {
	_, r, c := startTalk(t, talking, false)
	var wg sync.WaitGroup
	for i := range 80 {
		wg.Go(func() {
			s := talk(t, t.Context(), c, "Both")
			for j := range 20 {
				m := strings.Repeat(fmt.Sprint(i, " "), 1+j*100)
				if err := say(s, m); err != nil {
					t.Error(err)
					return
				}
				if got, err := receive(s); got != m || err != nil {
					t.Errorf("%d bytes, %v; want %d", len(got), err, len(m))
					return
				}
			}
			_ = s.CloseSend()
			if _, err := receive(s); err != io.EOF {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, failures, opened := r.Node.Plan().Upstreams[0].Endpoints()[0].Stats(); failures != 0 || opened > 2 {
		t.Errorf("%d failures, %d connections", failures, opened)
	}
}

// TestGRPCCancel: a caller that gives up, or whose time is over, ends the upstream's work within a second.
func TestGRPCCancel(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		k, r, c := startTalk(t, talking, secure)
		gone := func(n int64, since time.Time) {
			t.Helper()
			coretest.Eventually(t, "the upstream hears of it", func() bool { return k.cancelled.Load() == n && k.waiting.Load() == 0 })
			if took := time.Since(since); took > time.Second {
				t.Errorf("it took %s", took)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { _, err := one(ctx, c, "Wait", "x"); ended <- err }()
		coretest.Eventually(t, "the call", func() bool { return k.waiting.Load() == 1 })
		cancel()
		gone(1, time.Now())
		if err := <-ended; status.Code(err) != codes.Canceled {
			t.Error(err)
		}
		// In the middle of a stream.
		ctx, cancel = context.WithCancel(t.Context())
		s := talk(t, ctx, c, "Hold")
		if m, err := receive(s); m != "here" || err != nil {
			t.Fatal(m, err)
		}
		_ = say(s, "more")
		cancel()
		gone(2, time.Now())
		if _, failures, opened := r.Node.Plan().Upstreams[0].Endpoints()[0].Stats(); failures != 0 || opened != 1 {
			t.Errorf("%d failures, %d connections", failures, opened)
		}
		// The deadline is told to the upstream, and kept. Who finds first that it is over, ends the stream: if that is the
		// upstream, which resets it, then it was too slow for its caller.
		ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := one(ctx, c, "Wait", "x"); status.Code(err) != codes.DeadlineExceeded && status.Code(err) != codes.Unavailable {
			t.Error(err)
		}
		gone(3, time.Now())
		if k.deadlines.Load() != 1 {
			t.Errorf("%d calls had a deadline", k.deadlines.Load())
		}
		wantRecord(t, r, fault.ClientGone, `"path":"/test.Talk/Hold"`)
		if got, err := one(t.Context(), c, "One", "x"); got != "x" || err != nil { // the connections live on
			t.Error(got, err)
		}
		if _, _, opened := r.Node.Plan().Upstreams[0].Endpoints()[0].Stats(); opened != 1 {
			t.Errorf("%d connections", opened)
		}
		// A client whose connection ends.
		s = talk(t, t.Context(), c, "Hold")
		_, _ = receive(s)
		c.Close()
		gone(4, time.Now())
	})
}

// TestGRPCAcrossReloads: a stream goes on over reloads, of a configuration that changes and one that takes its upstream away.
func TestGRPCAcrossReloads(t *testing.T) {
	_, r, c := startTalk(t, talking, false)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s := talk(t, ctx, c, "Both")
	pingPong(t, s, "a")
	listening := strings.Replace(talking, `"127.0.0.1:0"`, `"127.0.0.1:0", h2c: true`, 1)
	for i, yaml := range []string{
		strings.Replace(listening, "upstreams:", "timeouts: {drain: 20s}\nupstreams:", 1),
		strings.Replace(listening, "protocol: h2", "protocol: h2, max_in_flight: 5", 1),
		strings.Replace(listening, "protocol: h2", "protocol: h2, timeouts: {idle: 50s}", 1), // another endpoint by meaning
	} {
		mustReload(t, r, yaml)
		pingPong(t, s, fmt.Sprint("after reload ", i))
		if got, err := one(ctx, c, "One", "x"); got != "x" || err != nil {
			t.Error(got, err)
		}
	}
	_ = s.CloseSend()
	if _, err := receive(s); err != io.EOF {
		t.Error(err)
	}
}

// TestGRPCRefusals: what a gRPC client makes of weir's own answers is its own mapping from HTTP (gRPC's
// http-grpc-status-mapping.md).
func TestGRPCRefusals(t *testing.T) {
	yaml := strings.Replace(talking, "routes:", `routes:
  - {name: limited, match: {path: /test.Talk/Limited}, auth: none, upstream: api, limits: [{name: one, key: route, rate: 1/d}]}
  - {name: inside, match: {path: /test.Talk/Inside}, auth: none, upstream: api, ip: {allow: [10.0.0.0/8]}}
  - {name: dead, match: {path: /test.Talk/Dead}, auth: none, upstream: dead}
  - {name: small, match: {path: /test.Talk/Small}, auth: none, upstream: api, body_bytes: 10B}
  - {name: slow, match: {path: /test.Talk/Wait}, auth: none, upstream: api, timeout: 200ms}
  - {name: full, match: {path: /test.Talk/Hold}, auth: none, upstream: full}`, 1)
	yaml = strings.Replace(yaml, "upstreams: {", `upstreams: {dead: {endpoints: ["http://127.0.0.1:1"], protocol: h2}, `+
		`full: {endpoints: ["http://${UPSTREAM}"], protocol: h2, max_in_flight: 1}, `, 1)
	yaml = strings.Replace(yaml, "path: /*", "path: /test.Talk/One", 1)
	k, _, c := startTalk(t, yaml, false)
	f := func(method, m string, want codes.Code) {
		t.Helper()
		if _, err := one(t.Context(), c, method, m); status.Code(err) != want {
			t.Errorf("%s: %v, want %s", method, err, want)
		}
	}
	f("Limited", "x", codes.Unimplemented) // by the service, which has no such method
	f("Limited", "x", codes.Unavailable)   // 429
	f("Inside", "x", codes.PermissionDenied)
	f("Dead", "x", codes.Unavailable)
	f("Nowhere", "x", codes.Unimplemented) // 404
	f("Small", "more than that", codes.Unknown)
	f("Wait", "x", codes.Unavailable) // 504
	ctx, cancel := context.WithCancel(t.Context())
	s := talk(t, ctx, c, "Hold")
	if m, err := receive(s); m != "here" || err != nil {
		t.Fatal(m, err)
	}
	if _, err := receive(talk(t, t.Context(), c, "Hold")); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
	cancel()
	coretest.Eventually(t, "the place is free again", func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		m, _ := receive(talk(t, ctx, c, "Hold"))
		return m == "here"
	})
	coretest.Eventually(t, "nobody waits", func() bool { return k.waiting.Load() == 0 })
	f("One", "x", codes.OK)
}
