package h2

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weirproxy/weir/core/exchange"
)

// pinger sends one fixed request again and again, allocating nothing itself: the block refers to the table only.
type pinger struct {
	nc    net.Conn
	frame []byte
	buf   []byte
	id    uint32
}

func newPinger(t testing.TB, r *rig, fields ...string) *pinger {
	c := r.dial()
	c.WriteWindowUpdate(0, maxWindow-minWindow)
	_ = c.nc.SetDeadline(time.Time{})
	c.ask(1, true, fields...)
	c.answer(1)
	block := c.block(fields...)
	p := &pinger{nc: c.nc, id: 1, buf: make([]byte, 64<<10)}
	p.frame = []byte{0, 0, byte(len(block)), byte(http2.FrameHeaders), byte(http2.FlagHeadersEndHeaders | http2.FlagHeadersEndStream), 0, 0, 0, 0}
	p.frame = append(p.frame, block...)
	return p
}

func (p *pinger) run() {
	p.id += 2
	binary.BigEndian.PutUint32(p.frame[5:], p.id)
	_, _ = p.nc.Write(p.frame)
	p.until(p.id)
}

// until reads to the end of a stream.
func (p *pinger) until(id uint32) {
	n := 0
	for {
		m, err := p.nc.Read(p.buf[n:])
		if err != nil {
			return
		}
		n += m
		for n >= frameHead {
			length := (int(p.buf[0])<<16 | int(p.buf[1])<<8 | int(p.buf[2])) + frameHead
			if n < length {
				break
			}
			end := p.buf[4]&1 != 0 && (p.buf[3] == 0 || p.buf[3] == 1) && binary.BigEndian.Uint32(p.buf[5:]) == id
			n = copy(p.buf, p.buf[length:n])
			if end {
				return
			}
		}
	}
}

var answerBodyText = []byte("hello, world\n")

func answerSmall(x *exchange.Exchange, err error) {
	x.Response.Status, x.Response.Declared = 200, -1
	x.Response.Header.AddString("Content-Type", []byte("text/plain"))
	x.Response.Header.AddString("Server", []byte("upstream"))
	_ = x.Down.WriteHead(x, int64(len(answerBodyText)))
	_ = x.Down.WriteBody(answerBodyText, false)
	_ = x.Down.Finish(nil)
}

// TestRequestAllocations holds what a request costs the server's side in allocations. They are golang.org/x/net's: the frame
// of its Framer; and the start of a goroutine.
func TestRequestAllocations(t *testing.T) {
	if raceEnabled {
		t.Log("not measured: the race detector allocates")
		return
	}
	r := startServer(t, Settings{}, answerSmall)
	p := newPinger(t, r, get("user-agent", "test", "accept", "*/*")...)
	for range 1000 {
		p.run()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const n = 5000
	for range n {
		p.run()
	}
	runtime.ReadMemStats(&after)
	per := float64(after.Mallocs-before.Mallocs) / n
	t.Logf("%.2f allocations a request, %.0f bytes", per, float64(after.TotalAlloc-before.TotalAlloc)/n)
	if per > 4 {
		t.Errorf("%.2f allocations a request", per)
	}
}

func BenchmarkRequest(b *testing.B) {
	r := startServer(b, Settings{}, answerSmall)
	p := newPinger(b, r, get("user-agent", "test", "accept", "*/*")...)
	b.ReportAllocs()
	for b.Loop() {
		p.run()
	}
}

// BenchmarkRequests64 keeps 64 streams of one connection busy.
func BenchmarkRequests64(b *testing.B) {
	r := startServer(b, Settings{}, answerSmall)
	p := newPinger(b, r, get("user-agent", "test", "accept", "*/*")...)
	batch := make([]byte, 0, 64*len(p.frame))
	b.ReportAllocs()
	for n := 0; n < b.N; n += 64 {
		batch = batch[:0]
		for range 64 {
			p.id += 2
			binary.BigEndian.PutUint32(p.frame[5:], p.id)
			batch = append(batch, p.frame...)
		}
		_, _ = p.nc.Write(batch)
		p.ends(64)
	}
}

// ends reads the ends of n streams.
func (p *pinger) ends(left int) {
	n := 0
	for left > 0 {
		m, err := p.nc.Read(p.buf[n:])
		if err != nil {
			return
		}
		n += m
		at := 0
		for n-at >= frameHead {
			f := p.buf[at:n]
			length := (int(f[0])<<16 | int(f[1])<<8 | int(f[2])) + frameHead
			if len(f) < length {
				break
			}
			if f[4]&1 != 0 && f[3] <= 1 {
				left--
			}
			at += length
		}
		n = copy(p.buf, p.buf[at:n])
	}
}

func BenchmarkDownload(b *testing.B) {
	body := make([]byte, 1<<20)
	r := startServer(b, Settings{}, func(x *exchange.Exchange, err error) {
		x.Response.Status = 200
		_ = x.Down.WriteHead(x, int64(len(body)))
		_ = x.Down.WriteBody(body, true)
		_ = x.Down.Finish(nil)
	})
	c := r.client()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		answer, err := c.Get(r.url("/"))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
}
