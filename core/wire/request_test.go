package wire

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/exchange"
	"github.com/weirproxy/weir/core/fault"
)

func TestRequestCorpus(t *testing.T) {
	corpus := append(messages[:len(messages):len(messages)], targets...)
	if len(corpus) < 150 {
		t.Fatalf("%d requests", len(corpus))
	}
	seen := map[string]bool{}
	for _, c := range corpus {
		if seen[c.name] {
			t.Errorf("two requests are called %q", c.name)
		}
		seen[c.name] = true
		if got := parseShow(c.in, false, &Defaults); got != c.want {
			t.Errorf("%s\n%q\n got %s\nwant %s", c.name, c.in, got, c.want)
		}
	}
}

func TestRequestLimits(t *testing.T) {
	f := func(lim Limits, secure bool, in, want string) {
		t.Helper()
		if got := parseShow(in, secure, &lim); got != want {
			t.Errorf("%.80q\n got %.200s\nwant %.200s", in, got, want)
		}
	}
	lim := Limits{Fields: 3, Target: 10}
	// The target is as long as it may be, and longer.
	f(lim, false, to("/234567890"), "GET /234567890 @a")
	f(lim, false, to("/2345678901"), "target_too_long")
	// Every line counts, also one that is dropped or used up: Host is the first.
	f(lim, false, get("A: 1\r\nB: 2\r\n"), plainGET+" {A: 1, B: 2}")
	f(lim, false, get("A: 1\r\nB: 2\r\nC: 3\r\n"), "header_too_large")
	f(lim, false, get("A_: 1\r\nB_: 2\r\nC_: 3\r\n"), "header_too_large")
	f(lim, false, get("TE: 1\r\nTE: 2\r\nTE: 3\r\n"), "header_too_large")
	f(lim, false, get("Content-Length: 0\r\nContent-Length: 0\r\nContent-Length: 0\r\n"), "header_too_large")
	f(Defaults, false, get(strings.Repeat("A: b\r\n", 100)), "header_too_large")
	// Underscores.
	refuse, pass := Defaults, Defaults
	refuse.Underscores, pass.Underscores = RefuseUnderscores, PassUnderscores
	f(refuse, false, get("A_b: 1\r\n"), bad)
	f(refuse, false, get("A-b: 1_2\r\n"), plainGET+" {A-b: 1_2}")
	f(pass, false, get("Content_Length: 5\r\n"), plainGET+" {Content_Length: 5}")
	// The scheme of the absolute form is the listener's.
	f(Defaults, true, to("https://a:443/b"), "GET /b @a:443")
	f(Defaults, true, to("https://a:80/b"), bad)
	f(Defaults, true, to("http://a/b"), bad)
}

// TestLenientLF: a bare LF ends a line where the option says so, what is made of the head is canonical, and the connection
// is not used again. Nothing else is forgiven.
func TestLenientLF(t *testing.T) {
	lenient := Defaults
	lenient.LenientLF = true
	f := func(in, want string) {
		t.Helper()
		if got := parseShow(in, false, &lenient); got != want {
			t.Errorf("%q\n got %s\nwant %s", in, got, want)
		}
	}
	const want = plainGET + " close {X: b}"
	f("GET / HTTP/1.1\nHost: a\nX: b\n\n", want)
	f("GET / HTTP/1.1\nHost: a\r\nX: b\r\n\r\n", want)
	f("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", want)
	f("GET / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n", want)
	f("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\n", want)
	f("GET / HTTP/1.1\nHost: a\nX: b\n\nGET /next HTTP/1.1\r\n\r\n", want)
	f("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\r\n", plainGET+" {X: b}")
	f("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n", "POST / @a chunked close")
	f("GET / HTTP/1.1\nHost: a\n", "more")
	f("GET / HTTP/1.1\nHost: a\n\r", "more")
	f("GET / HTTP/1.1\nHost: a\rX: b\n\n", bad)
	f("GET / HTTP/1.1\nHost: a\r\r\n\n", bad)
	f("GET / HTTP/1.1\nHost: a\n X: b\n\n", bad)
	f("GET / HTTP/1.1\nHost: a\nX: b\x00\n\n", bad)
	f("\n", "more")
	f("\n\n", bad)
	// The end is found wherever the search goes on.
	for _, in := range []string{"GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\nHost: a\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"} {
		for from := range len(in) {
			if n, err := lenient.HeadEnd([]byte(in+"x\n\n"), from); n != len(in) || err != nil {
				t.Errorf("%q from %d: %d %v", in, from, n, err)
			}
			if n, _ := lenient.HeadEnd([]byte(in)[:from], from/2); n != 0 {
				t.Errorf("%q ends at %d", in[:from], n)
			}
		}
	}
	// What is accepted without the option means the same with it.
	for _, c := range append(messages[:len(messages):len(messages)], targets...) {
		if c.want != bad {
			f(c.in, c.want)
		}
	}
}

// TestSlashes: what the options on slashes refuse and merge, and that they change nothing else.
func TestSlashes(t *testing.T) {
	refuse, merge := Defaults, Defaults
	refuse.RefuseSlashes, merge.MergeSlashes = true, true
	f := func(lim Limits, target, want string) {
		t.Helper()
		if want != bad {
			want = "GET " + want + " @a"
		}
		if got := parseShow(to(target), false, &lim); got != want {
			t.Errorf("%q\n got %s\nwant %s", target, got, want)
		}
	}
	f(refuse, "/a%2fb", bad)
	f(refuse, "/a%2Fb", bad)
	f(refuse, "/a%5cb", bad)
	f(refuse, "/%2f", bad)
	f(refuse, "/a?b=%2f%5C", "/a?b=%2f%5C")
	f(refuse, "/a//b/%41", "/a//b/A")
	f(merge, "//a///b//", "/a/b/")
	f(merge, "//", "/")
	f(merge, "////?//", "/?//")
	f(merge, "/a//../b", "/b")
	f(merge, "/a//..//b", "/b")
	f(merge, "/a/%2e//b", "/a/b")
	f(merge, "/a/b", "/a/b")
	f(merge, "/a%2f/b%2f%2fc", "/a%2f/b%2f%2fc")
	f(merge, "http://a//b", "/b")
	f(merge, "/a//b?c//d", "/a/b?c//d")
	for _, lim := range []Limits{refuse, merge} { // no option changes what has no such slashes
		for _, c := range targets {
			if !strings.Contains(c.in, "//") && !strings.Contains(strings.ToLower(c.in), "%2f") && !strings.Contains(strings.ToLower(c.in), "%5c") {
				if got := parseShow(c.in, false, &lim); got != c.want {
					t.Errorf("%s: %s, want %s", c.name, got, c.want)
				}
			}
		}
	}
}

// parseShow gives the corpus' text of what in means.
func parseShow(in string, secure bool, lim *Limits) string {
	end, err := lim.HeadEnd([]byte(in), 0)
	if err == nil && end == 0 {
		return "more"
	}
	x := exchange.Acquire()
	defer exchange.Release(x)
	var f Framing
	if err == nil {
		f, err = ParseRequest([]byte(in)[:end:end], secure, lim, &x.Request)
	}
	if err != nil {
		return fault.KindOf(err).String()
	}
	return show(&x.Request, f)
}

func show(r *exchange.Request, f Framing) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s @%s", r.Method, r.Target, r.Host)
	whole := string(r.Path)
	if i := bytes.IndexByte(r.Target, '?'); i >= 0 {
		whole += "?" + string(r.Query)
	} else if len(r.Query) > 0 {
		whole += " with a query that is not in the target"
	}
	if whole != string(r.Target) {
		fmt.Fprintf(&b, " but path and query are %q", whole)
	}
	if r.Close != f.Close {
		b.WriteString(" but closes differ")
	}
	say := func(when bool, what string) {
		if when {
			b.WriteString(" " + what)
		}
	}
	say(r.Version == exchange.HTTP10, "1.0")
	say(f.Mode == FixedBody, fmt.Sprintf("fixed=%d", f.Length))
	say(f.Mode == ChunkedBody, "chunked")
	say(f.Mode == CloseBody, "until close")
	say(f.Close, "close")
	say(r.Expect, "expect")
	say(r.Upgrade, "upgrade")
	say(r.Trailers, "trailers")
	say(r.Header.Len() > 0, "{"+showFields(&r.Header)+"}")
	return b.String()
}

func showFields(h *exchange.Header) string {
	var all []string
	for i := range h.Len() {
		all = append(all, string(h.At(i).Name)+": "+string(h.At(i).Value))
	}
	return strings.Join(all, ", ")
}
