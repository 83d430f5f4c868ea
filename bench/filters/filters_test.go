package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

// TestByHand measures the guests that need no compiler, for an instant, and reads the report.
func TestByHand(t *testing.T) {
	s, err := openStand()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	tag := module{name: "by hand", code: tagHTTP()}
	h, err := s.headers(&guests{http: []module{tag}, proxy: []module{{name: "by hand", code: tagProxy()}}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.pair(real{module: tag, asks: simple, field: "x-tag"})
	if err != nil {
		t.Fatal(err)
	}
	all := append(h.turns(), turnsOf([]*pair{p})...)
	if err := measure(all, options{rounds: 3, slice: time.Millisecond}, io.Discard); err != nil {
		t.Fatal(err)
	}
	text := report(h, []*pair{p}, []string{"Rust: no compiler"})
	for _, want := range []string{"\nLeft out: Rust: no compiler.\n", "\n| http-wasm | by hand | ", "\n| Proxy-Wasm | 5 | ", "\n| by hand | "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if lines := strings.Count(string(raw(all)), "\n"); lines != len(all) {
		t.Errorf("%d lines of %d turns", lines, len(all))
	}
	if _, err := s.pair(real{module: tag, asks: simple, field: "x-other"}); err == nil {
		t.Error("a filter that does not do its work is measured")
	}
}

func TestSpread(t *testing.T) {
	f := func(s series, digits int, want string) {
		t.Helper()
		if have := spread(s, digits); have != want {
			t.Errorf("have %s, want %s", have, want)
		}
	}
	f(series{3}, 0, "3 (3–3)")
	f(series{4, 1, 3, 2}, 2, "2.50 (1.75–3.25)")
	f(series{1234567, -1234, 999}, 0, "999 (-118–617,783)")
}
