package exchange

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/weirproxy/weir/core/fault"
)

// source gives text in pieces of up to n bytes; its last piece comes with end if together is set.
type source struct {
	text     string
	n        int
	end      error
	together bool
}

func (s *source) Read(p []byte) (int, error) {
	n := copy(p, s.text[:min(s.n, len(s.text))])
	s.text = s.text[n:]
	if s.text == "" && (s.together || n == 0) {
		return n, s.end
	}
	return n, nil
}

func (s *source) Whole() bool { return s.text == "" }

func body(text string, n int) *Body {
	b := &Body{}
	b.Init(-1, &source{text: text, n: n, end: io.EOF, together: n%2 == 0})
	return b
}

func pull(b *Body) (string, error) {
	var all []byte
	buf := make([]byte, 7)
	for {
		p, err := b.Next(buf)
		all = append(all, p...)
		if err != nil {
			return string(all), err
		}
	}
}

func TestBodyNext(t *testing.T) {
	for n := 1; n < 10; n++ {
		b := body("hello, world", n)
		if b.Empty() || b.Length != -1 {
			t.Errorf("before: %+v", b)
		}
		if got, err := pull(b); got != "hello, world" || err != io.EOF || b.Read != 12 || !b.Empty() || !b.Whole() {
			t.Errorf("in pieces of %d: %q %v, %d read", n, got, err, b.Read)
		}
		if got, err := pull(b); got != "" || err != io.EOF {
			t.Errorf("the end is the end: %q %v", got, err)
		}
	}
	// No body, in three forms.
	var zero, none, reset Body
	none.Init(0, nil)
	reset.reset()
	for _, b := range []*Body{&zero, &none, &reset} {
		if got, err := pull(b); got != "" || err != io.EOF || !b.Empty() || !b.Whole() {
			t.Errorf("%q %v", got, err)
		}
	}
	// An error comes after the bytes, and stays.
	gone := errors.New("gone")
	b := &Body{}
	b.Init(12, &source{text: "hello", n: 9, end: gone, together: true})
	for range 2 {
		got, err := pull(b)
		if err != gone || b.Empty() {
			t.Errorf("%q %v", got, err)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	f := func(limit int64, want error) {
		t.Helper()
		b := body("0123456789", 4)
		b.Limit = limit
		got, err := pull(b)
		if err != want || int64(len(got)) > limit && limit > 0 {
			t.Errorf("limit %d: %q %v", limit, got, err)
		}
		if _, err := b.Next(nil); err != want {
			t.Errorf("limit %d, again: %v", limit, err)
		}
	}
	f(0, io.EOF)
	f(11, io.EOF)
	f(10, io.EOF)
	f(9, errTooLarge)
	f(1, errTooLarge)
	if fault.KindOf(errTooLarge) != fault.BodyTooLarge {
		t.Error("413")
	}
}

func TestBodyBuffer(t *testing.T) {
	f := func(limit int, want string, whole bool) {
		t.Helper()
		b := body("hello, world", 4)
		p, ok, err := b.Buffer(limit, make([]byte, 4))
		if string(p) != want || ok != whole || err != nil {
			t.Errorf("limit %d: %q %v %v", limit, p, ok, err)
		}
		// Again: what is held is held, and nothing is lost.
		if p, ok, _ = b.Buffer(limit, make([]byte, 4)); string(p) != want || ok != whole {
			t.Errorf("limit %d, again: %q %v", limit, p, ok)
		}
		if got, err := pull(b); got != "hello, world" || err != io.EOF {
			t.Errorf("limit %d: pulled %q %v", limit, got, err)
		}
	}
	f(0, "hell", false)
	f(4, "hello, w", false)
	f(11, "hello, world", false)
	f(12, "hello, world", true)
	f(100, "hello, world", true)
	b := body("0123456789", 4)
	b.Limit = 5
	if p, whole, err := b.Buffer(100, make([]byte, 4)); string(p) != "0123" || whole || err != errTooLarge {
		t.Errorf("%q %v %v", p, whole, err)
	}
	var none Body
	if p, whole, err := none.Buffer(0, nil); len(p) != 0 || !whole || err != nil {
		t.Errorf("%q %v %v", p, whole, err)
	}
}

func TestBodyUnread(t *testing.T) {
	b := body("hello, world", 5)
	buf := make([]byte, 16)
	p, _ := b.Next(buf)
	b.Unread(nil)
	b.Unread(p[3:])
	b.Unread(p[:3])
	clear(buf)
	if got, err := pull(b); got != "hello, world" || err != io.EOF || b.Read != 12 {
		t.Errorf("%q %v", got, err)
	}
	// After the end, too.
	b.Unread([]byte("again"))
	if b.Empty() || !b.Whole() {
		t.Error("there is something again")
	}
	if got, err := pull(b); got != "again" || err != io.EOF {
		t.Errorf("%q %v", got, err)
	}
}

func TestBodyReplace(t *testing.T) {
	b := body("hello, world", 5)
	p, _, _ := b.Buffer(100, make([]byte, 5))
	b.Replace(p[7:]) // a view of itself
	if b.Length != 5 || b.Empty() || !b.Whole() {
		t.Errorf("%+v", b)
	}
	if got, err := pull(b); got != "world" || err != io.EOF {
		t.Errorf("%q %v", got, err)
	}
	b.Replace(nil)
	if got, err := pull(b); got != "" || err != io.EOF || b.Length != 0 || !b.Empty() {
		t.Errorf("%q %v", got, err)
	}
	// What the wire still had is not read.
	b = body("hello, world", 5)
	b.Replace([]byte("x"))
	if got, err := pull(b); got != "x" || err != io.EOF || b.Read != 0 {
		t.Errorf("%q %v", got, err)
	}
	if n := testing.AllocsPerRun(100, func() { b.Replace(replacement) }); n != 0 {
		t.Errorf("%v allocations to replace", n)
	}
}

var replacement = []byte(strings.Repeat("r", 100))

func TestBodyFail(t *testing.T) {
	b := body("hello, world", 5)
	_, _, _ = b.Buffer(3, make([]byte, 5))
	b.Fail(errTooLarge)
	if got, err := pull(b); got != "" || err != errTooLarge || b.Empty() || !b.Whole() {
		t.Errorf("%q %v", got, err)
	}
}

// TestBodyReset keeps a buffer of a usual size and drops a large one.
func TestBodyReset(t *testing.T) {
	f := func(size int, kept bool) {
		t.Helper()
		var b Body
		b.Replace(bytes.Repeat([]byte("x"), size))
		b.reset()
		if cap(b.own) > 0 != kept || len(b.own) != 0 || !b.Empty() {
			t.Errorf("%d: %d kept", size, cap(b.own))
		}
	}
	f(100, true)
	f(65<<10, false)
}

// TestTap: a copy has every byte of the wire once, whoever pulls, pushes back or replaces.
func TestTap(t *testing.T) {
	f := func(what string, room int, want string, whole, over bool, use func(b *Body)) {
		t.Helper()
		var b Body
		b.Init(-1, &pieces{"abc", "", "def"})
		b.Tap(make([]byte, room))
		use(&b)
		if p, ok := b.Tapped(); string(p) != want || ok != whole || b.Overflown() != over {
			t.Errorf("%s: %q %v %v", what, p, ok, b.Overflown())
		}
	}
	all := func(b *Body) {
		buf := make([]byte, 10)
		for {
			if _, err := b.Next(buf); err != nil {
				return
			}
		}
	}
	f("pulled", 6, "abcdef", true, false, all)
	f("not to the end", 6, "", false, false, func(b *Body) { _, _ = b.Next(make([]byte, 10)) })
	f("too large", 5, "", false, true, all)
	f("buffered, then pulled", 6, "abcdef", true, false, func(b *Body) {
		_, _, _ = b.Buffer(100, make([]byte, 10))
		all(b)
	})
	f("pushed back", 10, "abcdef", true, false, func(b *Body) {
		p, _ := b.Next(make([]byte, 10))
		b.Unread(p)
		all(b)
	})
	f("replaced", 6, "", false, false, func(b *Body) {
		b.Replace([]byte("x"))
		all(b)
	})
	f("what lay in memory", 9, "xyzabcdef", true, false, func(b *Body) {
		b.Unread([]byte("xyz"))
		b.Tap(make([]byte, 9))
		all(b)
	})
	f("a body in memory", 3, "xyz", true, false, func(b *Body) {
		b.Replace([]byte("xyz"))
		b.Tap(make([]byte, 3))
	})
	f("taken off", 6, "", false, false, func(b *Body) {
		_, _ = b.Next(make([]byte, 10))
		b.Tap(nil)
		all(b)
	})
}

// pieces is a source that gives one of its texts at a time.
type pieces []string

func (p *pieces) Whole() bool { return false }

func (p *pieces) Read(b []byte) (int, error) {
	if len(*p) == 0 {
		return 0, io.EOF
	}
	n := copy(b, (*p)[0])
	*p = (*p)[1:]
	return n, nil
}
