package node_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/weirproxy/weir/core/coretest"
)

// rawCodec passes messages on as they are.
type rawCodec struct{}

func (rawCodec) Name() string                  { return "raw" }
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// echoService answers a message with itself, "fail" with an error, and a stream message by message.
var echoService = grpc.ServiceDesc{
	ServiceName: "test.Echo", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "One", Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var m []byte
		if err := dec(&m); err != nil {
			return nil, err
		}
		if string(m) == "fail" {
			return nil, status.Error(codes.NotFound, "no such thing")
		}
		return &m, nil
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

// TestGRPC has a client and a server of grpc-go talk through weir: a call, one that fails by its trailers, and a stream that
// both sides write to by turns.
func TestGRPC(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.ForceServerCodec(rawCodec{}))
	s.RegisterService(&echoService, struct{}{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	defer func() {
		s.Stop()
		<-served
	}()
	r := coretest.Start(t, `version: 1
listeners: [{address: "127.0.0.1:0", h2c: true}]
upstreams: {api: {endpoints: ["http://${UPSTREAM}"], protocol: h2}}
routes: [{match: {path: /test.Echo/*}, auth: none, upstream: api}]
`, nil, coretest.Options{Env: map[string]string{"UPSTREAM": ln.Addr().String()}})
	c, err := grpc.NewClient(r.Address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	f := func(message string, code codes.Code) {
		t.Helper()
		in, out := []byte(message), []byte(nil)
		if err := c.Invoke(ctx, "/test.Echo/One", &in, &out); status.Code(err) != code || err == nil && string(out) != message {
			t.Errorf("%.20s: %v, %d bytes", message, err, len(out))
		}
	}
	f("hello", codes.OK)
	f(strings.Repeat("x", 1<<20), codes.OK)
	f("fail", codes.NotFound)
	if err := c.Invoke(ctx, "/other/One", &[]byte{}, &[]byte{}); status.Code(err) != codes.Unimplemented { // a 404 of ours
		t.Error(err)
	}
	stream, err := c.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Echo/Many")
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		m, got := []byte("message"), []byte(nil)
		if err := stream.SendMsg(&m); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&got); err != nil || string(got) != "message" {
			t.Fatalf("%q %v", got, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
	if err := stream.RecvMsg(&[]byte{}); err != io.EOF {
		t.Error(err)
	}
}
