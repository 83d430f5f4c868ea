package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/coretest"
)

const capped = `
version: 1
access_log: {output: "off"}
listeners: [{address: "127.0.0.1:@PORT@"}]
guards: {header_bytes: 16KiB}
upstreams: {origin: {endpoints: ["http://@ORIGIN@"]}}
routes:
  - {name: capped, match: {path: /capped}, auth: none, upstream: origin, body_bytes: 20000B}
  - {name: all, match: {path: /*}, auth: none, upstream: origin}
`

// TestLimits: what is as large as it may be passes, and with one byte or field more it does not.
func TestLimits(t *testing.T) {
	s := before(t, capped, nil)
	f := func(in string, status int, forward ...string) {
		t.Helper()
		k := kase{in: in, forward: forward, refuse: status > 0, mayStay: true}
		if r := s.play(&k); r.verdict != fine || r.status != status {
			t.Errorf("%.40q: %s %s, status %d", in, r.verdict, r.reason, r.status)
		}
	}
	fields := func(n int) string { return get(strings.Repeat("A: b\r\n", n-1)) }
	f(fields(100), 0, plain)
	f(fields(101), 431)
	head := func(n int) string { return get("X: " + strings.Repeat("a", n-len(get("X: \r\n"))) + "\r\n") }
	f(head(16<<10), 0, plain)
	f(head(16<<10+1), 431)
	target := func(n int) string { return "/" + strings.Repeat("a", n-1) }
	f(to(target(8<<10)), 0, "GET "+target(8<<10)+" @a.example")
	f(to(target(8<<10+1)), 414)
}

// TestBodyCap: a body over the route's cap is answered 413 however it is framed and however it comes; the upstream sees no
// more of it than the cap, and never a complete message. After a request that promises too much nothing reaches it at all.
func TestBodyCap(t *testing.T) {
	s := before(t, capped, nil)
	const most = 20000
	n := 0
	send := func(head string, pieces []string) (m message, seen int, wholes int) {
		t.Helper()
		n++
		target := fmt.Sprintf("/capped?%d", n)
		c, err := dial(s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.send("POST " + target + " HTTP/1.1\r\n" + host + head + "\r\n")
		for _, p := range pieces {
			c.send(p)
		}
		m, how := c.answer("POST", s.patience)
		if how != complete {
			t.Fatalf("%q: %v", head, how)
		}
		coretest.Eventually(t, "the upstream has all that will come", func() bool {
			open := 0
			for _, a := range s.origin.take() {
				if a.target != target {
					continue
				}
				seen = max(seen, len(a.body))
				switch {
				case a.state == whole:
					wholes++
				case !a.gone:
					open++
				}
			}
			return open == 0
		})
		return m, seen, wholes
	}
	whole := strings.Repeat("b", most)
	chunk := func(n int) string { return fmt.Sprintf("%x\r\n%s\r\n", n, strings.Repeat("b", n)) }
	for _, c := range []struct {
		name, head string
		pieces     []string
		status     int
	}{
		{"fixed, as large as it may be", fmt.Sprintf("Content-Length: %d\r\n", most), []string{whole}, 200},
		{"chunked, as large as it may be", "Transfer-Encoding: chunked\r\n", []string{chunk(most), "0\r\n\r\n"}, 200},
		{"chunked, as large as it may be, in pieces", "Transfer-Encoding: chunked\r\n", append(repeat(chunk(100), most/100), "0\r\n\r\n"), 200},
		{"fixed, a byte more", fmt.Sprintf("Content-Length: %d\r\n", most+1), []string{whole, "b"}, 413},
		{"fixed, without end", "Content-Length: 9223372036854775807\r\n", []string{whole}, 413},
		{"chunked, a byte more", "Transfer-Encoding: chunked\r\n", []string{chunk(most + 1), "0\r\n\r\n"}, 413},
		{"chunked, a byte more, last", "Transfer-Encoding: chunked\r\n", []string{chunk(most), chunk(1), "0\r\n\r\n"}, 413},
		{"chunked, in pieces without end", "Transfer-Encoding: chunked\r\n", repeat(chunk(1000), 50), 413},
		{"expected", fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n", most+1), nil, 413},
	} {
		m, seen, wholes := send(c.head, c.pieces)
		if m.status != c.status || (c.status == 200) != (wholes == 1) || seen > most || strings.Contains(c.head, "Content-Length") && c.status == 413 && seen > 0 {
			t.Errorf("%s: %d, upstream saw %d bytes, %d complete", c.name, m.status, seen, wholes)
		}
		if c.status == 413 && !m.close && !strings.HasSuffix(strings.Join(c.pieces, ""), "0\r\n\r\n") {
			t.Errorf("%s: the connection stays open behind a body that was not read", c.name)
		}
	}
}

func repeat(s string, n int) (all []string) {
	for range n {
		all = append(all, s)
	}
	return all
}

// TestOptions plays what the guards' options on bare LF and on slashes change.
func TestOptions(t *testing.T) {
	f := func(name string, change func(*config.Guards), all ...kase) {
		t.Helper()
		s := before(t, capped, func(spec *config.Spec) { change(&spec.Guards) })
		for _, k := range all {
			if r := s.play(&k); r.verdict != fine || k.refuse && r.status != k.status {
				t.Errorf("%s, %s: %s %s, status %d", name, k.name, r.verdict, r.reason, r.status)
			}
		}
	}
	bare := strings.ReplaceAll(get("X: y\r\n"), "\r\n", "\n")
	f("lenient_lf", func(g *config.Guards) { g.LenientLF = true },
		kase{name: "everywhere", in: bare, forward: []string{plain}, has: []string{"\r\nx: y\r\n"}, not: []string{"y\n\n"}},
		kase{name: "the connection ends", in: bare + smug, forward: []string{plain}, never: []string{"smuggled"}},
		kase{name: "here and there", in: "GET /x HTTP/1.1\n" + host + "X: y\n\r\n", forward: []string{plain}},
		kase{name: "in two parts", pieces: []string{bare[:len(bare)-1]}, in: "\n", forward: []string{plain}},
		yes("", "before a body", "POST /x HTTP/1.1\nHost: a.example\nContent-Length: 5\n\nhello", "POST /x @a.example =hello"),
		no("", "not in chunks", chunked("5\nhello\r\n0\r\n\r\n"), 400),
		no("", "bare CR", strings.ReplaceAll(bare, "X: y", "X: y\rZ: z"), 400),
		no("", "folded", strings.ReplaceAll(bare, "X: y", "X: y\n z"), 400),
		yes("", "CRLF as ever", get(""), plain),
	)
	f("encoded_slash", func(g *config.Guards) { g.EncodedSlash = config.SlashRefuse },
		no("", "slash", to("/a%2fb"), 400),
		no("", "backslash", to("/a%5Cb"), 400),
		yes("", "in a query", to("/a?b=%2f"), "GET /a?b=%2f @a.example"),
	)
	f("double_slash", func(g *config.Guards) { g.DoubleSlash = config.SlashMerge },
		yes("", "two", to("//a//b"), "GET /a/b @a.example"),
		yes("", "before dots", to("/a//../b"), "GET /b @a.example"),
		yes("", "encoded ones stay", to("/a%2f%2fb"), "GET /a%2f%2fb @a.example"),
		yes("", "in a query", to("/a?b=//"), "GET /a?b=// @a.example"),
	)
	for _, c := range []struct {
		option string
		want   kase
	}{
		{config.UnderscoresRefuse, no("", "refused", get("X_Y: z\r\n"), 400)},
		{config.UnderscoresDrop, kase{name: "dropped", in: get("X_Y: z\r\n"), forward: []string{plain}, never: []string{"x_y"}}},
		{config.UnderscoresPass, kase{name: "passed", in: get("X_Y: z\r\nX_Forwarded_For: 6.6.6.6\r\nContent_Length: 5\r\n"), forward: []string{plain}, has: []string{"x_y: z"},
			never: []string{"6.6.6.6", "content_length"}}},
	} {
		f("underscores", func(g *config.Guards) { g.Underscores = c.option }, c.want)
	}
}
