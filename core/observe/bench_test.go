package observe

import (
	"io"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/weirproxy/weir/core/exchange"
)

func BenchmarkRouteRecord(b *testing.B) {
	l := NewMetrics(Build{}).Lease()
	r := l.Route("chat")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		x := sample()
		defer exchange.Release(x)
		for pb.Next() {
			r.Record(x)
		}
	})
}

func BenchmarkAccessRecord(b *testing.B) {
	a := MustAccess(b, AccessLogOptions{WriterOptions: WriterOptions{To: io.Discard}})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		x := sample()
		defer exchange.Release(x)
		for pb.Next() {
			a.Record(x)
		}
	})
	b.ReportMetric(float64(a.Writer().Dropped())/float64(b.N), "dropped/op")
}

// BenchmarkWrite is the part of it that is not formatting.
func BenchmarkWrite(b *testing.B) {
	w := MustWriter(b, WriterOptions{To: io.Discard})
	line := make([]byte, 500)
	line[499] = '\n'
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			w.Write(line)
		}
	})
	b.ReportMetric(float64(w.Dropped())/float64(b.N), "dropped/op")
}

func BenchmarkTime(b *testing.B) {
	var buf [64]byte
	now := time.Now()
	b.Run("own", func(b *testing.B) {
		for b.Loop() {
			appendUTC(buf[:0], now)
		}
	})
	b.Run("format", func(b *testing.B) {
		for b.Loop() {
			now.UTC().AppendFormat(buf[:0], timeLayout)
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	r := newRedactor(nil)
	q := []byte("page=2&sort=name&access_token=abcdef&limit=50")
	var buf [256]byte
	for b.Loop() {
		r.appendQuery(buf[:0], q)
	}
}

// BenchmarkLine is why the access log's line is not zerolog's. Nothing is written: the reader is stopped and the buffer full.
func BenchmarkLine(b *testing.B) {
	stopped := newStoppedWriter()
	a := MustAccess(b, AccessLogOptions{WriterOptions: WriterOptions{To: stopped, Buffer: 8192}})
	b.Cleanup(stopped.resume)
	x := sample()
	defer exchange.Release(x)
	b.Run("query", func(b *testing.B) {
		for b.Loop() {
			a.Record(x)
		}
	})
	x.Request.Query = nil
	b.Run("own", func(b *testing.B) {
		for b.Loop() {
			a.Record(x)
		}
	})
	log := zerolog.New(a.Writer())
	b.Run("zerolog", func(b *testing.B) {
		for b.Loop() {
			zerologLine(&log, x)
		}
	})
}

func zerologLine(log *zerolog.Logger, x *exchange.Exchange) {
	var num [64]byte
	q, rec := &x.Request, &x.Record
	millis := func(nano int64) []byte { return line(num[:0]).millis("", nano) }
	e := log.Log()
	e.Bytes("timestamp", appendTime(num[:0])).Bytes("request_id", x.RequestID)
	e.Bytes("client_ip", x.Client.IP.AppendTo(num[:0])).Bytes("peer", x.Client.Peer.AppendTo(num[:0]))
	e.Str("user_id", x.Identity.Subject).Bytes("method", q.Method).Bytes("host", q.Host).Bytes("path", q.Path)
	e.Str("protocol", protocol(q.Version)).Int("status_code", status(x))
	e.RawJSON("latency_ms", millis(rec.End-rec.Start)).RawJSON("upstream_ms", millis(rec.FirstByte-rec.UpstreamStart))
	e.RawJSON("ttfb_ms", millis(rec.FirstByte-rec.Start)).Int64("bytes_in", rec.BytesIn).Int64("bytes_out", rec.BytesOut)
	e.Str("route", rec.Route).Str("upstream", rec.Upstream).Str("endpoint", rec.Endpoint).Int("tries", rec.Tries)
	e.Bytes("user_agent", q.Header.GetID(exchange.UserAgent)).Send()
}
