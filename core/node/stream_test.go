package node_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
)

// through starts a node before an upstream that speaks in bytes.
func through(t *testing.T, yaml string, serve func(*coretest.Client)) *coretest.Rig {
	t.Helper()
	up := coretest.StartRaw(t, serve)
	return coretest.Start(t, yaml, nil, coretest.Options{Env: map[string]string{"UPSTREAM": up.Address()}})
}

// each serves every request on a connection with one fixed answer.
func each(answer string) func(*coretest.Client) {
	return func(c *coretest.Client) {
		for c.Head() != "" {
			c.Send(answer)
		}
	}
}

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func TestEventsArriveOneByOne(t *testing.T) {
	next := make(chan string)
	r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for e := range next {
			fmt.Fprintf(w, "data: %s\n\n", e)
			_ = http.NewResponseController(w).Flush()
		}
	}), coretest.Options{})
	answered := make(chan *http.Response, 1)
	go func() {
		answer, err := http.Get(r.URL)
		if err != nil {
			t.Error(err)
		}
		answered <- answer
	}()
	next <- "first"
	answer := <-answered
	defer answer.Body.Close()
	in := bufio.NewReader(answer.Body)
	for i, e := range []string{"first", "second", "third"} {
		if i > 0 {
			next <- e
		}
		// The upstream waits for the next event: what can be read now was passed on at once.
		if line, _ := in.ReadString('\n'); line != "data: "+e+"\n" {
			t.Fatalf("%q", line)
		}
		_, _ = in.ReadString('\n')
	}
	close(next)
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("%q %v", rest, err)
	}
}

// The head of a stream comes before its first event.
func TestHeadDoesNotWaitForTheBody(t *testing.T) {
	hold := make(chan struct{})
	r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-hold
	}), coretest.Options{})
	answer, err := http.Get(r.URL)
	close(hold)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(answer.Body); len(b) != 0 || err != nil {
		t.Errorf("%q %v", b, err)
	}
	answer.Body.Close()
}

func TestFramingOfAnswers(t *testing.T) {
	for _, c := range []struct{ name, method, answer, body string }{
		{"fixed", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"},
		{"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", "hello"},
		{"until the end", "GET", "HTTP/1.1 200 OK\r\n\r\nhello", "hello"},
		{"http/1.0", "GET", "HTTP/1.0 200 OK\r\n\r\nhello", "hello"},
		{"http/1.0 fixed", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", ""},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", ""},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", ""},
		{"after 100 and 103", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := through(t, plain, func(u *coretest.Client) {
				for u.Head() != "" {
					u.Send(c.answer)
					if !strings.Contains(c.answer, "Content-Length") && !strings.Contains(c.answer, "chunked") && !strings.Contains(c.answer, "204") {
						return
					}
				}
			})
			k := r.Client()
			for range 3 { // over one connection: the end of each answer is found
				k.Send(c.method + " / HTTP/1.1\r\nHost: a\r\n\r\n")
				if strings.Contains(c.answer, " 103 ") {
					if hint := k.Head(); hint != "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" {
						t.Fatalf("hint %q", hint)
					}
				}
				answer, body := k.Answer(c.method)
				if body != c.body || answer.Header.Get("Link") != "" || answer.Header.Get("X-Request-Id") == "" {
					t.Fatalf("%d %v %q", answer.StatusCode, answer.Header, body)
				}
				if c.method == "HEAD" && answer.ContentLength != 5 {
					t.Errorf("Content-Length %d", answer.ContentLength)
				}
			}
		})
	}
}

func TestOldClients(t *testing.T) {
	r := through(t, plain, each("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	got, err := func() (string, error) {
		c := r.Client()
		c.Send("GET / HTTP/1.0\r\n\r\n")
		return c.Rest()
	}()
	if err != nil || !strings.HasSuffix(got, "\r\n\r\nhello") || strings.Contains(got, "chunked") || !strings.Contains(got, "Connection: close") {
		t.Errorf("%q %v", got, err)
	}
	fixed := through(t, plain, each("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	c := fixed.Client()
	for range 2 {
		c.Send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
		if answer, body := c.Answer("GET"); body != "hello" || answer.Header.Get("Connection") != "keep-alive" {
			t.Errorf("%q %v", body, answer.Header)
		}
	}
}

func TestPipelined(t *testing.T) {
	r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.URL.Path, b)
	}), coretest.Options{})
	c := r.Client()
	c.Send("\r\n" + "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" +
		"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + "\r\n\r\n" +
		"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n" +
		"GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + "GET /5 HTTP/1.1\r\nHost: a\r\n\r\n")
	for _, want := range []string{"/1 ", "/2 abc", "/3 def", "/4 "} {
		if _, body := c.Answer("GET"); body != want {
			t.Fatalf("%q, want %q", body, want)
		}
	}
	if rest, _ := c.Rest(); rest != "" {
		t.Errorf("after Connection: close %q", rest)
	}
}

func TestTrailers(t *testing.T) {
	r := through(t, plain, func(u *coretest.Client) {
		u.Head()
		if body := u.Head(); !strings.Contains(body, "X-Sum: 1\r\n") || strings.Contains(body, "Authorization") {
			t.Errorf("upstream got %q", body)
		}
		u.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n5\r\nhello\r\n0\r\nX-End: 2\r\nSet-Cookie: a=b\r\n\r\n")
	})
	c := r.Client()
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\nAuthorization: no\r\n\r\n")
	c.Head()
	if end := c.Head(); !strings.Contains(end, "X-End: 2\r\n") || strings.Contains(end, "Set-Cookie") {
		t.Errorf("client got %q", end)
	}
}

func TestContinue(t *testing.T) {
	r := coretest.Start(t, `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:0"}]
upstreams: {api: {endpoints: ["http://${UPSTREAM}"]}}
routes:
  - {name: limited, match: {path: /limited}, auth: none, upstream: api, limits: [{key: ip, rate: 1/h}]}
  - {name: small, match: {path: /small}, auth: none, upstream: api, body_bytes: 4B}
  - {name: own, match: {path: /own}, auth: none, respond: {body: "own"}}
  - {name: all, match: {path: /*}, auth: none, upstream: api}
`, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/unread" {
			return
		}
		if r.Header.Get("Expect") != "" {
			t.Error("Expect was forwarded")
		}
		_, _ = io.Copy(w, r.Body)
	}), coretest.Options{})
	const head = " HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
	c := r.Client()
	for range 2 {
		c.Send("POST /" + head)
		if got := c.Head(); got != "HTTP/1.1 100 Continue\r\n\r\n" {
			t.Fatalf("%q", got)
		}
		c.Send("hello")
		if answer, body := c.Answer("POST"); answer.StatusCode != 200 || body != "hello" {
			t.Fatalf("%d %q", answer.StatusCode, body)
		}
	}
	// A client need not wait.
	c.Send("POST /" + head + "hello")
	if got := c.Head(); got != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Fatalf("%q", got)
	}
	if _, body := c.Answer("POST"); body != "hello" {
		t.Fatalf("%q", body)
	}
	f := func(path string, want int) {
		t.Helper()
		c := r.Client()
		c.Send("POST " + path + head)
		if answer, _ := c.Answer("POST"); answer.StatusCode != want || !answer.Close {
			t.Errorf("%s: %d close %t", path, answer.StatusCode, answer.Close)
		}
		if rest, _ := c.Rest(); rest != "" {
			t.Errorf("%s: then %q", path, rest)
		}
	}
	f("/small", 413)
	f("/own", 200)
	r.Do("POST", "/limited", "")
	f("/limited", 429)
	c = r.Client()
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nExpect: more\r\nContent-Length: 5\r\n\r\n")
	if answer, _ := c.Answer("POST"); answer.StatusCode != 417 {
		t.Error(answer.Status)
	}
	// HTTP/1.0 has no expectations.
	c = r.Client()
	c.Send("POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
	if answer, body := c.Answer("POST"); answer.StatusCode != 200 || body != "hello" {
		t.Errorf("%d %q", answer.StatusCode, body)
	}
}

func TestSurplusIsNoAnswer(t *testing.T) {
	for _, surplus := range []string{"x", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nevil\n"} {
		for _, late := range []bool{false, true} {
			sent := make(chan struct{}, 1)
			r := through(t, plain, func(u *coretest.Client) {
				u.Head()
				if late {
					u.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ngood\n")
					u.Send(surplus)
				} else {
					u.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ngood\n" + surplus)
				}
				sent <- struct{}{}
				_, _ = u.Rest()
			})
			for range 3 {
				if _, _, body := r.Get("/"); body != "good\n" {
					t.Fatalf("late %t: %q", late, body)
				}
				<-sent
			}
		}
	}
}

func TestTruncatedAnswerBreaksTheConnection(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
	} {
		r := through(t, plain, func(u *coretest.Client) {
			u.Head()
			u.Send(answer)
		})
		for _, version := range []string{"1.0", "1.1"} {
			c := r.Client()
			c.Send("GET / HTTP/" + version + "\r\nHost: a\r\n\r\n")
			got, err := c.Rest()
			if err == nil || strings.HasSuffix(got, "0\r\n\r\n") {
				t.Errorf("%q: ended properly with %q", answer, got)
			}
		}
	}
}

func TestSlowReaderGetsAll(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(body)
	}), coretest.Options{})
	c := r.Client()
	c.Send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	answer, err := http.ReadResponse(c.In, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 0, len(body))
	for piece := make([]byte, 64<<10); ; {
		n, err := io.ReadFull(answer.Body, piece)
		got = append(got, piece[:n]...)
		if err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if !bytes.Equal(got, body) {
		t.Errorf("%d bytes of %d", len(got), len(body))
	}
}
