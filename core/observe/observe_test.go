package observe

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirproxy/weir/core/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sample is an exchange that is over, with every fact that the access log tells.
func sample() *exchange.Exchange {
	x := exchange.Acquire()
	x.NewRequestID()
	q := &x.Request
	q.Method, q.Host = []byte("POST"), []byte("api.example.com:8443")
	q.Path, q.Query = []byte("/v1/chat"), []byte("page=2&access_token=s3cr3t&x=1")
	q.Target = []byte("/v1/chat?page=2&access_token=s3cr3t&x=1")
	q.Version = exchange.HTTP11
	q.Header.Add([]byte("User-Agent"), []byte(`curl/8.0 "quoted"`))
	q.Header.Add([]byte("Authorization"), []byte("Bearer s3cr3t"))
	q.Header.Add([]byte("Cookie"), []byte("session=s3cr3t"))
	x.Response.Status = 200
	x.Client.Peer = netip.MustParseAddrPort("[::ffff:10.0.0.1]:1234")
	x.Client.IP = netip.MustParseAddr("203.0.113.9")
	x.Identity = &exchange.Identity{Subject: "alice"}
	ms := int64(time.Millisecond)
	x.Record = exchange.Record{
		Start: 5 * ms, UpstreamStart: 6 * ms, FirstByte: 8*ms + 34_000, End: 17*ms + 5_999, BytesIn: 10, BytesOut: 20,
		Route: "chat", Upstream: "api", Endpoint: "10.0.0.1:9000", Tries: 1,
	}
	return x
}

func MustWriter(t testing.TB, o WriterOptions) *Writer {
	t.Helper()
	w, err := OpenWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(5 * time.Second) })
	return w
}

func MustAccess(t testing.TB, o AccessLogOptions) *AccessLog {
	t.Helper()
	a, err := OpenAccessLog(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(5 * time.Second) })
	return a
}
