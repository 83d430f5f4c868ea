package node_test

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
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
	var mu sync.Mutex
	var ends []time.Duration
	began := make(chan struct{})
	// ended waits for the end as the client sees it.
	ended := func(c *coretest.Client, from time.Time) {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, c.In); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Error("never closed")
		}
		mu.Lock()
		ends = append(ends, time.Since(from))
		mu.Unlock()
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
				go func() { ended(c, from); close(done) }()
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
				ended(c, time.Now())
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
	readers := time.Since(at)
	close(stop)
	<-ordinary
	slices.Sort(took)
	slices.Sort(ends)
	worst := took[len(took)-1] // a busy machine holds up everybody
	if last := ends[len(ends)-1]; len(ends) != 750 || last > bound+time.Second+worst {
		t.Errorf("%d closed, the last after %s", len(ends), last)
	}
	if readers > bound+3*time.Second+worst {
		t.Errorf("the last reader was cut after %s", readers)
	}
	t.Logf("%d ordinary requests, median %s, p99 %s, worst %s; slow ones closed after %s to %s",
		len(took), took[len(took)/2], took[len(took)*99/100], worst, ends[0], ends[len(ends)-1])
}
