package node_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/fault"
)

// pattern gives n bytes of which no block is like another, and hashes them.
type pattern struct {
	n     int64
	sum   hash.Hash
	block [32 << 10]byte
}

func (p *pattern) Read(b []byte) (int, error) {
	if p.n == 0 {
		return 0, io.EOF
	}
	binary.LittleEndian.PutUint64(p.block[:], uint64(p.n))
	b = b[:min(int64(len(b)), p.n, int64(len(p.block)))]
	copy(b, p.block[:])
	p.sum.Write(b)
	p.n -= int64(len(b))
	return len(b), nil
}

func TestLargeBothWays(t *testing.T) {
	const size = 64 << 20
	r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		if err != nil || n != size {
			t.Errorf("upstream read %d: %v", n, err)
		}
		p := &pattern{n: size, sum: sha256.New()}
		w.Header().Set("X-Sum", hex.EncodeToString(sum.Sum(nil)))
		w.Header().Set("Trailer", "X-Own")
		_, _ = io.Copy(w, struct{ io.Reader }{p})
		w.Header().Set("X-Own", hex.EncodeToString(p.sum.Sum(nil)))
	}), coretest.Options{})
	for _, length := range []int64{size, -1} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		up := &pattern{n: size, sum: sha256.New()}
		req, _ := http.NewRequest("POST", r.URL, struct{ io.Reader }{up})
		req.ContentLength = length
		req.Header.Set("TE", "trailers")
		answer, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		down := sha256.New()
		if n, err := io.Copy(down, answer.Body); err != nil || n != size {
			t.Fatalf("client read %d: %v", n, err)
		}
		answer.Body.Close()
		runtime.ReadMemStats(&after)
		if got, want := answer.Header.Get("X-Sum"), hex.EncodeToString(up.sum.Sum(nil)); got != want {
			t.Errorf("upload: %s, want %s", got, want)
		}
		if got, want := answer.Trailer.Get("X-Own"), hex.EncodeToString(down.Sum(nil)); got != want {
			t.Errorf("download: %s, want %s", got, want)
		}
		if grown := int64(after.TotalAlloc - before.TotalAlloc); grown > 16<<20 {
			t.Errorf("%d MiB allocated for 128 MiB passed on", grown>>20)
		}
	}
}

// Bodies that are streamed, too, leave both connections usable.
func TestUploadsKeepConnections(t *testing.T) {
	r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}), coretest.Options{})
	c := r.Client()
	const n = 500
	for _, size := range []int{20 << 10, 200 << 10} {
		request := fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
		for i := range n {
			c.Send(request)
			if answer, body := c.Answer("POST"); body != fmt.Sprint(size) || answer.Close {
				t.Fatalf("%d: %q close %t", i, body, answer.Close)
			}
		}
	}
	if _, _, opened := r.Node.Plan().Upstreams[0].Endpoints()[0].Stats(); opened != 1 {
		t.Errorf("%d connections to the upstream", opened)
	}
}

func TestEarlyAnswer(t *testing.T) {
	r := through(t, plain, func(u *coretest.Client) {
		u.Head()
		u.Send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno\n")
		_, _ = u.Rest()
	})
	for _, framing := range []string{"Content-Length: 100000000", "Transfer-Encoding: chunked"} {
		c := r.Client()
		c.Send("POST / HTTP/1.1\r\nHost: a\r\n" + framing + "\r\n\r\n")
		if strings.HasPrefix(framing, "T") {
			c.Send("1\r\na\r\n")
		}
		answer, body := c.Answer("POST") // while the rest of the body has not been sent
		if answer.StatusCode != 413 || body != "no\n" || !answer.Close {
			t.Fatalf("%d %q close %t", answer.StatusCode, body, answer.Close)
		}
		if rest, err := c.Rest(); rest != "" || err != nil {
			t.Errorf("%q %v", rest, err)
		}
	}
}

// TestUpstreamThatStopsReading must not be waited for without end, by as long as the client stays.
func TestUpstreamThatStopsReading(t *testing.T) {
	yaml := strings.Replace(logged, `["http://${UPSTREAM}"]`, `["http://${UPSTREAM}"], timeouts: {response_header: 150ms, idle: 150ms}`, 1)
	hold := make(chan struct{})
	r := through(t, yaml, func(u *coretest.Client) {
		u.Head()
		<-hold
	})
	defer close(hold)
	c := r.Client()
	go c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" + strings.Repeat("x", 99_000_000))
	answer, body := c.Answer("POST")
	wantError(t, r, answer, body, fault.UpstreamTimeout)
}

// What is wrong with the rest of a body is said, also when the upstream has been heard of already: an interim answer is none.
func TestBadBodyAfterAnInterimAnswer(t *testing.T) {
	for _, interim := range []string{"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"} {
		r := through(t, strings.Replace(logged, "auth: none", "auth: none, body_bytes: 5B", 1), func(u *coretest.Client) {
			u.Head()
			u.Send(interim)
			_, _ = u.Rest()
		})
		for bad, kind := range map[string]fault.Kind{"6\r\nhello!\r\n": fault.BodyTooLarge, "zz\r\n": fault.BadRequest} {
			c := r.Client()
			c.Send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
			if strings.Contains(interim, "103") {
				if hint := c.Head(); hint != interim {
					t.Fatalf("%q", hint)
				}
			} else {
				coretest.Eventually(t, "the upstream is asked", func() bool { return r.Node.Plan().Upstreams[0].InFlight() == 1 })
			}
			c.Send(bad)
			answer, body := c.Answer("POST")
			wantError(t, r, answer, body, kind)
		}
	}
}
