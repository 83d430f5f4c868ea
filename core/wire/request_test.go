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

// parseShow gives the corpus' text of what in means.
func parseShow(in string, secure bool, lim *Limits) string {
	end, err := HeadEnd([]byte(in), 0)
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
