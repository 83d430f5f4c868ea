package upstream_test

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/upstream"
)

// hints is a 103 with fields that end at this hop.
func hints(link string) string {
	return "HTTP/1.1 103 Early Hints\r\nLink: " + link + "\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\r\n"
}

func TestInterimAnswers(t *testing.T) {
	const final = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Final: 1\r\n\r\nok"
	f := func(sent string, informed []string, a answer) {
		t.Helper()
		// In one piece, and byte by byte.
		for _, piece := range []int{len(sent), 1} {
			s := coretest.StartRaw(t, func(u *coretest.Client) {
				for u.Head() != "" {
					for i := 0; i < len(sent); i += piece {
						u.Send(sent[i:min(i+piece, len(sent))])
						if piece == 1 {
							runtime.Gosched()
						}
					}
				}
			})
			d := &down{}
			u := open(t, upstream.Options{}, s.Address())
			for range 2 { // the connection lives on
				d.informed = nil
				got := ask(u, request{down: d, trailers: true})
				if got.err != nil || got.status != a.status || got.body != a.body || got.header != a.header || got.trailer != a.trailer {
					t.Errorf("%q: %v, want %v", sent, got, a)
				}
				if fmt.Sprintf("%q", d.informed) != fmt.Sprintf("%q", informed) {
					t.Errorf("%q: informed\n%q, want\n%q", sent, d.informed, informed)
				}
			}
			if _, _, opened := u.Endpoints()[0].Stats(); opened != 1 {
				t.Errorf("%q: %d connections", sent, opened)
			}
		}
	}
	told := func(link string) string { return "HTTP/1.1 103 Early Hints\r\nLink: " + link + "\r\n\r\n" }
	ok := answer{status: 200, header: "X-Final: 1\n", body: "ok"}
	// One goes to the client without what ends at this hop, and leaves nothing behind.
	f(hints("</a>")+final, []string{told("</a>")}, ok)
	// Several do, each by itself.
	f(hints("</a>")+hints("</b>")+hints("</c>")+final, []string{told("</a>"), told("</b>"), told("</c>")}, ok)
	// Others do not.
	f("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX: y\r\n\r\n"+hints("</a>")+"HTTP/1.1 199 X\r\n\r\n"+final, []string{told("</a>")}, ok)
	// A chunked answer with trailers after it is as it would be without.
	f(hints("</a>")+"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", []string{told("</a>")},
		answer{status: 200, body: "abc", trailer: "X-Sum: 1\n"})
	// A hundred are read, in a bounded space.
	f(strings.Repeat("HTTP/1.1 102 Processing\r\nX: "+strings.Repeat("y", 1000)+"\r\n\r\n", 100)+final, nil, ok)
}

func TestTooManyInterimAnswers(t *testing.T) {
	for _, status := range []string{"102 Processing", "103 Early Hints"} {
		s := coretest.StartRaw(t, func(u *coretest.Client) {
			u.Head()
			for range 101 {
				u.Send("HTTP/1.1 " + status + "\r\n\r\n")
			}
			u.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			_, _ = u.Rest()
		})
		d := &down{}
		a := ask(open(t, upstream.Options{}, s.Address()), request{down: d})
		if a.kind() != fault.BadResponse || len(d.informed) > 100 {
			t.Errorf("%s: %v, %d passed on", status, a.err, len(d.informed))
		}
	}
}

// What the client was told of an answer is not followed by another try's.
func TestNoRetryAfterInform(t *testing.T) {
	hits := make(chan int, 10)
	s := coretest.StartRaw(t, func(u *coretest.Client) {
		u.Head()
		hits <- 1
		u.Send(hints("</a>") + "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
		_, _ = u.Rest()
	})
	u := open(t, upstream.Options{Retry: &upstream.RetryOptions{Retries: 2, Reset: true, Statuses: []int{503}, Ratio: 1}}, s.Address())
	if a := ask(u, request{}); a.status != 503 || len(hits) != 1 {
		t.Errorf("%v after %d tries", a, len(hits))
	}
}

// A panic beneath Send while the uploader is at work takes everything with it: the goroutine, the place in flight, the
// connection.
func TestPanicBeneathSend(t *testing.T) {
	gone := make(chan error, 1)
	s := coretest.StartRaw(t, func(u *coretest.Client) {
		if strings.Contains(u.Head(), "/fine") {
			u.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			return
		}
		u.Send(hints("</a>"))
		_, err := u.Rest()
		gone <- err
	})
	u := open(t, upstream.Options{MaxInFlight: 1}, s.Address())
	pulled, feed := io.Pipe()
	defer feed.Close()
	before := runtime.NumGoroutine()
	func() {
		defer func() {
			if r := recover(); r != "as told" {
				t.Errorf("recovered %v", r)
			}
		}()
		// The client's connection is bound as a server does it: ending the reads of it ends the uploader.
		ask(u, request{method: "POST", stream: pulled, link: linkFunc(func() { pulled.CloseWithError(fault.New(fault.ClientGone, "ended")) }),
			down: &down{on: func() { panic("as told") }}})
	}()
	<-gone
	if a := ask(u, request{target: "/fine"}); a.status != 200 {
		t.Errorf("the place in flight was not given back: %v", a)
	}
	coretest.Eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}
