package upstream_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/upstream"
)

// rawCodec passes messages on as they are.
type rawCodec struct{}

func (rawCodec) Name() string                  { return "raw" }
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// echoService answers a message with itself, a stream with its messages one by one, and "fail" with an error.
var echoService = grpc.ServiceDesc{
	ServiceName: "test.Echo", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "One", Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var m []byte
		if err := dec(&m); err != nil {
			return nil, err
		}
		if md, _ := metadata.FromIncomingContext(ctx); len(md.Get("te")) > 0 {
			return nil, errors.New("te is for the transport")
		}
		if string(m) == "fail" {
			return nil, status.Error(codes.NotFound, "no such thing")
		}
		return &m, grpc.SetTrailer(ctx, metadata.Pairs("x-count", "1"))
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Many", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		for {
			var m []byte
			if err := s.RecvMsg(&m); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if err := s.SendMsg(&m); err != nil {
				return err
			}
		}
	}}},
}

func startGRPC(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.ForceServerCodec(rawCodec{}))
	s.RegisterService(&echoService, nil)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return ln.Addr().String()
}

// grpcMessage frames a gRPC message: a byte without flags, and its length.
func grpcMessage(m string) string {
	b := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m)))
	return string(b) + m
}

func TestGRPC(t *testing.T) {
	u := open(t, upstream.Options{Transport: overH2, Retry: all(1)}, startGRPC(t))
	call := func(method string, body io.Reader) answer {
		return ask(u, request{method: "POST", target: "/test.Echo/" + method, stream: body, trailers: true,
			fields: []string{"content-type", "application/grpc"}})
	}
	large := strings.Repeat("0123456789", 30_000)
	for _, m := range []string{"", "hello", large} {
		a := call("One", strings.NewReader(grpcMessage(m)))
		if a.err != nil || a.status != 200 || a.body != grpcMessage(m) || !strings.Contains(a.trailer, "grpc-status: 0\n") || !strings.Contains(a.trailer, "x-count: 1\n") {
			t.Error(a)
		}
	}
	// An error without a message is all head, or all trailers.
	a := call("One", strings.NewReader(grpcMessage("fail")))
	if all := a.header + a.trailer; a.err != nil || a.body != "" || !strings.Contains(all, "grpc-status: 5\n") || !strings.Contains(all, "grpc-message: no such thing\n") {
		t.Error(a)
	}
	// A message is answered while the stream goes on.
	pulled, feed := io.Pipe()
	ended := make(chan answer)
	back := &tee{}
	go func() {
		ended <- ask(u, request{method: "POST", target: "/test.Echo/Many", stream: pulled, trailers: true,
			fields: []string{"content-type", "application/grpc"}, seen: back.see})
	}()
	for _, m := range []string{"a", "bb", large, "ccc"} {
		_, _ = io.WriteString(feed, grpcMessage(m))
		back.wait(t, grpcMessage(m))
	}
	feed.Close()
	if a := <-ended; a.err != nil || !strings.Contains(a.trailer, "grpc-status: 0\n") {
		t.Error(a)
	}
	// A client that goes in the middle takes its stream with it, and nothing else.
	pulled, feed = io.Pipe()
	go func() { _, _ = io.WriteString(feed, grpcMessage("a")) }()
	feed.CloseWithError(fault.New(fault.ClientGone, ""))
	if a := call("Many", pulled); a.kind() != fault.ClientGone {
		t.Error(a)
	}
	if a := call("One", strings.NewReader(grpcMessage("x"))); a.body != grpcMessage("x") {
		t.Error(a)
	}
	if _, failures, opened := u.Endpoints()[0].Stats(); failures != 0 || opened != 1 {
		t.Errorf("%d failures, %d connections", failures, opened)
	}
}
