package upstream_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/upstream"
)

// h2c is an upstream of HTTP/2 by prior knowledge.
type h2c struct {
	*httptest.Server
	conns atomic.Int64
}

// startH2C serves until the test ends; streams is the most on one connection, 0 what is usual.
func startH2C(t testing.TB, streams int, h http.HandlerFunc) *h2c {
	t.Helper()
	u := &h2c{Server: httptest.NewUnstartedServer(h)}
	u.Config.Protocols = &http.Protocols{}
	u.Config.Protocols.SetUnencryptedHTTP2(true)
	u.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: streams}
	u.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			u.conns.Add(1)
		}
	}
	u.Start()
	t.Cleanup(u.Close)
	return u
}

func (u *h2c) address() string { return u.Listener.Addr().String() }

var overH2 = upstream.Transport{Protocol: upstream.HTTP2}

func TestH2Exchanges(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hints" {
			w.Header().Set("Link", "</a>")
			w.WriteHeader(103)
			w.WriteHeader(103)
			w.Header().Del("Link")
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("%s: %v", r.URL, err)
		}
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Seen", strings.Join([]string{r.Proto, r.Method, r.Host, r.URL.String(), r.Header.Get("Te"), "."}, " "))
		w.WriteHeader(200)
		_, _ = w.Write(append([]byte("."), b...))
		w.Header().Set("X-Sum", strconv.Itoa(len(b)))
	}
	plain := startH2C(t, 0, handler)
	secure := httptest.NewUnstartedServer(http.HandlerFunc(handler))
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	for name, u := range map[string]*upstream.Upstream{
		"plain": open(t, upstream.Options{Transport: overH2}, plain.address()),
		"TLS": open(t, upstream.Options{Transport: overH2, Endpoints: []upstream.EndpointOptions{{
			Address: secure.Listener.Addr().String(), Host: "api.test", TLS: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}},
		}}}),
	} {
		f := func(r request, seen, body string) {
			t.Helper()
			a := ask(u, r)
			if a.err != nil || a.status != 200 || a.body != "."+body || !strings.Contains(a.header, "X-Seen: "+seen+" .\n") && !strings.Contains(a.header, "x-seen: "+seen+" .\n") ||
				!strings.EqualFold(a.trailer, "X-Sum: "+strconv.Itoa(len(body))+"\n") {
				t.Errorf("%s: %v", name, a)
			}
		}
		large := strings.Repeat("0123456789abcdef", 20_000)
		f(request{target: "/a?b=c"}, "HTTP/2.0 GET api.test /a?b=c ", "")
		f(request{trailers: true}, "HTTP/2.0 GET api.test / trailers", "")
		f(request{method: "POST", body: "hello"}, "HTTP/2.0 POST api.test / ", "hello")
		f(request{method: "POST", body: large}, "HTTP/2.0 POST api.test / ", large)
		f(request{method: "PUT", stream: strings.NewReader(large)}, "HTTP/2.0 PUT api.test / ", large)
		d := &down{}
		f(request{target: "/hints", down: d}, "HTTP/2.0 GET api.test /hints ", "")
		if len(d.informed) != 2 || !strings.EqualFold(d.informed[0], "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n") {
			t.Errorf("%s: informed %q", name, d.informed)
		}
		if _, failures, opened := u.Endpoints()[0].Stats(); opened != 1 || failures != 0 {
			t.Errorf("%s: %d connections, %d failures", name, opened, failures)
		}
	}
}

// A peer that does not choose h2 can't be connected to, and the error says why.
func TestH2IsNotSpoken(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	u := open(t, upstream.Options{Transport: overH2, Endpoints: []upstream.EndpointOptions{{
		Address: s.Listener.Addr().String(), TLS: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}},
	}}})
	if a := ask(u, request{}); a.kind() != fault.ConnectFailed || !strings.Contains(a.err.Error(), "does not speak HTTP/2") {
		t.Errorf("%v", a.err)
	}
	// Nor does who was to know beforehand: its answer is no frame.
	h1 := coretest.StartRaw(t, func(u *coretest.Client) {
		u.Head()
		u.Send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
	})
	u = open(t, upstream.Options{Transport: overH2}, h1.Address())
	if a := ask(u, request{}); !a.kind().Punish() {
		t.Errorf("%v", a.err)
	}
}

// Requests share connections, and another is made when the peer takes no more.
func TestH2Connections(t *testing.T) {
	const streams, n = 4, 10
	var wg sync.WaitGroup
	in := make(chan string, n)
	release := make(chan struct{})
	s := startH2C(t, streams, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			in <- r.RemoteAddr
			<-release
		}
	})
	u := open(t, upstream.Options{Transport: overH2}, s.address())
	ask(u, request{}) // SETTINGS have come then
	for range n {
		wg.Go(func() {
			if a := ask(u, request{target: "/hold"}); a.status != 200 {
				t.Errorf("%v", a)
			}
		})
	}
	per := map[string]int{}
	for range n {
		per[<-in]++
	}
	for address, k := range per {
		if k > streams {
			t.Errorf("%d streams on %s", k, address)
		}
	}
	if s.conns.Load() != (n+streams-1)/streams {
		t.Errorf("%d connections: %v", s.conns.Load(), per)
	}
	close(release)
	wg.Wait()
	for range 100 {
		ask(u, request{})
	}
	if s.conns.Load() != (n+streams-1)/streams {
		t.Errorf("%d connections after all", s.conns.Load())
	}
}

// A connection carries as many requests as it should, and then another does, without an error.
func TestH2ConnectionsAreRenewed(t *testing.T) {
	s := startH2C(t, 0, func(w http.ResponseWriter, r *http.Request) {})
	u := open(t, upstream.Options{Transport: upstream.Transport{Protocol: upstream.HTTP2, MaxRequests: 10}}, s.address())
	for i := range 100 {
		if a := ask(u, request{}); a.status != 200 || a.tries != 1 {
			t.Fatalf("%d: %v", i, a)
		}
	}
	if got := s.conns.Load(); got != 10 {
		t.Errorf("%d connections", got)
	}
}

// The end of one exchange resets one stream: the others on the connection live on, and the endpoint learns of it.
func TestH2CancelAndEarlyAnswer(t *testing.T) {
	gone := make(chan struct{}, 1)
	began := make(chan struct{}, 1)
	s := startH2C(t, 0, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			began <- struct{}{}
			<-r.Context().Done()
			gone <- struct{}{}
		case "/early":
			w.WriteHeader(413)
			_, _ = io.WriteString(w, "no")
		case "/slow":
			_ = http.NewResponseController(w).Flush()
			<-gone
			_, _ = io.WriteString(w, "done")
		}
	})
	u := open(t, upstream.Options{Transport: overH2}, s.address())
	ask(u, request{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if a := ask(u, request{target: "/slow"}); a.body != "done" || a.err != nil {
			t.Errorf("the other stream: %v", a)
		}
	})
	var h exchange.Handle
	hung := make(chan answer, 1)
	handed := make(chan struct{})
	go func() {
		hung <- ask(u, request{target: "/hang", cancel: func(x exchange.Handle) { h = x; close(handed) }})
	}()
	<-handed
	<-began
	h.Cancel(fault.New(fault.ClientGone, ""))
	if a := <-hung; a.kind() != fault.ClientGone {
		t.Errorf("%v", a)
	}
	wg.Wait()
	// The answer comes while the client would send for ever.
	pulled, feed := io.Pipe()
	a := ask(u, request{method: "POST", target: "/early", stream: pulled, link: linkFunc(func() { pulled.CloseWithError(fault.New(fault.ClientGone, "")) })})
	feed.Close()
	if a.status != 413 || a.body != "no" || a.err != nil {
		t.Errorf("early: %v", a)
	}
	if a := ask(u, request{}); a.status != 200 || s.conns.Load() != 1 {
		t.Errorf("%v on %d connections", a, s.conns.Load())
	}
	if _, failures, _ := u.Endpoints()[0].Stats(); failures != 0 {
		t.Errorf("%d failures", failures)
	}
}

// framed is an upstream of HTTP/2 in frames: serve is called for every request, when it is whole, with its path and body.
func startFramed(t testing.TB, serve func(f *http2.Framer, nc net.Conn, id uint32, path, body string) (goOn bool)) *coretest.Raw {
	return coretest.StartRaw(t, func(u *coretest.Client) {
		if _, err := io.CopyN(io.Discard, u.In, int64(len(http2.ClientPreface))); err != nil {
			return
		}
		f := http2.NewFramer(u.Conn, u.In)
		f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		_ = f.WriteSettings()
		paths, bodies := map[uint32]string{}, map[uint32]string{}
		for {
			fr, err := f.ReadFrame()
			if err != nil {
				return
			}
			ended := false
			switch fr := fr.(type) {
			case *http2.SettingsFrame:
				if !fr.IsAck() {
					_ = f.WriteSettingsAck()
				}
			case *http2.MetaHeadersFrame:
				if paths[fr.StreamID] == "" {
					paths[fr.StreamID] = fr.PseudoValue("path")
				} else {
					for _, h := range fr.Fields { // trailers
						bodies[fr.StreamID] += h.Name + "=" + h.Value
					}
				}
				ended = fr.StreamEnded()
			case *http2.DataFrame:
				bodies[fr.StreamID] += string(fr.Data())
				if n := len(fr.Data()); n > 0 {
					_ = f.WriteWindowUpdate(0, uint32(n))
				}
				ended = fr.StreamEnded()
			}
			id := fr.Header().StreamID
			if ended && !serve(f, u.Conn, id, paths[id], bodies[id]) {
				return
			}
		}
	})
}

func fine(f *http2.Framer, id uint32, body string) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	_ = e.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true})
	for len(body) > 16<<10 {
		_ = f.WriteData(id, false, []byte(body[:16<<10]))
		body = body[16<<10:]
	}
	_ = f.WriteData(id, true, []byte(body))
}

// What the peer says it has not acted on is sent again, also a POST, with its whole body; what it may have acted on is not.
func TestH2Unprocessed(t *testing.T) {
	for _, c := range []struct {
		name string
		deal func(f *http2.Framer, id uint32) (goOn bool)
		post int // times that a POST reaches the upstream
	}{
		{"refused stream", func(f *http2.Framer, id uint32) bool {
			_ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream)
			return true
		}, 2},
		{"goaway without it", func(f *http2.Framer, id uint32) bool { _ = f.WriteGoAway(id-2, http2.ErrCodeNo, nil); return true }, 2},
		{"goaway and the end", func(f *http2.Framer, id uint32) bool { _ = f.WriteGoAway(id-2, http2.ErrCodeNo, nil); return false }, 2},
		{"goaway with it, and the end", func(f *http2.Framer, id uint32) bool { _ = f.WriteGoAway(id, http2.ErrCodeNo, nil); return false }, 1},
		{"internal error", func(f *http2.Framer, id uint32) bool { _ = f.WriteRSTStream(id, http2.ErrCodeInternal); return true }, 1},
		{"the end", func(f *http2.Framer, id uint32) bool { return false }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var hits atomic.Int64
			var got []string
			var mu sync.Mutex
			s := startFramed(t, func(f *http2.Framer, _ net.Conn, id uint32, path, body string) bool {
				if path == "/warm" {
					fine(f, id, "")
					return true
				}
				mu.Lock()
				got = append(got, body)
				mu.Unlock()
				if hits.Add(1) == 1 {
					return c.deal(f, id)
				}
				fine(f, id, body)
				return true
			})
			o := all(1)
			o.Reset = true
			u := open(t, upstream.Options{Transport: overH2, Retry: o}, s.Address())
			for i, r := range []request{{method: "POST", body: strings.Repeat("b", 20_000)}, {method: "POST", stream: strings.NewReader(strings.Repeat("s", 20_000))}} {
				ask(u, request{target: "/warm"})
				hits.Store(0)
				mu.Lock()
				got = nil
				mu.Unlock()
				a := ask(u, r)
				mu.Lock()
				if int(hits.Load()) != c.post || c.post == 2 && (a.status != 200 || len(a.body) != 20_000 || got[0] != got[1]) || c.post == 1 && a.err == nil {
					t.Errorf("%d: %d hits, %d %d bytes %v", i, hits.Load(), a.status, len(a.body), a.err)
				}
				mu.Unlock()
			}
			// Without retries configured a connection that ends between two requests is no error, one that refuses is.
			u = open(t, upstream.Options{Transport: overH2}, s.Address())
			ask(u, request{target: "/warm"})
			hits.Store(0)
			a := ask(u, request{})
			if want := strings.Contains(c.name, "go") || c.name == "the end"; (a.status == 200) != want {
				t.Errorf("GET: %v", a)
			}
		})
	}
}

// An upstream that restarts its connections all the time, gracefully or not: no GET sees it.
func TestH2StaleConnections(t *testing.T) {
	var n atomic.Int64
	s := startFramed(t, func(f *http2.Framer, nc net.Conn, id uint32, path, body string) bool {
		fine(f, id, path)
		switch k := n.Add(1) % 20; k {
		case 0:
			_ = f.WriteGoAway(id, http2.ErrCodeNo, nil)
			return false
		case 10:
			return false
		}
		return true
	})
	u := open(t, upstream.Options{Transport: overH2}, s.Address())
	for i := range size(2_000, 50_000) {
		target := "/" + strconv.Itoa(i)
		if a := ask(u, request{target: target}); a.err != nil || a.body != target {
			t.Errorf("%v", a)
		}
	}
}

// No POST runs twice, whatever ends while it is under way.
func TestH2NoPostRunsTwice(t *testing.T) {
	var mu sync.Mutex
	runs := map[string]int{}
	last := map[net.Conn]uint32{} // stream that was acted on
	var n atomic.Int64
	s := startFramed(t, func(f *http2.Framer, nc net.Conn, id uint32, path, body string) bool {
		mu.Lock()
		defer mu.Unlock()
		k := n.Add(1) % 12
		if k == 1 {
			_ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream)
			return true
		}
		if k == 3 {
			_ = f.WriteGoAway(last[nc], http2.ErrCodeNo, nil)
			return false
		}
		runs[path]++
		last[nc] = max(last[nc], id)
		switch k {
		case 5:
			return false
		case 7:
			_ = f.WriteRSTStream(id, http2.ErrCodeCancel)
			return true
		case 9:
			_ = f.WriteGoAway(last[nc], http2.ErrCodeNo, nil)
			return false
		}
		fine(f, id, path)
		return true
	})
	o := all(3)
	o.Ratio = 1
	u := open(t, upstream.Options{Transport: overH2, Retry: o}, s.Address())
	total := int64(size(500, 20_000))
	var next, served atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := next.Add(1); i <= total; i = next.Add(1) {
				target := "/" + strconv.FormatInt(i, 10)
				a := ask(u, request{method: "POST", target: target, stream: strings.NewReader("body " + target)})
				if a.err == nil {
					served.Add(1)
					if a.body != target {
						t.Errorf("%v", a)
					}
				}
			}
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	for path, times := range runs {
		if times > 1 {
			t.Errorf("%s ran %d times", path, times)
		}
	}
	if served.Load() < total/4 {
		t.Errorf("%d of %d served", served.Load(), total)
	}
	t.Logf("%d of %d served, %d sent once more", served.Load(), total, u.Retries())
}

func TestH2RequestTrailers(t *testing.T) {
	s := startFramed(t, func(f *http2.Framer, _ net.Conn, id uint32, path, body string) bool { fine(f, id, body); return true })
	u := open(t, upstream.Options{Transport: overH2}, s.Address())
	if a := ask(u, request{method: "POST", stream: strings.NewReader("x:"), trailer: []string{"X-Up", "1"}}); a.body != "x:x-up=1" {
		t.Error(a)
	}
}

// Timeouts, and the breaker, are those of HTTP/1.1.
func TestH2Timeout(t *testing.T) {
	s := startFramed(t, func(*http2.Framer, net.Conn, uint32, string, string) bool { return true })
	u := open(t, upstream.Options{
		Transport: upstream.Transport{Protocol: upstream.HTTP2, ResponseHeader: 200 * time.Millisecond},
		Breaker:   &upstream.BreakerOptions{ConsecutiveFailures: 2, OpenFor: time.Hour},
	}, s.Address())
	for range 2 {
		began := time.Now()
		a := ask(u, request{method: "POST", body: "x"})
		if took := time.Since(began); a.kind() != fault.UpstreamTimeout || took < 195*time.Millisecond || took > 300*time.Millisecond {
			t.Errorf("%v after %s", a, took)
		}
	}
	if a := ask(u, request{}); a.kind() != fault.BreakerOpen {
		t.Errorf("%v", a)
	}
}
