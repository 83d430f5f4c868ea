package node_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/fault"
)

func TestDrain(t *testing.T) {
	yaml := strings.Replace(logged, "routes:", "timeouts: {drain: 700ms}\nadmin: {address: \"127.0.0.1:0\"}\nroutes:", 1)
	hold := make(chan struct{})
	var waiting atomic.Int64
	r := coretest.Start(t, yaml, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		waiting.Add(1)
		switch r.URL.Path {
		case "/soon":
			<-hold
			_, _ = w.Write([]byte("done"))
		case "/never":
			<-r.Context().Done()
		}
	}), coretest.Options{})
	var idle, inFlight, never []*coretest.Client
	for range 20 {
		i, s, n := r.Client(), r.Client(), r.Client()
		i.Send(get)
		i.Answer("GET")
		s.Send("GET /soon HTTP/1.1\r\nHost: a\r\n\r\n")
		n.Send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
		idle, inFlight, never = append(idle, i, r.Client()), append(inFlight, s), append(never, n)
	}
	half := r.Client() // a head on its way is a request in flight
	half.Send("GET / HTTP/1.1\r\nHost: a\r\n")
	coretest.Eventually(t, "all wait", func() bool { return waiting.Load() == 60 })
	drained := make(chan int, 1)
	go func() { drained <- r.Node.Drain() }()
	for _, c := range idle {
		if got, err := c.Rest(); got != "" || err != nil {
			t.Fatalf("idle: %q %v", got, err)
		}
	}
	answer, err := http.Get("http://" + r.Node.AdminAddr().String() + "/health/ready")
	if err != nil {
		t.Fatal(err)
	}
	if answer.Body.Close(); answer.StatusCode != 503 {
		t.Error(answer.Status)
	}
	if _, err := net.Dial("tcp", r.Address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
	half.Send("\r\n")
	if answer, _ := half.Answer("GET"); answer.StatusCode != 200 || !answer.Close {
		t.Error(answer.StatusCode, answer.Close)
	}
	close(hold)
	for _, c := range inFlight {
		if answer, body := c.Answer("GET"); body != "done" || !answer.Close {
			t.Errorf("%q close %t", body, answer.Close)
		}
	}
	if cut := <-drained; cut != 20 {
		t.Errorf("%d cut", cut)
	}
	for _, c := range never {
		if got, err := c.Rest(); got != "" || err == nil {
			t.Errorf("cut: %q %v", got, err)
		}
	}
	wantRecord(t, r, fault.Draining, `"path":"/never"`)
	if cut := r.Node.Drain(); cut != 0 {
		t.Error(cut)
	}
	if err := r.Node.Reload(); err == nil {
		t.Error("reloaded after the drain")
	}
}

// A keep-alive request that races with a drain is answered, or its client is told by the end of the connection: it is
// never answered in part, and never fails otherwise.
func TestRequestsRaceWithDrain(t *testing.T) {
	for range 20 {
		r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("whole"))
		}), coretest.Options{})
		var wg sync.WaitGroup
		var served atomic.Int64
		for range 8 {
			c := r.Client()
			wg.Go(func() {
				for {
					c.Send(get)
					answer, body, err := coretest.ReadResponse(c.In, "GET")
					if err != nil {
						if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
							t.Error(err)
						}
						return
					}
					if answer.StatusCode != 200 || body != "whole" {
						t.Errorf("%d %q", answer.StatusCode, body)
						return
					}
					served.Add(1)
					if answer.Close {
						return
					}
				}
			})
		}
		coretest.Eventually(t, "load", func() bool { return served.Load() > 50 })
		if cut := r.Node.Drain(); cut != 0 {
			t.Errorf("%d cut", cut)
		}
		wg.Wait()
	}
}

// A request that is there when the idle connection is told to leave is answered.
func TestPipelinedRequestsAreAnsweredWhileDraining(t *testing.T) {
	hold := make(chan struct{})
	arrived := make(chan struct{}, 1)
	r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/1" {
			w.Header().Set("Content-Length", "2")
			_ = http.NewResponseController(w).Flush()
			arrived <- struct{}{}
			<-hold
		}
		_, _ = w.Write([]byte(r.URL.Path))
	}), coretest.Options{})
	c := r.Client()
	c.Send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
	<-arrived
	coretest.Eventually(t, "the head is out", func() bool { return c.In.Buffered() > 0 || peek(c) })
	drained := make(chan int)
	go func() { drained <- r.Node.Drain() }()
	coretest.Eventually(t, "draining", func() bool { _, err := net.Dial("tcp", r.Address); return err != nil })
	close(hold)
	if answer, body := c.Answer("GET"); body != "/1" || answer.Close {
		t.Fatalf("%q close %t", body, answer.Close)
	}
	if answer, body := c.Answer("GET"); body != "/2" || !answer.Close {
		t.Fatalf("%q close %t", body, answer.Close)
	}
	<-drained
}

func peek(c *coretest.Client) bool {
	_, err := c.In.Peek(1)
	return err == nil
}

// An upstream that closes connections at random while they lie idle costs no client an error, and no POST a second try.
func TestIdleUpstreamsThatLeave(t *testing.T) {
	var gets, posts, conns atomic.Int64
	r := through(t, plain, func(u *coretest.Client) {
		conns.Add(1)
		for n := conns.Load() % 7; n >= 0; n-- {
			head := u.Head()
			switch {
			case strings.HasPrefix(head, "GET"):
				gets.Add(1)
			case strings.HasPrefix(head, "POST"):
				posts.Add(1)
			default:
				return
			}
			u.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			if n == 1 {
				time.Sleep(time.Duration(conns.Load()%50) * 10 * time.Microsecond)
				return // without a word, while the next request is perhaps on its way
			}
		}
	})
	var wg sync.WaitGroup
	var bad, badPosts atomic.Int64
	const each = 1500
	for range 4 {
		c := r.Client()
		wg.Go(func() {
			for i := range each {
				method := "GET"
				if i%10 == 0 {
					method = "POST"
				}
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
				c.Send(method + " / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
				answer, body, err := coretest.ReadResponse(c.In, method)
				switch {
				case err != nil:
					t.Error(err)
					return
				case answer.StatusCode == 200 && body == "ok":
				case method == "POST" && answer.StatusCode == 502:
					badPosts.Add(1)
				default:
					bad.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if bad.Load() != 0 {
		t.Errorf("%d of %d GETs failed", bad.Load(), 4*each*9/10)
	}
	if n := posts.Load(); n > 4*each/10 {
		t.Errorf("%d POSTs arrived of %d", n, 4*each/10)
	}
	t.Logf("%d connections, %d GETs, %d POSTs, %d of them refused", conns.Load(), gets.Load(), posts.Load(), badPosts.Load())
}

// TestCutReachesWhatIsAboutToBegin has requests arrive while everything is cut: none may slip through and hold up the end.
func TestCutReachesWhatIsAboutToBegin(t *testing.T) {
	yaml := strings.Replace(plain, "routes:", "timeouts: {drain: 0s}\nroutes:", 1)
	for range 3 {
		r := coretest.Start(t, yaml, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}), coretest.Options{})
		clients := make([]*coretest.Client, 200)
		for i := range clients {
			clients[i] = r.Client()
		}
		coretest.Eventually(t, "all are connected", func() bool {
			return strings.Contains(string(r.Node.Metrics()), `weir_connections{listener="all",state="open"} 200`)
		})
		var sent sync.WaitGroup
		sent.Go(func() {
			for _, c := range clients {
				c.Send(get)
			}
		})
		drained := make(chan struct{})
		go func() { r.Node.Drain(); close(drained) }()
		select {
		case <-drained:
		case <-time.After(5 * time.Second):
			t.Error("the drain waits for what it should have cut")
		}
		sent.Wait()
		for _, c := range clients {
			c.Close()
		}
		<-drained
	}
}
