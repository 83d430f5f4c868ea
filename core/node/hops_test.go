package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weirproxy/weir/core/coretest"
	"github.com/weirproxy/weir/core/filter"
)

// hop is a client or an upstream that speaks in bytes or in frames, with one message on its way at a time.
type hop interface {
	// head begins a message: first is a method or a status, the fields are name, value, …. last says that nothing follows.
	head(first string, last bool, fields ...string)
	data(text string)
	// end ends the message, with trailer fields if there are some.
	end(fields ...string)
	// next is what comes, in words: "head 200", "data x", "end", "trailers x-a=1", "closed", "broken", "reset CANCEL".
	next() string
}

// hop1 speaks HTTP/1.1.
type hop1 struct {
	c       *coretest.Client
	asks    bool
	chunked bool // what comes is
}

func (h *hop1) head(first string, last bool, fields ...string) {
	line := "HTTP/1.1 " + first + " Status\r\n"
	if first == "103" {
		line = "HTTP/1.1 103 Early Hints\r\n"
	}
	if h.asks {
		line = first + " / HTTP/1.1\r\nHost: a\r\n"
	}
	for i := 0; i+1 < len(fields); i += 2 {
		line += fields[i] + ": " + fields[i+1] + "\r\n"
	}
	switch {
	case !last:
		line += "Transfer-Encoding: chunked\r\n"
	case !h.asks && first[0] != '1':
		line += "Content-Length: 0\r\n"
	}
	h.c.Send(line + "\r\n")
}

func (h *hop1) data(text string) { h.c.Send(fmt.Sprintf("%x\r\n%s\r\n", len(text), text)) }

func (h *hop1) end(fields ...string) {
	line := "0\r\n"
	for i := 0; i+1 < len(fields); i += 2 {
		line += fields[i] + ": " + fields[i+1] + "\r\n"
	}
	h.c.Send(line + "\r\n")
}

func (h *hop1) next() string {
	if h.chunked {
		return h.chunk()
	}
	line, err := h.c.In.ReadString('\n')
	if err != nil {
		return gone(err)
	}
	first, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if strings.HasPrefix(first, "HTTP/") {
		first, _, _ = strings.Cut(rest, " ")
		if first == "103" && line != "HTTP/1.1 103 Early Hints\r\n" {
			return line
		}
	}
	fields, raw := h.section()
	h.chunked = strings.Contains(strings.ToLower(raw), "\r\ntransfer-encoding: chunked\r\n")
	return "head " + first + worth(fields)
}

func (h *hop1) chunk() string {
	line, err := h.c.In.ReadString('\n')
	if err != nil {
		return gone(err)
	}
	var n int
	if _, err := fmt.Sscanf(line, "%x\r\n", &n); err != nil {
		return "no chunk: " + line
	}
	if n == 0 {
		h.chunked = false
		if fields, _ := h.section(); len(fields) > 0 {
			return "trailers" + listed2(fields)
		}
		return "end"
	}
	b := make([]byte, n+2)
	if _, err := io.ReadFull(h.c.In, b); err != nil {
		return gone(err)
	}
	return "data " + string(b[:n])
}

// section reads fields to the empty line.
func (h *hop1) section() (fields []string, raw string) {
	for raw = "\r\n"; ; {
		line, err := h.c.In.ReadString('\n')
		raw += line
		if err != nil || line == "\r\n" {
			return fields, raw
		}
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		fields = append(fields, strings.ToLower(name)+"="+value)
	}
}

func gone(err error) string {
	if errors.Is(err, io.EOF) {
		return "closed"
	}
	return "broken"
}

// worth are those fields of a head that a test looks at.
func worth(fields []string) string {
	return listed2(slices.DeleteFunc(fields, func(f string) bool {
		name, _, _ := strings.Cut(f, "=")
		return name != "link" && name != "x-test" && name != "authorization"
	}))
}

func listed2(fields []string) string {
	slices.Sort(fields)
	return strings.TrimRight(" "+strings.Join(fields, " "), " ")
}

// hop2 speaks HTTP/2 with prior knowledge.
type hop2 struct {
	f     *http2.Framer
	asks  bool
	id    uint32
	began bool // the final head has come
	enc   *hpack.Encoder
	block bytes.Buffer
	then  []string // what comes next has come already
}

func newHop2(c *coretest.Client, asks bool) *hop2 {
	h := &hop2{f: http2.NewFramer(c.Conn, c.In), asks: asks}
	h.f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.enc = hpack.NewEncoder(&h.block)
	if asks {
		c.Send(http2.ClientPreface)
	} else if _, err := io.CopyN(io.Discard, c.In, int64(len(http2.ClientPreface))); err != nil {
		return nil
	}
	_ = h.f.WriteSettings()
	return h
}

func (h *hop2) fields(last bool, fields ...string) {
	h.block.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		_ = h.enc.WriteField(hpack.HeaderField{Name: strings.ToLower(fields[i]), Value: fields[i+1]})
	}
	_ = h.f.WriteHeaders(http2.HeadersFrameParam{StreamID: h.id, BlockFragment: h.block.Bytes(), EndHeaders: true, EndStream: last})
}

func (h *hop2) head(first string, last bool, fields ...string) {
	if !h.asks {
		h.fields(last && first[0] != '1', append([]string{":status", first}, fields...)...)
		return
	}
	if h.id += 2; h.id == 2 {
		h.id = 1
	}
	h.began = false
	h.fields(last, append([]string{":method", first, ":scheme", "http", ":path", "/", ":authority", "a"}, fields...)...)
}

func (h *hop2) data(text string) { _ = h.f.WriteData(h.id, false, []byte(text)) }

func (h *hop2) end(fields ...string) {
	if len(fields) == 0 {
		_ = h.f.WriteData(h.id, true, nil)
		return
	}
	h.fields(true, fields...)
}

func (h *hop2) next() string {
	for {
		if len(h.then) > 0 {
			s := h.then[0]
			h.then = h.then[1:]
			return s
		}
		fr, err := h.f.ReadFrame()
		if err != nil {
			return gone(err)
		}
		switch fr := fr.(type) {
		case *http2.SettingsFrame:
			if !fr.IsAck() {
				_ = h.f.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			h.then = append(h.then, h.headers(fr))
			if fr.StreamEnded() && strings.HasPrefix(h.then[0], "head") {
				h.then = append(h.then, "end")
			}
		case *http2.DataFrame:
			if len(fr.Data()) > 0 {
				h.then = append(h.then, "data "+string(fr.Data()))
			}
			if fr.StreamEnded() {
				h.then = append(h.then, "end")
			}
		case *http2.RSTStreamFrame:
			h.then = append(h.then, "reset "+fr.ErrCode.String())
		case *http2.GoAwayFrame:
			h.then = append(h.then, "goaway "+fr.ErrCode.String())
		}
	}
}

func (h *hop2) headers(fr *http2.MetaHeadersFrame) string {
	first := fr.PseudoValue("status")
	if !h.asks {
		first = fr.PseudoValue("method")
	}
	var fields []string
	for _, f := range fr.RegularFields() {
		fields = append(fields, f.Name+"="+f.Value)
	}
	if first == "" {
		return "trailers" + listed2(fields)
	}
	if !h.asks {
		h.id = fr.StreamID
	}
	return "head " + first + worth(fields)
}

// hops runs f for every pair of versions that weir stands between. The client and the upstream are f's to play, in turns:
// each waits for what the other has done.
func hops(t *testing.T, f func(t *testing.T, client, upstream hop, versions [2]int)) {
	hopsWith(t, nil, func(t *testing.T, _ *coretest.Rig, client, upstream hop, versions [2]int) {
		f(t, client, upstream, versions)
	})
}

// hopsWith is hops with filters on the way, which kinds makes anew for each rig.
func hopsWith(t *testing.T, kinds func() []filter.Kind, f func(t *testing.T, r *coretest.Rig, client, upstream hop, versions [2]int)) {
	for _, v := range [][2]int{{1, 1}, {1, 2}, {2, 1}, {2, 2}} {
		t.Run(fmt.Sprintf("h%d to h%d", v[0], v[1]), func(t *testing.T) {
			conns := make(chan *coretest.Client)
			stop := make(chan struct{})
			up := coretest.StartRaw(t, func(u *coretest.Client) {
				select {
				case conns <- u:
					<-stop
				case <-stop:
				}
			})
			yaml, o := plain, coretest.Options{Env: map[string]string{"UPSTREAM": up.Address()}}
			if kinds != nil {
				yaml, o.Kinds = counted, kinds()
			}
			yaml = strings.Replace(yaml, `"127.0.0.1:0"`, `"127.0.0.1:0", h2c: true`, 1)
			if v[1] == 2 {
				yaml = strings.Replace(yaml, `["http://${UPSTREAM}"]`, `["http://${UPSTREAM}"], protocol: h2`, 1)
			}
			r := coretest.Start(t, yaml, nil, o)
			t.Cleanup(func() { close(stop) })
			nc := r.Client()
			var client hop = &hop1{c: nc, asks: true}
			if v[0] == 2 {
				client = newHop2(nc, true)
			}
			f(t, r, client, &lateHop{conns: conns, version: v[1]}, v)
		})
	}
}

// lateHop is an upstream that is connected to when it is first listened to.
type lateHop struct {
	hop
	conns   chan *coretest.Client
	version int
}

func (h *lateHop) next() string {
	if h.hop != nil {
		return h.hop.next()
	}
	select {
	case u := <-h.conns:
		if h.hop = (&hop1{c: u}); h.version == 2 {
			h.hop = newHop2(u, false)
		}
		return h.hop.next()
	case <-time.After(10 * time.Second):
		return "nobody"
	}
}

// expect checks what comes, one by one.
func expect(t *testing.T, who string, h hop, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := h.next(); got != w {
			t.Fatalf("%s got %q, want %q", who, got, w)
		}
	}
}

// TestHints: a 103 is with the client before the upstream has said anything else, and is no part of the answer.
func TestHints(t *testing.T) {
	hops(t, func(t *testing.T, client, upstream hop, versions [2]int) {
		// A client of HTTP/2 may ask again before the connection to the upstream is free: it would be another one.
		for range 3 - versions[0] {
			client.head("GET", true)
			expect(t, "upstream", upstream, "head GET")
			if _, two := upstream.(*lateHop).hop.(*hop2); two {
				expect(t, "upstream", upstream, "end")
			}
			upstream.head("103", true, "Link", "</a>")
			expect(t, "client", client, "head 103 link=</a>")
			upstream.head("103", true, "Link", "</b>")
			expect(t, "client", client, "head 103 link=</b>")
			upstream.head("200", false, "X-Test", "1")
			expect(t, "client", client, "head 200 x-test=1")
			upstream.data("body")
			expect(t, "client", client, "data body")
			upstream.end()
			expect(t, "client", client, "end")
		}
	})
}

// TestHintsWhileUploading: the same while the request is on its way.
func TestHintsWhileUploading(t *testing.T) {
	hops(t, func(t *testing.T, client, upstream hop, _ [2]int) {
		client.head("POST", false)
		expect(t, "upstream", upstream, "head POST")
		upstream.head("103", true, "Link", "</a>")
		expect(t, "client", client, "head 103 link=</a>")
		client.data("a")
		expect(t, "upstream", upstream, "data a")
		upstream.head("103", true, "Link", "</b>")
		expect(t, "client", client, "head 103 link=</b>")
		client.end()
		expect(t, "upstream", upstream, "end")
		upstream.head("204", true)
		expect(t, "client", client, "head 204")
	})
}

// TestTrailersAcross: trailer fields go through both ways, announced or not, but for those that frame or authorise.
func TestTrailersAcross(t *testing.T) {
	for _, announce := range []bool{true, false} {
		// Each in a house of its own: a client of HTTP/2 may ask again before the connection to the upstream is free, so that the
		// second request would come over another.
		hops(t, func(t *testing.T, client, upstream hop, versions [2]int) {
			asked, answered := []string{"TE", "trailers"}, []string{"X-Test", "1"}
			if announce {
				asked, answered = append(asked, "Trailer", "x-sum, x-more"), append(answered, "Trailer", "x-end")
			}
			client.head("POST", false, asked...)
			expect(t, "upstream", upstream, "head POST")
			client.data("hi")
			expect(t, "upstream", upstream, "data hi")
			client.end("X-Sum", "1", "X-More", "2", "Authorization", "no", "Content-Length", "5")
			expect(t, "upstream", upstream, "trailers x-more=2 x-sum=1")
			upstream.head("200", false, answered...)
			upstream.data("ho")
			upstream.end("X-End", "3", "X-Quiet", "4", "Set-Cookie", "a=b")
			expect(t, "client", client, "head 200 x-test=1", "data ho", "trailers x-end=3 x-quiet=4")
			if versions[0] == 2 {
				return // every client of HTTP/2 takes them
			}
			client.head("POST", false)
			expect(t, "upstream", upstream, "head POST")
			client.end("X-Sum", "1")
			expect(t, "upstream", upstream, "trailers x-sum=1")
			upstream.head("200", false)
			upstream.end("X-End", "3")
			expect(t, "client", client, "head 200", "end") // one that does not say that it takes them is sent none
		})
	}
}

// TestBothWaysAtOnce: an answer that comes in the middle of the request does not end it.
func TestBothWaysAtOnce(t *testing.T) {
	hops(t, func(t *testing.T, client, upstream hop, _ [2]int) {
		client.head("POST", false)
		client.data("a")
		expect(t, "upstream", upstream, "head POST", "data a")
		upstream.head("200", false, "X-Test", "1")
		expect(t, "client", client, "head 200 x-test=1")
		upstream.data("b")
		expect(t, "client", client, "data b")
		client.data("c")
		expect(t, "upstream", upstream, "data c")
		upstream.data("d")
		expect(t, "client", client, "data d")
		client.end("X-Sum", "1")
		expect(t, "upstream", upstream, "trailers x-sum=1")
		upstream.end()
		expect(t, "client", client, "end")
	})
}

// TestEarlyAnswers: an upstream that has answered and wants no more of the request. The client has all of the answer at
// once, and is told that it can stop.
func TestEarlyAnswers(t *testing.T) {
	hops(t, func(t *testing.T, client, upstream hop, versions [2]int) {
		client.head("POST", false)
		client.data("a")
		expect(t, "upstream", upstream, "head POST", "data a")
		upstream.head("413", false)
		upstream.data("no")
		upstream.end()
		expect(t, "client", client, "head 413", "data no", "end")
		if versions[0] == 1 {
			expect(t, "client", client, "closed") // and not broken: that could cost it the answer
		} else {
			expect(t, "client", client, "reset NO_ERROR") // RFC 9113 §8.1
		}
		if versions[1] == 1 {
			if got := upstream.next(); got != "closed" && got != "broken" {
				t.Errorf("upstream got %q", got)
			}
		} else {
			expect(t, "upstream", upstream, "reset CANCEL")
		}
	})
}

// TestCutAnswers: an answer that ends too soon never looks whole.
func TestCutAnswers(t *testing.T) {
	hops(t, func(t *testing.T, client, upstream hop, versions [2]int) {
		client.head("GET", true)
		expect(t, "upstream", upstream, "head GET")
		upstream.head("200", false)
		upstream.data("a")
		expect(t, "client", client, "head 200", "data a")
		if u, ok := upstream.(*lateHop).hop.(*hop2); ok {
			_ = u.f.WriteRSTStream(u.id, http2.ErrCodeInternal)
		} else {
			_ = upstream.(*lateHop).hop.(*hop1).c.Conn.(*net.TCPConn).CloseWrite()
		}
		got := client.next()
		if versions[0] == 2 && !strings.HasPrefix(got, "reset ") || versions[0] == 1 && got != "broken" && got != "closed" {
			t.Errorf("client got %q", got)
		}
	})
}
