package node_test

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
)

// TestSlowClients has 1,000 of them at once, slow with heads, with bodies and with reading. Each is closed by its own bound,
// a second late at most, and who is not slow notices nothing.
func TestSlowClients(t *testing.T) {
	const bound = 2 * time.Second
	large := make([]byte, 1<<20)
	yaml := strings.Replace(logged, "routes:", "timeouts: {header: 2s, body_idle: 2s}\nroutes:", 1)
	r := coretest.Start(t, yaml, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/large" {
			_, _ = w.Write(large)
		}
	}), coretest.Options{})
	var slow sync.WaitGroup
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error { // what is not read must not lie here
		return raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
	}}
	var late, closed atomic.Int64
	began := make(chan struct{})
	// ended waits for the end as the client sees it.
	ended := func(i int, c *coretest.Client, from time.Time) {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, c.In); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Error("never closed")
		}
		closed.Add(1)
		if took := time.Since(from); took > bound+time.Second {
			late.Add(1)
			t.Logf("%d closed after %s", i%4, took)
		}
	}
	for i := range 1000 {
		nc, err := dialer.Dial("tcp", r.Address)
		if err != nil {
			t.Fatal(err)
		}
		c := coretest.NewClient(t, nc)
		t.Cleanup(func() { c.Close() })
		slow.Go(func() {
			<-began
			switch i % 4 {
			case 0, 1: // a byte of a head now and then
				from := time.Now()
				c.Send("GET / HTTP/1.1\r\nHost: a\r\nX: ")
				done := make(chan struct{})
				go func() { ended(i, c, from); close(done) }()
				for {
					select {
					case <-done:
						return
					case <-time.After(200 * time.Millisecond):
						c.Send("x")
					}
				}
			case 2: // half a body
				c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
				ended(i, c, time.Now())
			case 3: // an answer that is not read; what is cut is seen by the log
				c.Send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
			}
		})
	}
	var took []time.Duration
	stop, ordinary := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ordinary)
		c := r.Client()
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			at := time.Now()
			_ = c.SetReadDeadline(at.Add(10 * time.Second))
			c.Send(get)
			if answer, _, err := coretest.ReadResponse(c.In, "GET"); err != nil || answer.StatusCode != 200 {
				t.Errorf("ordinary traffic: %v", err)
				return
			}
			took = append(took, time.Since(at))
		}
	}()
	at := time.Now()
	close(began)
	slow.Wait()
	coretest.Eventually(t, "those that do not read are cut", func() bool {
		return strings.Count(r.Access.String(), `"path":"/large"`) == 250
	})
	if took := time.Since(at); took > bound+3*time.Second {
		t.Errorf("the last reader was cut after %s", took)
	}
	close(stop)
	<-ordinary
	if late.Load() > 0 || closed.Load() != 750 {
		t.Errorf("%d closed, %d of them late", closed.Load(), late.Load())
	}
	slices.Sort(took)
	if p99 := took[len(took)*99/100]; p99 > time.Second {
		t.Errorf("p99 of ordinary traffic: %s", p99)
	}
	t.Logf("%d ordinary requests, median %s, p99 %s", len(took), took[len(took)/2], took[len(took)*99/100])
}
