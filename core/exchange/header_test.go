package exchange

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func show(h *Header) string {
	var all []string
	for i := range h.Len() {
		f := h.At(i)
		if f.ID != Identify(f.Name) {
			all = append(all, "wrong ID for")
		}
		all = append(all, string(f.Name)+": "+string(f.Value))
	}
	return strings.Join(all, ", ")
}

// fill makes a header of "name: value, …".
func fill(in string) *Header {
	h := &Header{}
	for line := range strings.SplitSeq(in, ", ") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			h.Add([]byte(name), []byte(value))
		}
	}
	return h
}

func TestHeaderChanges(t *testing.T) {
	f := func(in string, change func(*Header), want string) {
		t.Helper()
		h := fill(in)
		change(h)
		if got := show(h); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
	const four = "X-A: 1, Host: h, x-a: 2, X-B: 3"
	set := func(name, value string) func(*Header) { return func(h *Header) { h.Set(name, []byte(value)) } }
	del := func(name string) func(*Header) { return func(h *Header) { h.Del(name) } }
	// Set keeps the place and the case of the first, and deletes the others, whatever the case.
	f(four, set("x-A", "9"), "X-A: 9, Host: h, X-B: 3")
	f(four, set("x-b", "9"), "X-A: 1, Host: h, x-a: 2, X-B: 9")
	f(four, set("X-C", "9"), four+", X-C: 9")
	f("", set("X-C", ""), "X-C: ")
	f(four, func(h *Header) { h.SetID(Host, []byte("i")) }, "X-A: 1, Host: i, x-a: 2, X-B: 3")
	f("x: y", func(h *Header) { h.SetID(XForwardedFor, []byte("i")) }, "x: y, x-forwarded-for: i")
	// A value may be a view of the header itself.
	f(four, func(h *Header) {
		for range 100 {
			h.Set("x-b", h.Get("x-a"))
			h.Set("x-a", h.Get("x-b"))
		}
	}, "X-A: 1, Host: h, X-B: 1")
	f(four, del("x-A"), "Host: h, X-B: 3")
	f(four, del("HOST"), "X-A: 1, x-a: 2, X-B: 3")
	f(four, del("x-"), four)
	f(four, del(""), four)
	f(four, func(h *Header) { h.DelID(Host) }, "X-A: 1, x-a: 2, X-B: 3")
	f(four, func(h *Header) { h.DelID(Cookie) }, four)
	f(four, func(h *Header) { h.DelFunc(func(f *Field) bool { return f.Value[0] < '3' }) }, "Host: h, X-B: 3")
	f(four, func(h *Header) { h.Truncate(1) }, "X-A: 1")
	f(four, func(h *Header) { h.Append([]byte("COOKIE"), []byte("c"), Cookie) }, four+", COOKIE: c")
	// Nothing added can make another field.
	f("", func(h *Header) { h.Add([]byte("A"), []byte("b\r\nC: d\x00\x7f\te")) }, "A: b  C: d  \te")
	f("", func(h *Header) { h.AddString("A", []byte("0123456789\r\nabcdef")) }, "A: 0123456789  abcdef")
	f("a: b", set("A", "c\nd"), "a: c d")
	for _, name := range []string{"", "a b", "a:", "a\r\nb", "a\x00", "\xe4", "(a)"} {
		f("", func(h *Header) { h.Add([]byte(name), nil); h.AddString(name, nil); h.Set(name, nil) }, "")
	}
}

func TestHeaderLookups(t *testing.T) {
	h := fill("X-A: 1, HOST: h, x-a: 2, Set-COOKIE: 3, set-cookie: 4")
	f := func(got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	f(string(h.Get("x-a")), "1")
	f(h.Get("x-b") == nil, true)
	f(string(h.GetID(Host)), "h")
	f(h.GetID(Cookie) == nil, true)
	f(h.CountID(SetCookie), 2)
	f(h.CountID(Cookie), 0)
	f(h.Index("x-a", 0), 0)
	f(h.Index("x-a", 1), 2)
	f(h.Index("x-a", 3), -1)
	f(h.Len(), 5)
	f(h.Bytes(), len("X-AHOSTx-aSet-COOKIEset-cookie")+5)
	f(string(h.KeepBoth("ab", []byte("cd"))), "abcd")
	kept := h.Keep([]byte("kept"))
	_ = append(kept, "over"...) // has no room that belongs to somebody else
	f(string(h.Keep([]byte("more"))), "more")
	f(string(kept), "kept")
}

func TestIdentify(t *testing.T) {
	for id, name := range names {
		for _, s := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:min(1, len(name))]) + name[min(1, len(name)):]} {
			if got := Identify([]byte(s)); got != ID(id) {
				t.Errorf("%q is %d, not %d", s, got, id)
			}
		}
		if name != "" {
			for _, s := range []string{name + "x", name[1:], strings.ReplaceAll(name, "-", "_") + "_"} {
				if got := Identify([]byte(s)); got != Other && names[got] != s {
					t.Errorf("%q is %d", s, got)
				}
			}
		}
	}
	if Identify([]byte("x_forwarded_for")) != Other || Identify([]byte(strings.Repeat("x", 99))) != Other {
		t.Error("what is no known name is Other")
	}
	hop := 0
	for id := range names {
		if ID(id).HopByHop() {
			hop++
		}
	}
	if hop != 10 || Host.HopByHop() || !TE.HopByHop() {
		t.Errorf("%d names are hop-by-hop", hop)
	}
}

// TestFold compares the comparisons with strings.ToLower over all pairs of bytes.
func TestFold(t *testing.T) {
	lower := func(c int) int {
		if c >= 'A' && c <= 'Z' {
			return c + 32
		}
		return c
	}
	for a := range 256 {
		for b := range 256 {
			x, y := []byte{'x', byte(a)}, string([]byte{'x', byte(b)})
			if got, want := foldBoth(x, y), lower(a) == lower(b); got != want {
				t.Fatalf("foldBoth of %#x and %#x: %v", a, b, got)
			}
			if b != lower(b) {
				continue
			}
			if got, want := EqualFold(x, y), lower(a) == b; got != want {
				t.Fatalf("EqualFold of %#x and %#x: %v", a, b, got)
			}
		}
	}
	if EqualFold([]byte("a"), "ab") || foldBoth([]byte("ab"), "a") {
		t.Error("lengths differ")
	}
}

func TestCleanValue(t *testing.T) {
	// Every byte at every place of values of every length up to three words.
	for n := range 25 {
		v := []byte(strings.Repeat("x", n))
		if !CleanValue(v) {
			t.Fatalf("%q", v)
		}
		for i := range v {
			for c := range 256 {
				v[i] = byte(c)
				if want := c == '\t' || c >= 0x20 && c != 0x7f; CleanValue(v) != want {
					t.Fatalf("%q: %v", v, !want)
				}
			}
			v[i] = 'x'
		}
	}
	// Random ones, mostly of the bytes at the borders.
	r := rand.New(rand.NewPCG(1, 2))
	const borders = "\x00\x08\t\n\x1f !~\x7e\x80\x9f\xff\x20\x21\x40\xa0"
	for range 20000 {
		v := make([]byte, r.IntN(40))
		want := true
		for i := range v {
			v[i] = borders[r.IntN(len(borders))]
			if r.IntN(3) > 0 {
				v[i] = byte(0x80 + r.IntN(0x80))
			}
			want = want && (v[i] == '\t' || v[i] >= 0x20 && v[i] != 0x7f)
		}
		if CleanValue(v) != want {
			t.Fatalf("%q: %v", v, !want)
		}
	}
}
