package node_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
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
	"github.com/weirproxy/weir/core/filter"
)

// http2Client speaks HTTP/2 to a rig, over TLS or with prior knowledge, on one connection.
func http2Client(t testing.TB, r *coretest.Rig, secure bool) *http.Client {
	tr := &http.Transport{
		DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: &http.Protocols{},
		HTTP2:       &http.HTTP2Config{StrictMaxConcurrentRequests: true},
		DialContext: (&net.Dialer{}).DialContext,
	}
	tr.Protocols.SetHTTP2(secure)
	tr.Protocols.SetUnencryptedHTTP2(!secure)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// start2 starts a rig that speaks HTTP/2 over TLS, or with prior knowledge.
func start2(t testing.TB, yaml string, secure bool, handler http.Handler, o coretest.Options) (*coretest.Rig, *http.Client) {
	t.Helper()
	listener, scheme := `"127.0.0.1:0", h2c: true`, "http://"
	if secure {
		o.Files = map[string]string{}
		o.Files["a.crt"], o.Files["a.key"] = certificate(t, "a.example")
		listener, scheme = `"127.0.0.1:0", tls: {certificates: [{cert: a.crt, key: a.key}]}`, "https://"
	}
	r := coretest.Start(t, strings.Replace(yaml, `"127.0.0.1:0"`, listener, 1), handler, o)
	r.URL = scheme + r.Address
	return r, http2Client(t, r, secure)
}

// both runs f over TLS and with prior knowledge.
func both(t *testing.T, f func(t *testing.T, secure bool)) {
	t.Run("tls", func(t *testing.T) { f(t, true) })
	t.Run("h2c", func(t *testing.T) { f(t, false) })
}

func fetch(t testing.TB, c *http.Client, method, url, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(b)
}

func TestHTTP2(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		r, c := start2(t, logged, secure, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Proto", r.Header.Get("X-Forwarded-Proto")+" "+r.Proto)
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.Copy(w, r.Body)
		}), coretest.Options{})
		proto := map[bool]string{true: "https HTTP/1.1", false: "http HTTP/1.1"}[secure]
		for _, body := range []string{"", "hello", strings.Repeat("0123456789abcdef", 64<<10)} {
			for _, method := range []string{"GET", "POST", "PUT"} {
				if method == "GET" && body != "" {
					continue
				}
				answer, got := fetch(t, c, method, r.URL+"/a?b=c", body)
				if answer.ProtoMajor != 2 || answer.StatusCode != 200 || got != body || answer.Header.Get("X-Proto") != proto {
					t.Fatalf("%s %d bytes: %s %d, %d bytes, %v", method, len(body), answer.Proto, answer.StatusCode, len(got), answer.Header)
				}
			}
		}
		if answer, body := fetch(t, c, "HEAD", r.URL, ""); answer.StatusCode != 200 || body != "" {
			t.Errorf("%d %q", answer.StatusCode, body)
		}
		wantLine(t, r, `"method":"PUT"`)
		// The listener speaks HTTP/1.1 as well.
		if !secure {
			k := r.Client()
			k.Send(get)
			if answer, _ := k.Answer("GET"); answer.StatusCode != 200 {
				t.Error(answer.Status)
			}
		}
	})
}

// Prior knowledge is a question of the listener.
func TestHTTP2IsNotSpokenUnasked(t *testing.T) {
	r := coretest.Start(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{})
	c := r.Client()
	c.Send(http2.ClientPreface)
	if answer, _ := c.Answer("GET"); answer.StatusCode != 400 {
		t.Error(answer.Status)
	}
}

func TestHTTP2HintsAndTrailers(t *testing.T) {
	ff := &fake{response: func(x *exchange.Exchange, _ bool) (filter.Verdict, error) {
		status := x.Response.Status
		x.Response.Status = 103
		err := x.Down.Inform(x)
		x.Response.Status = status
		return filter.Continue, err
	}}
	r, c := start2(t, plain, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-End")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-End", r.Trailer.Get("X-Sum"))
	}), coretest.Options{Kinds: ff.kinds(false)})
	var hints atomic.Int64
	req, _ := http.NewRequest("POST", r.URL, io.NopCloser(strings.NewReader("x")))
	req.Trailer = http.Header{"X-Sum": {"42"}}
	req = req.WithContext(httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { hints.Add(int64(code)); return nil },
	}))
	answer, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if string(body) != "body" || err != nil || answer.Trailer.Get("X-End") != "42" || hints.Load() != 103 {
		t.Errorf("%q %v, trailer %v, hints %d", body, err, answer.Trailer, hints.Load())
	}
}

func TestHTTP2EarlyAnswer(t *testing.T) {
	up := coretest.StartRaw(t, func(u *coretest.Client) {
		u.Head()
		u.Send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno\n")
		_, _ = u.Rest()
	})
	r, c := start2(t, plain, true, nil, coretest.Options{Env: map[string]string{"UPSTREAM": up.Address()}})
	pr, pw := io.Pipe()
	defer pw.Close()
	go func() { _, _ = pw.Write([]byte("first")) }()
	req, _ := http.NewRequest("POST", r.URL, pr)
	answer, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(answer.Body); answer.StatusCode != 413 || string(body) != "no\n" || err != nil {
		t.Errorf("%d %q %v", answer.StatusCode, body, err)
	}
	if answer, _ := fetch(t, c, "GET", r.URL, ""); answer.StatusCode != 413 { // the connection lives on
		t.Error(answer.Status)
	}
}

// TestHTTP2ClientGoes: a stream that is reset, and a connection that is gone, end the upstream's work at once.
func TestHTTP2ClientGoes(t *testing.T) {
	var waiting atomic.Int64
	r, c := start2(t, logged, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/quick" {
			return
		}
		if r.URL.Path == "/stream" {
			_ = http.NewResponseController(w).Flush()
		}
		waiting.Add(1)
		defer waiting.Add(-1)
		<-r.Context().Done()
	}), coretest.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	const n = 20
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, "GET", r.URL+[]string{"/wait", "/stream"}[i%2], nil)
			if answer, err := c.Do(req); err == nil {
				_, _ = io.ReadAll(answer.Body)
				answer.Body.Close()
			}
		})
	}
	coretest.Eventually(t, "all wait", func() bool { return waiting.Load() == n })
	began := time.Now()
	cancel()
	coretest.Eventually(t, "none waits", func() bool { return waiting.Load() == 0 })
	if took := time.Since(began); took > time.Second {
		t.Errorf("upstreams worked on for %s", took)
	}
	wg.Wait()
	wantRecord(t, r, fault.ClientGone, "")
	if answer, _ := fetch(t, c, "GET", r.URL+"/quick", ""); answer.StatusCode != 200 {
		t.Error(answer.Status)
	}
}

func TestHTTP2Events(t *testing.T) {
	next := make(chan string)
	r, c := start2(t, numbered(0), true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		for e := range next {
			fmt.Fprintf(w, "data: %s\n", e)
			_ = http.NewResponseController(w).Flush()
		}
	}), coretest.Options{})
	answer, err := c.Get(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	in := bufio.NewReader(answer.Body)
	listener := strings.Replace(numbered(1), `"127.0.0.1:0"`, `"127.0.0.1:0", tls: {certificates: [{cert: a.crt, key: a.key}]}`, 1)
	for i := range 5 {
		next <- fmt.Sprint(i)
		if line, err := in.ReadString('\n'); line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("%q %v", line, err)
		}
		own := r.Node.Plan()
		mustReload(t, r, listener)
		<-own.Closed() // in the middle of the stream, which keeps nothing of it
	}
	close(next)
	if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
		t.Errorf("%q %v", rest, err)
	}
}

// TestHTTP2Pipeline: streams pass filters and limits as every request does, and a reload takes effect from the next on.
func TestHTTP2Pipeline(t *testing.T) {
	ff := &fake{request: func(x *exchange.Exchange) (filter.Verdict, error) {
		x.Request.Header.Set("x-filter", []byte("ran"))
		if string(x.Request.Path) == "/panic" {
			panic("on purpose")
		}
		return filter.Continue, nil
	}}
	yaml := strings.Replace(logged, "upstream: api}", "upstream: api, limits: [{name: few, key: ip, rate: 5/h}]}", 1)
	r, c := start2(t, yaml, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Filter"))
	}), coretest.Options{Kinds: ff.kinds(false)})
	for range 4 {
		if answer, body := fetch(t, c, "GET", r.URL, ""); answer.StatusCode != 200 || body != "ran" {
			t.Fatalf("%d %q", answer.StatusCode, body)
		}
	}
	if answer, _ := fetch(t, c, "GET", r.URL+"/panic", ""); answer.StatusCode != 500 {
		t.Error(answer.Status)
	}
	answer, body := fetch(t, c, "GET", r.URL, "")
	wantError(t, r, answer, body, fault.LimitExceeded)
	own := r.Node.Plan()
	mustReload(t, r, strings.Replace(strings.Replace(yaml, "few, key: ip, rate: 5/h", "many, key: ip, rate: 500/h", 1),
		`"127.0.0.1:0"`, `"127.0.0.1:0", tls: {certificates: [{cert: a.crt, key: a.key}]}`, 1))
	<-own.Closed()
	if answer, body := fetch(t, c, "GET", r.URL, ""); answer.StatusCode != 200 || body != "ran" {
		t.Fatalf("%d %q", answer.StatusCode, body)
	}
	if open := r.Node.Plan(); open == own {
		t.Error("the old plan")
	}
	if m := string(r.Node.Metrics()); !strings.Contains(m, `weir_connections{listener="all",state="open"} 1`) {
		t.Error(grep(m, "weir_connections"))
	}
}

// TestHTTP2Timeout: the client is told of a route's timeout, of one stream and not of the others.
func TestHTTP2Timeout(t *testing.T) {
	r, c := start2(t, timed("500ms"), true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			_ = http.NewResponseController(w).Flush()
		}
		if r.URL.Path != "/quick" {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}
	}), coretest.Options{})
	fetch(t, c, "GET", r.URL+"/quick", "")
	answer, body := fetch(t, c, "GET", r.URL+"/wait", "")
	wantError(t, r, answer, body, fault.ExchangeTimeout)
	pr, pw := io.Pipe()
	defer pw.Close()
	req, _ := http.NewRequest("POST", r.URL+"/wait", pr)
	if answer, err := c.Do(req); err != nil || answer.StatusCode != 504 {
		t.Error(answer, err)
	}
	answer, err := c.Get(r.URL + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(answer.Body); err == nil {
		t.Error("a proper end")
	}
	fetch(t, c, "GET", r.URL+"/quick", "")
	if open := r.Node.Metrics(); !bytes.Contains(open, []byte(`weir_connections{listener="all",state="open"} 1`)) {
		t.Error(grep(string(open), "weir_connections"))
	}
}

// TestHTTP2Drain: streams under way end, new ones go elsewhere, and nobody sees an error.
func TestHTTP2Drain(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		hold := make(chan struct{})
		var waiting atomic.Int64
		r, c := start2(t, logged, secure, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			waiting.Add(1)
			<-hold
			_, _ = io.WriteString(w, "whole")
		}), coretest.Options{})
		idle := http2Client(t, r, secure)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				answer, err := c.Get(r.URL)
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := io.ReadAll(answer.Body); string(b) != "whole" || err != nil {
					t.Errorf("%q %v", b, err)
				}
			})
		}
		coretest.Eventually(t, "all wait", func() bool { return waiting.Load() == 100 })
		wg.Go(func() {
			if answer, err := idle.Get(r.URL); err == nil {
				_, _ = io.ReadAll(answer.Body)
			}
		})
		coretest.Eventually(t, "one more waits", func() bool { return waiting.Load() == 101 })
		drained := make(chan int)
		go func() { drained <- r.Node.Drain() }()
		coretest.Eventually(t, "draining", func() bool {
			nc, err := net.Dial("tcp", r.Address)
			if err == nil {
				nc.Close()
			}
			return err != nil
		})
		close(hold)
		if cut := <-drained; cut != 0 {
			t.Errorf("%d cut", cut)
		}
		wg.Wait()
	})
}

func TestHTTP2IsCutAtTheEndOfDrain(t *testing.T) {
	yaml := strings.Replace(logged, "routes:", "timeouts: {drain: 300ms}\nroutes:", 1)
	begun := make(chan struct{})
	r, c := start2(t, yaml, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	}), coretest.Options{})
	ended := make(chan error)
	go func() {
		_, err := c.Get(r.URL)
		ended <- err
	}()
	<-begun
	if cut := r.Node.Drain(); cut != 1 {
		t.Errorf("%d cut", cut)
	}
	if err := <-ended; err == nil {
		t.Error("answered")
	}
	wantRecord(t, r, fault.Draining, "")
}

// TestHTTP2RequestsPerConnection: the connection ends in an orderly way, and the client goes on over another.
func TestHTTP2RequestsPerConnection(t *testing.T) {
	yaml := strings.Replace(plain, "routes:", "guards: {requests_per_connection: 10}\nroutes:", 1)
	var conns atomic.Int64
	r, c := start2(t, yaml, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}), coretest.Options{})
	tr := c.Transport.(*http.Transport)
	dial := tr.DialContext
	tr.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conns.Add(1)
		return dial(ctx, network, address)
	}
	for range 100 {
		if answer, _ := fetch(t, c, "GET", r.URL, ""); answer.StatusCode != 200 {
			t.Fatal(answer.Status)
		}
	}
	if n := conns.Load(); n < 5 || n > 13 {
		t.Errorf("%d connections for 100 requests", n)
	}
}

// TestHTTP2Hammer has many clients, many streams and reloads at once.
func TestHTTP2Hammer(t *testing.T) {
	r, _ := start2(t, numbered(0), true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}), coretest.Options{})
	var wg sync.WaitGroup
	body := strings.Repeat("0123456789", 3000)
	for range 4 {
		c := http2Client(t, r, true)
		for range 10 {
			wg.Go(func() {
				for range 20 {
					answer, err := c.Post(r.URL, "", strings.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					if got, err := io.ReadAll(answer.Body); string(got) != body || err != nil {
						t.Errorf("%d bytes, %v", len(got), err)
					}
					answer.Body.Close()
				}
			})
		}
	}
	for n := range 10 {
		mustReload(t, r, strings.Replace(numbered(n), `"127.0.0.1:0"`, `"127.0.0.1:0", tls: {certificates: [{cert: a.crt, key: a.key}]}`, 1))
	}
	wg.Wait()
}

// TestHTTP2Tunnel is a WebSocket over a stream (RFC 8441), which is told when the node drains.
func TestHTTP2Tunnel(t *testing.T) {
	r, _ := start2(t, logged, false, http.HandlerFunc(echo), coretest.Options{})
	nc, err := net.Dial("tcp", r.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(nc, http2.ClientPreface)
	fr := http2.NewFramer(nc, nc)
	_ = fr.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/ws"}, {"sec-websocket-version", "13"}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	dec := hpack.NewDecoder(4096, nil)
	var got []byte
	offered, status, ended := false, "", false
	next := func() {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if v, ok := f.Value(http2.SettingEnableConnectProtocol); ok && v == 1 {
				offered = true
			}
		case *http2.HeadersFrame:
			fields, _ := dec.DecodeFull(f.HeaderBlockFragment())
			status = fields[0].Value
		case *http2.DataFrame:
			got, ended = append(got, f.Data()...), f.StreamEnded()
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = fr.WritePing(true, f.Data)
			}
		}
	}
	for status == "" {
		next()
	}
	if !offered || status != "200" {
		t.Fatalf("offered %t, status %s", offered, status)
	}
	_ = fr.WriteData(1, false, []byte("\x81\x85\x00\x00\x00\x00hello"))
	for string(got) != "\x81\x05hello" {
		next()
	}
	if m := string(r.Node.Metrics()); !strings.Contains(m, `weir_connections{listener="all",state="tunnel"} 1`) {
		t.Error(grep(m, "weir_connections"))
	}
	// A request that is none is counted, and costs its own stream only.
	block.Reset()
	_ = enc.WriteField(hpack.HeaderField{Name: "X-Upper", Value: "1"})
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
	coretest.Eventually(t, "it is counted", func() bool {
		return strings.Contains(string(r.Node.Metrics()), `weir_http2_events_total{event="malformed"} 1`)
	})
	drained := make(chan int)
	go func() { drained <- r.Node.Drain() }()
	for string(got) != "\x81\x05hello"+goingAway {
		next()
	}
	_ = fr.WriteData(1, true, []byte("\x88\x82\x00\x00\x00\x00\x03\xe9"))
	for !ended {
		next()
	}
	if cut := <-drained; cut != 0 {
		t.Errorf("%d cut", cut)
	}
	wantLine(t, r, `"status_code":101`)
}

// TestSlashesInAllVersions: what the guards say of slashes holds for HTTP/2 as for HTTP/1.1.
func TestSlashesInAllVersions(t *testing.T) {
	yaml := strings.Replace(plain, "routes:", "guards: {encoded_slash: refuse, double_slash: merge}\nroutes:", 1)
	r, two := start2(t, yaml, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.RequestURI)
	}), coretest.Options{})
	for _, c := range []*http.Client{two, {Transport: http.DefaultTransport}} {
		if answer, body := fetch(t, c, "GET", r.URL+"/a//b///c?d//e", ""); answer.StatusCode != 200 || body != "/a/b/c?d//e" {
			t.Errorf("%s: %s %q", answer.Proto, answer.Status, body)
		}
		if answer, _ := fetch(t, c, "GET", r.URL+"/a%2Fb", ""); answer.StatusCode != 400 {
			t.Errorf("%s: %s", answer.Proto, answer.Status)
		}
	}
}
