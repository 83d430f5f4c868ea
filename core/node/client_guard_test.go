package node_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/netio"
)

// guarded is logged with guards.
func guarded(guards string) string {
	return strings.Replace(logged, "routes:", "guards: {"+guards+"}\nroutes:", 1)
}

// TestMinRate has clients that make progress, and too little of it, beside such as must not be cut. It takes as long as the
// grace does, for all of them together.
func TestMinRate(t *testing.T) {
	hold := make(chan struct{})
	r := coretest.Start(t, guarded("min_rate: 1KiB"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/early":
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.WriteString(w, "early")
			_ = http.NewResponseController(w).Flush()
		case "/events":
			for range 14 {
				_, _ = io.WriteString(w, "x")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-time.After(time.Second):
				case <-r.Context().Done():
					return
				}
			}
		case "/download":
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}), coretest.Options{})
	var all sync.WaitGroup
	// drip sends a byte ten times a second until it can't.
	drip := func(c *coretest.Client) {
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		all.Go(func() {
			for {
				select {
				case <-hold:
					return
				case <-time.After(100 * time.Millisecond):
					if _, err := io.WriteString(c, "x"); err != nil {
						return
					}
				}
			}
		})
	}
	began := time.Now()
	within := func(what string, most time.Duration) {
		if took := time.Since(began); took < netio.Grace-time.Second || took > most+3*time.Second {
			t.Errorf("%s: after %s", what, took)
		}
	}
	var checks sync.WaitGroup
	f := func(name, request string, check func(c *coretest.Client)) {
		c := r.Client()
		c.Send(request)
		checks.Go(func() { check(c) })
		drip(c)
	}
	const long = " HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n"
	f("upload", "POST /slow"+long+"\r\n", func(c *coretest.Client) {
		answer, body, err := coretest.ReadResponse(c.In, "POST")
		if within("upload", netio.Grace); err != nil || answer.StatusCode != 408 {
			t.Error(answer, body, err)
		}
	})
	alive := func(path, header string) {
		f(path+header, "POST "+path+long+header+"\r\n", func(c *coretest.Client) {
			_ = c.SetReadDeadline(time.Now().Add(netio.Grace + 3*time.Second))
			if path == "/early" {
				c.Head()
				_, _ = io.ReadFull(c.In, make([]byte, len("5\r\nearly\r\n")))
			}
			if b, err := c.In.ReadByte(); err == nil || !netio.IsTimeout(err) {
				t.Errorf("%s %q: %q %v", path, header, b, err)
			}
		})
	}
	alive("/slow", "Content-Type: application/grpc+proto\r\n")
	alive("/early", "")
	// A stream that says little is taken as fast as it comes.
	c := r.Client()
	c.Send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
	checks.Go(func() {
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, body := c.Answer("GET"); body != strings.Repeat("x", 14) {
			t.Errorf("events: %q", body)
		}
	})
	// A reader that takes a few bytes a second.
	d := r.Client()
	d.Send("GET /download HTTP/1.1\r\nHost: a\r\n\r\n")
	checks.Go(func() {
		coretest.Eventually(t, "begun", func() bool { return peek(d) })
		deadline := time.Now().Add(30 * time.Second)
		for time.Now().Before(deadline) {
			if strings.Contains(r.Access.String(), `"path":"/download"`) {
				within("download", 2*netio.Grace) // what fills buffers on the way is taken, too
				wantRecord(t, r, fault.RequestTimeout, `"path":"/download"`)
				return
			}
			_, _ = io.ReadFull(d.In, make([]byte, 10))
			time.Sleep(100 * time.Millisecond)
		}
		t.Error("download: never cut")
	})
	checks.Wait()
	close(hold)
	all.Wait()
}

func TestRequestsPerConnection(t *testing.T) {
	r := coretest.Start(t, guarded("requests_per_connection: 20"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{})
	lengths := map[int]int{}
	for range 60 {
		c := r.Client()
		n := 0
		for closed := false; !closed; n++ {
			c.Send(get)
			answer, _ := c.Answer("GET")
			closed = answer.Close
		}
		if rest, err := c.Rest(); rest != "" || err != nil {
			t.Errorf("%q %v", rest, err)
		}
		lengths[n]++
	}
	for n := range lengths {
		if n < 18 || n > 22 {
			t.Errorf("%d requests on a connection", n)
		}
	}
	if len(lengths) < 2 {
		t.Errorf("all alike: %v", lengths)
	}
}

func TestConnectionsPerIP(t *testing.T) {
	r := coretest.Start(t, guarded("connections_per_ip: 3"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{})
	ask := func(c *coretest.Client) bool {
		c.Send(get)
		answer, _, err := coretest.ReadResponse(c.In, "GET")
		return err == nil && answer.StatusCode == 200
	}
	from := func(ip string) *coretest.Client {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		nc, err := d.Dial("tcp", r.Address)
		if err != nil {
			t.Fatal(err)
		}
		c := coretest.NewClient(t, nc)
		t.Cleanup(func() { c.Close() })
		return c
	}
	var mine []*coretest.Client
	for range 3 {
		c := from("127.0.0.1")
		if !ask(c) {
			t.Fatal("refused")
		}
		mine = append(mine, c)
	}
	for range 3 {
		if ask(from("127.0.0.1")) {
			t.Error("one too many")
		}
	}
	if !ask(from("127.0.0.2")) {
		t.Error("another address was refused")
	}
	if m := string(r.Node.Metrics()); !strings.Contains(m, `weir_connections{listener="all",state="refused_per_ip"} 3`) {
		t.Error(grep(m, "weir_connections"))
	}
	mine[0].Close()
	coretest.Eventually(t, "room again", func() bool { return ask(from("127.0.0.1")) })
}

// TestQueueOfARemovedListener: connections that the kernel has accepted for a listener that a reload removes are served.
func TestQueueOfARemovedListener(t *testing.T) {
	two := strings.Replace(plain, `[{address: "127.0.0.1:0"}]`, `[{address: "127.0.0.1:0"}, {address: "127.0.0.1:0", health: /x}]`, 1)
	for range 10 {
		r := coretest.Start(t, two, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") }), coretest.Options{})
		second := r.Node.Addresses()[r.Node.Plan().Listeners[1].Key].String()
		var wg sync.WaitGroup
		var refused, served atomic.Int64
		stop := make(chan struct{})
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					nc, err := net.Dial("tcp", second)
					if err != nil {
						refused.Add(1)
						return
					}
					_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
					_, _ = io.WriteString(nc, get)
					b := make([]byte, 12)
					if _, err := io.ReadFull(nc, b); err != nil || string(b) != "HTTP/1.1 200" {
						t.Errorf("connected, and %q %v", b, err)
					}
					nc.Close()
					served.Add(1)
				}
			})
		}
		coretest.Eventually(t, "load", func() bool { return served.Load() > 20 })
		mustReload(t, r, plain)
		close(stop)
		wg.Wait()
		r.Node.Drain()
	}
}

// TestFreshConnectionIsServedWhileDraining: it was accepted, so its request is on its way.
func TestFreshConnectionIsServedWhileDraining(t *testing.T) {
	r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") }), coretest.Options{})
	c := r.Client()
	coretest.Eventually(t, "accepted", func() bool {
		return strings.Contains(string(r.Node.Metrics()), `weir_connections{listener="all",state="open"} 1`)
	})
	drained := make(chan int)
	go func() { drained <- r.Node.Drain() }()
	coretest.Eventually(t, "draining", func() bool {
		nc, err := net.Dial("tcp", r.Address)
		if err == nil {
			nc.Close()
		}
		return err != nil
	})
	c.Send(get)
	if answer, body := c.Answer("GET"); body != "ok" || !answer.Close {
		t.Errorf("%q close %t", body, answer.Close)
	}
	if cut := <-drained; cut != 0 {
		t.Errorf("%d cut", cut)
	}
}

// TestHandshakesThatFail are counted, and told in the log of who looks closely.
func TestHandshakesThatFail(t *testing.T) {
	r := startTLS(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	for _, first := range []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 90000), "\x05\x01\x00\x00\x00", "garbage\r\n\r\n"} {
		c := r.Client()
		c.Send(first)
		got, _ := c.Rest()
		if plain := first[0] == 'G' || first[0] == 'P'; plain != strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("%.20q: %q", first, got)
		}
	}
	if c, err := dialTLS(r, &tls.Config{MaxVersion: tls.VersionTLS11}); err == nil {
		c.Close()
	}
	coretest.Eventually(t, "five are counted", func() bool {
		return strings.Contains(string(r.Node.Metrics()), `weir_connections{listener="all",state="handshake_failed"} 5`)
	})
}

// TestMemoryIsScarce: near its memory limit a node refuses new work before it costs anything, and takes it up again.
func TestMemoryIsScarce(t *testing.T) {
	r := coretest.Start(t, strings.Replace(logged, `"127.0.0.1:0"`, `"127.0.0.1:0", health: /health`, 1), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{})
	c, probe := r.Client(), r.Client()
	ask := func(c *coretest.Client, path string) (*http.Response, string) {
		c.Send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		return c.Answer("GET")
	}
	ask(c, "/")
	ask(probe, "/health")
	ballast := make([][]byte, 64)
	for i := range ballast {
		ballast[i] = make([]byte, 4<<20)
	}
	runtime.GC()
	old := debug.SetMemoryLimit(256 << 20)
	defer debug.SetMemoryLimit(old)
	coretest.Eventually(t, "not ready", func() bool { answer, _ := ask(probe, "/health/ready"); return answer.StatusCode == 503 })
	if answer, _ := ask(probe, "/health"); answer.StatusCode != 200 {
		t.Errorf("a node that sheds load lives: %d", answer.StatusCode)
	}
	answer, body := ask(c, "/")
	wantError(t, r, answer, body, fault.NotReady)
	if !answer.Close {
		t.Error("kept open")
	}
	if got, err := r.Client().Rest(); got != "" || netio.IsTimeout(err) {
		t.Errorf("a new connection: %q %v", got, err)
	}
	runtime.KeepAlive(ballast)
	ballast = nil // nothing is allocated from here on, and who sheds load finds out all the same
	coretest.Eventually(t, "ready", func() bool { answer, _ := ask(probe, "/health/ready"); return answer.StatusCode == 200 })
	if answer, _ := ask(r.Client(), "/"); answer.StatusCode != 200 {
		t.Error(answer.Status)
	}
	if m := string(r.Node.Metrics()); !strings.Contains(m, `state="refused_memory"} 1`) {
		t.Error(grep(m, "weir_connections"))
	}
}
