package upstream_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/upstream"
)

// idOf gives the X-Id of a head.
func idOf(head string) string {
	_, rest, _ := strings.Cut(head, "X-Id: ")
	id, _, _ := strings.Cut(rest, "\r\n")
	return id
}

// echo answers with the request's X-Id.
func echo(u *coretest.Client, head string) {
	id := idOf(head)
	u.Send("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(id)) + "\r\n\r\n" + id)
}

// Whatever is broken where: no POST is run twice, though all that may be retried is.
func TestNoPostRunsTwice(t *testing.T) {
	kinds := []string{"before accept", "after accept", "mid-request", "after the request", "mid-answer"}
	for _, point := range kinds {
		t.Run(point, func(t *testing.T) {
			var mu sync.Mutex
			runs := map[string]int{}
			ran := func(head string) {
				mu.Lock()
				defer mu.Unlock()
				runs[idOf(head)]++
			}
			var accepted, read atomic.Int64
			end := func(u *coretest.Client) { // a reset or an end
				if rand.N(2) == 0 {
					u.Reset()
				}
			}
			bad := coretest.StartRaw(t, func(u *coretest.Client) {
				if point == "after accept" && accepted.Add(1)%2 == 0 {
					end(u)
					return
				}
				for {
					kill := point != "after accept" && read.Add(1)%4 == 0
					if kill && point == "mid-request" {
						b := make([]byte, 1+rand.N(150))
						_, _ = u.In.Read(b)
						end(u)
						return
					}
					head, _ := message(u)
					if head == "" {
						return
					}
					ran(head)
					switch {
					case kill && point == "mid-answer":
						whole := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
						u.Send(whole[:1+rand.N(len(whole)-1)])
						end(u)
						return
					case kill:
						end(u)
						return
					}
					echo(u, head)
					if point == "after accept" && rand.N(4) == 0 {
						return // so that there are new connections
					}
				}
			})
			good := coretest.StartRaw(t, func(u *coretest.Client) {
				for {
					head, _ := message(u)
					if head == "" {
						return
					}
					ran(head)
					echo(u, head)
				}
			})
			first := bad.Address()
			if point == "before accept" {
				first = closedPort(t)
			}
			o := all(3)
			o.Ratio = 1
			u := open(t, upstream.Options{Retry: o}, first, good.Address())
			n := size(200, 10_000)
			var next, served, failed atomic.Int64
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(n); i = next.Add(1) {
						r := request{method: "POST", fields: []string{"X-Id", strconv.FormatInt(i, 10)}, body: "small"}
						switch i % 3 {
						case 1:
							r.body, r.stream = "", strings.NewReader(strings.Repeat("s", 3000))
						case 2:
							r.body = strings.Repeat("l", 50_000)
						}
						a := ask(u, r)
						switch {
						case a.err != nil:
							failed.Add(1)
						case a.status != 200 || a.body != idOf("X-Id: "+r.fields[1]):
							t.Errorf("%v", a)
						default:
							served.Add(1)
						}
					}
				})
			}
			wg.Wait()
			mu.Lock()
			defer mu.Unlock()
			for id, times := range runs {
				if times > 1 {
					t.Errorf("request %s ran %d times", id, times)
				}
			}
			if point == "before accept" && failed.Load() > 0 { // these were never sent, and had another endpoint to go to
				t.Errorf("%d failed", failed.Load())
			}
			if point != "before accept" && failed.Load() == 0 || served.Load() == 0 {
				t.Errorf("%d served, %d failed: nothing was broken", served.Load(), failed.Load())
			}
		})
	}
}

// An upstream closes idle connections when it likes, also just when a request is on its way. The client never sees it.
func TestStaleConnections(t *testing.T) {
	var closed atomic.Int64
	s := coretest.StartRaw(t, func(u *coretest.Client) {
		for {
			head, _ := message(u)
			if head == "" {
				closed.Add(1)
				if rand.N(2) == 0 {
					u.Reset()
				}
				return
			}
			echo(u, head)
			if rand.N(8) == 0 {
				return
			}
			_ = u.SetReadDeadline(time.Now().Add(rand.N(time.Millisecond)))
		}
	})
	u := open(t, upstream.Options{}, s.Address())
	n := int64(size(5_000, 100_000))
	var next, repeated atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := next.Add(1); i <= n; i = next.Add(1) {
				id := strconv.FormatInt(i, 10)
				a := ask(u, request{fields: []string{"X-Id", id}})
				if a.err != nil || a.body != id {
					t.Errorf("%v", a)
				}
				repeated.Add(int64(a.tries - 1))
				if i%4 == 0 {
					timer := time.NewTimer(rand.N(2 * time.Millisecond))
					<-timer.C
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d requests, %d connections ended by the upstream while idle, %d requests sent once more", n, closed.Load(), repeated.Load())
	if closed.Load() == 0 {
		t.Error("no connection was ended while idle")
	}
}

// An answer that is cut, wherever, is never taken for a whole one.
func TestCutAnswers(t *testing.T) {
	f := func(name, whole string, resets bool) {
		t.Run(name, func(t *testing.T) {
			var cut atomic.Int64
			s := coretest.StartRaw(t, func(u *coretest.Client) {
				u.Head()
				u.Send(whole[:cut.Load()])
				if resets {
					u.Reset()
				}
			})
			u := open(t, upstream.Options{}, s.Address())
			for i := range len(whole) {
				cut.Store(int64(i))
				a := ask(u, request{trailers: true})
				if a.err == nil {
					t.Errorf("cut after %q: %v", whole[:i], a)
				} else if !a.kind().Punish() {
					t.Errorf("cut after %q: %v", whole[:i], a.err)
				}
			}
			if resets {
				return // may overtake the last bytes
			}
			cut.Store(int64(len(whole)))
			if a := ask(u, request{trailers: true}); a.err != nil || a.body != "hello" && strings.HasSuffix(whole, "hello") {
				t.Errorf("whole: %v", a)
			}
		})
	}
	const fixed = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
	const trailers = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"
	const closing = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"
	for _, resets := range []bool{false, true} {
		end := map[bool]string{false: ", FIN", true: ", RST"}[resets]
		f("fixed"+end, fixed, resets)
		f("chunked"+end, chunked, resets)
		f("trailers"+end, trailers, resets)
	}
	f("until the end, RST", closing, true)
	f("head only, FIN", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", false) // ends with its connection: cut only within the head
}

// Bytes that belong to no answer and have come before the next request never become its answer. (What comes after it was
// sent can't be told from its answer, by nobody.)
func TestSurplusBytes(t *testing.T) {
	const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
	for _, c := range []struct {
		name, method string
		answer       func(id string) string
	}{
		{"after a fixed body", "GET", func(id string) string {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(id), id)
		}},
		{"after a chunked body", "GET", func(id string) string {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(id), id)
		}},
		{"after 204", "GET", func(id string) string { return "HTTP/1.1 204 No Content\r\nX-Id: " + id + "\r\n\r\n" }},
		{"after 304", "GET", func(id string) string {
			return "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\nX-Id: " + id + "\r\n\r\n"
		}},
		{"after HEAD", "HEAD", func(id string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Id: " + id + "\r\n\r\n" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			poisoned := make(chan struct{}, 1)
			s := coretest.StartRaw(t, func(u *coretest.Client) {
				for {
					head, _ := message(u)
					if head == "" {
						return
					}
					answer := c.answer(idOf(head))
					switch rand.N(3) {
					case 0:
						u.Send(answer + poison) // with the answer
					case 1:
						u.Send(answer)
						u.Send(poison) // just after it
					case 2:
						u.Send(answer)
						timer := time.NewTimer(rand.N(time.Millisecond)) // while idle
						<-timer.C
						u.Send(poison)
					}
					poisoned <- struct{}{}
				}
			})
			u := open(t, upstream.Options{}, s.Address())
			n := size(200, 5000)
			for i := range n {
				id := strconv.Itoa(i)
				a := ask(u, request{method: c.method, fields: []string{"X-Id", id}})
				if a.err != nil || a.body != id && a.header != "X-Id: "+id+"\n" {
					t.Fatalf("%d: %v", i, a)
				}
				<-poisoned
			}
			if _, _, opened := u.Endpoints()[0].Stats(); opened != int64(n) { // not one is used again
				t.Errorf("%d connections for %d requests", opened, n)
			}
		})
	}
}

// A wait for an answer ends when it should, once, and is a timeout.
func TestTimeoutsAreAccurate(t *testing.T) {
	const after = 300 * time.Millisecond
	var hold chan struct{} // closed when an upstream may end
	f := func(name string, r func() request, serve func(u *coretest.Client)) {
		t.Run(name, func(t *testing.T) {
			var hits atomic.Int64
			hold = make(chan struct{})
			s := coretest.StartRaw(t, func(u *coretest.Client) { hits.Add(1); serve(u) })
			defer close(hold)
			o := all(3)
			o.Ratio = 1
			u := open(t, upstream.Options{Retry: o, Transport: upstream.Transport{ResponseHeader: after, Idle: after}}, s.Address())
			var took []time.Duration
			const n = 5
			for range n {
				began := time.Now()
				a := ask(u, r())
				took = append(took, time.Since(began))
				if a.kind() != fault.UpstreamTimeout || a.tries != 1 {
					t.Errorf("%v", a)
				}
			}
			slices.Sort(took) // the machine may be busy with other things now and then, but never early
			if took[0] < after-5*time.Millisecond || took[n/2] > after+50*time.Millisecond || hits.Load() != n {
				t.Errorf("%s, %d hits", took, hits.Load())
			}
		})
	}
	get := func() request { return request{} }
	drip := func(u *coretest.Client, text string) {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for i := range len(text) {
			<-tick.C
			if _, err := u.Write([]byte{text[i]}); err != nil {
				return
			}
		}
	}
	f("hangs", get, func(u *coretest.Client) { <-hold })
	f("drips a head", get, func(u *coretest.Client) { drip(u, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("y", 100)) })
	f("hangs in the body", get, func(u *coretest.Client) {
		u.Head()
		u.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
		<-hold
	})
	f("reads no more", get, func(u *coretest.Client) {
		_ = u.Conn.(*net.TCPConn).CloseRead()
		<-hold
	})
	f("hangs after an upload", func() request { return request{method: "POST", stream: strings.NewReader("abc")} },
		func(u *coretest.Client) { <-hold })
}
