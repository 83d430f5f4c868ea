package node_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
	"github.com/weirproxy/weir/core/filter"
)

// doubling puts a layer on answers that gives every byte twice, and a trailer field at the end.
func doubling() *slotted {
	return &slotted{response: func(x *exchange.Exchange, _ int, _ bool) (filter.Verdict, error) {
		l := &layer{}
		l.f = func(p []byte) (all []byte, _ error) {
			for _, c := range p {
				all = append(all, c, c)
			}
			if l.err == io.EOF && x.Response.Trailer.Get("x-end") == nil {
				x.Response.Trailer.Set("x-end", []byte("yes"))
			}
			return all, nil
		}
		x.Response.Body.Through(&l.under, l, -1)
		return filter.Continue, nil
	}}
}

func layered() coretest.Options {
	return coretest.Options{Kinds: placedOn(map[string][]filter.Placed{"all": {{Name: "doubles", Filter: doubling()}}})}
}

// TestLayerOnAnswers: a layer changes the length of an answer; the head says so, to every kind of client.
func TestLayerOnAnswers(t *testing.T) {
	up := each("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
	chunked := each("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Own: 1\r\n\r\n")
	head := each("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
	f := func(what string, serve func(*coretest.Client), request, method, wantBody, framed string, trailers int) {
		t.Helper()
		raw := coretest.StartRaw(t, serve)
		o := layered()
		o.Env = map[string]string{"UPSTREAM": raw.Address()}
		r := coretest.Start(t, plain, nil, o)
		c := r.Client()
		for range 2 { // the connection is good for another
			c.Send(request)
			var seen bytes.Buffer
			c.In.Reset(io.TeeReader(c.Conn, &seen))
			answer, body := c.Answer(method)
			head, _, _ := strings.Cut(seen.String(), "\r\n\r\n")
			got := ""
			for line := range strings.Lines(strings.ToLower(head)) {
				if strings.HasPrefix(line, "content-length") || strings.HasPrefix(line, "transfer-encoding") {
					got += strings.TrimSpace(line)
				}
			}
			if body != wantBody || got != framed || len(answer.Trailer) != trailers {
				t.Errorf("%s: %q %q %v, want %q %q %d", what, body, got, answer.Trailer, wantBody, framed, trailers)
			}
			if strings.Contains(request, "HTTP/1.0") {
				if rest, err := c.Rest(); rest != "" || err != nil {
					t.Errorf("%s: %q %v", what, rest, err)
				}
				return
			}
			if answer.Close {
				t.Fatalf("%s: closed", what)
			}
		}
	}
	const tail = " / HTTP/1.1\r\nHost: a\r\n"
	f("sized", up, "GET"+tail+"\r\n", "GET", "aabbcc", "transfer-encoding: chunked", 0)
	f("chunked", chunked, "GET"+tail+"\r\n", "GET", "aabbcc", "transfer-encoding: chunked", 0)
	f("trailers", up, "GET"+tail+"TE: trailers\r\nConnection: TE\r\n\r\n", "GET", "aabbcc", "transfer-encoding: chunked", 1)
	f("more trailers", chunked, "GET"+tail+"TE: trailers\r\nConnection: TE\r\n\r\n", "GET", "aabbcc", "transfer-encoding: chunked", 2)
	f("1.0", up, "GET / HTTP/1.0\r\n\r\n", "GET", "aabbcc", "", 0)
	f("head", head, "HEAD"+tail+"\r\n", "HEAD", "", "", 0)
	f("304", each("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n"), "GET"+tail+"\r\n", "GET", "", "", 0)
	f("204", each("HTTP/1.1 204 No Content\r\n\r\n"), "GET"+tail+"\r\n", "GET", "", "", 0)
}

// TestLayerOnHTTP2 is the same on HTTP/2, where trailers are everybody's.
func TestLayerOnHTTP2(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		r, c := start2(t, plain, secure, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/304":
				w.WriteHeader(304)
			case "/204":
				w.WriteHeader(204)
			default:
				w.Header().Set("Content-Length", "3")
				_, _ = w.Write([]byte("abc"))
			}
		}), layered())
		for _, v := range []struct{ method, path, body, trailer string }{
			{"GET", "/", "aabbcc", "yes"}, {"HEAD", "/", "", ""}, {"GET", "/304", "", ""}, {"GET", "/204", "", ""},
		} {
			answer, body := fetch(t, c, v.method, r.URL+v.path, "")
			if body != v.body || answer.ContentLength > 0 || v.trailer != "" && answer.Trailer.Get("X-End") != v.trailer || answer.Header.Get("Content-Length") != "" {
				t.Errorf("%s %s: %q %d %v %v", v.method, v.path, body, answer.ContentLength, answer.Header, answer.Trailer)
			}
		}
	})
}

// TestLayerOnTunnel: what follows a 101 is no body, and passes no layer.
func TestLayerOnTunnel(t *testing.T) {
	r := coretest.Start(t, plain, http.HandlerFunc(echo), layered())
	ws, _, err := websocket.Dial(context.Background(), r.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if err := ws.Write(context.Background(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, p, err := ws.Read(context.Background()); string(p) != "hello" || err != nil {
		t.Errorf("%q %v", p, err)
	}
}

// TestLayerWithTheWrongLength: what a layer promises and does not keep cuts the answer, and never goes beyond it.
func TestLayerWithTheWrongLength(t *testing.T) {
	for length, want := range map[int64]string{2: "aa", 6: "aabbcc", 9: ""} {
		ff := doubling()
		install := ff.response
		ff.response = func(x *exchange.Exchange, slot int, failed bool) (filter.Verdict, error) {
			defer func() { x.Response.Body.Length = length }()
			return install(x, slot, failed)
		}
		r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "abc") }), coretest.Options{
			Kinds: placedOn(map[string][]filter.Placed{"all": {{Name: "doubles", Filter: ff}}}),
		})
		c := r.Client()
		c.Send(get)
		_, body, err := coretest.ReadResponse(c.In, "GET")
		if want == "" && err == nil || want != "" && (err != nil || body != want) {
			t.Errorf("%d: %q %v", length, body, err)
		}
	}
}

// TestLayerOnRequests: a layer may change the length of a request's body, make one, and add trailer fields at its end; those
// that no client may send are left out whoever has set them.
func TestLayerOnRequests(t *testing.T) {
	hopsWith(t, func() []filter.Kind {
		return placedOn(map[string][]filter.Placed{"all": {{Name: "adds", Filter: &slotted{request: func(x *exchange.Exchange, _ int) (filter.Verdict, error) {
			x.Guarded = []string{"x-secret"}
			l := &layer{}
			l.f = func(p []byte) ([]byte, error) {
				if l.err == io.EOF {
					x.Request.Trailer.Set("x-sum", []byte("5"))
					x.Request.Trailer.Set("x-secret", []byte("5"))
					return append(bytes.Clone(p), "."...), nil
				}
				return bytes.ToUpper(p), nil
			}
			x.Request.Body.Through(&l.under, l, -1)
			return filter.Continue, nil
		}}}}})
	}, func(t *testing.T, _ *coretest.Rig, client, upstream hop, _ [2]int) {
		client.head("POST", false)
		client.data("a")
		expect(t, "upstream", upstream, "head POST", "data A")
		client.end()
		expect(t, "upstream", upstream, "data .", "trailers x-sum=5")
		upstream.head("204", true)
		expect(t, "client", client, "head 204")
	})
	// Of a body whose length was known, and of none.
	for _, body := range []string{"", "abc", strings.Repeat("x", 100<<10)} {
		ff := &slotted{request: func(x *exchange.Exchange, _ int) (filter.Verdict, error) {
			l := &layer{}
			l.f = func(p []byte) ([]byte, error) {
				if l.err == io.EOF {
					x.Request.Trailer.Set("x-sum", []byte("5"))
				}
				return bytes.ToUpper(p), nil
			}
			x.Request.Body.Through(&l.under, l, -1)
			return filter.Continue, nil
		}}
		r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%t %v %s %d", string(b) == strings.ToUpper(body), err, r.Trailer.Get("X-Sum"), r.ContentLength)
		}), coretest.Options{Kinds: placedOn(map[string][]filter.Placed{"all": {{Name: "adds", Filter: ff}}})})
		c := r.Client()
		for range 2 {
			c.Send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
			if answer, got := c.Answer("POST"); got != "true <nil> 5 -1" || answer.Close {
				t.Errorf("%d: %s %t", len(body), got, answer.Close)
			}
		}
	}
}

// TestLayerIsNotDrained: what nobody wanted of a request's body never passes a filter's layer once the exchange is over.
func TestLayerIsNotDrained(t *testing.T) {
	hopsWith(t, func() []filter.Kind {
		return placedOn(map[string][]filter.Placed{"all": {{Name: "answers", Filter: &slotted{request: func(x *exchange.Exchange, slot int) (filter.Verdict, error) {
			l := &layer{f: func([]byte) ([]byte, error) { panic("a layer is pulled") }, whole: true}
			x.Request.Body.Through(&l.under, l, x.Request.Body.Length)
			x.Response.Status = 418
			return filter.Respond, nil
		}}}}})
	}, func(t *testing.T, r *coretest.Rig, client, _ hop, _ [2]int) {
		client.head("POST", false)
		client.data("abc")
		client.end()
		expect(t, "client", client, "head 418")
		if strings.Contains(r.Log.String(), "panic") {
			t.Error(r.Log.String())
		}
	})
}

// TestLayerOfAFilterThatFails: a guest that fails in the middle of an upload ends the exchange as ever, and nobody is asked twice.
func TestLayerOfAFilterThatFails(t *testing.T) {
	hopsWith(t, func() []filter.Kind {
		return placedOn(map[string][]filter.Placed{"all": {{Name: "fails", Filter: &slotted{request: func(x *exchange.Exchange, _ int) (filter.Verdict, error) {
			l := &layer{f: func(p []byte) ([]byte, error) {
				if bytes.ContainsRune(p, '!') {
					return nil, fault.New(fault.GuestFailed, "trap")
				}
				return p, nil
			}}
			x.Request.Body.Through(&l.under, l, -1)
			return filter.Continue, nil
		}}}}})
	}, func(t *testing.T, r *coretest.Rig, client, upstream hop, _ [2]int) {
		client.head("POST", false)
		client.data("a")
		expect(t, "upstream", upstream, "head POST", "data a")
		client.data("!")
		expect(t, "client", client, "head 503")
		wantRecord(t, r, fault.GuestFailed, "")
		wantNoFailure(t, r)
	})
}

// TestFailureOfAnother: a filter that may fail buffers an answer that another one breaks. Nobody has been sent anything by then,
// and so the client is told, whatever may be forgiven.
func TestFailureOfAnother(t *testing.T) {
	breaks := &slotted{response: func(x *exchange.Exchange, _ int, failed bool) (filter.Verdict, error) {
		if failed {
			return filter.Continue, nil
		}
		l := &layer{f: func([]byte) ([]byte, error) { return nil, fault.New(fault.GuestFailed, "trap") }}
		x.Response.Body.Through(&l.under, l, x.Response.Body.Length)
		return filter.Continue, nil
	}}
	buffers := &slotted{response: func(x *exchange.Exchange, _ int, _ bool) (filter.Verdict, error) {
		_, _, err := x.Response.Body.Buffer(1<<10, make([]byte, 512))
		return filter.Continue, err
	}}
	r := coretest.Start(t, logged, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "abc") }), coretest.Options{
		Kinds: placedOn(map[string][]filter.Placed{"all": {{Name: "buffers", Filter: buffers, FailOpen: true}, {Name: "breaks", Filter: breaks}}}),
	})
	c := r.Client()
	for range 2 { // the connection is good for another
		c.Send(get)
		answer, body := c.Answer("GET")
		wantError(t, r, answer, body, fault.GuestFailed)
	}
}
