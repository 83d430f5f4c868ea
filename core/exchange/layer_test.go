package exchange

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirproxy/weir/core/coretest/alloc"
)

// layer is a filter's source: it gives what change makes of the bytes beneath, in pieces of up to n bytes, and keeps the last
// held bytes back until it knows that there are no more.
type layer struct {
	under  Body
	change func(dst, p []byte, end bool) []byte
	n      int
	held   int
	buf    []byte
	got    []byte // changed, and not given yet
	end    error
}

func (l *layer) Read(p []byte) (int, error) {
	for l.end == nil && len(l.got) <= l.held {
		q, err := l.under.Next(l.buf)
		l.end = err
		l.got = l.change(l.got, q, err == io.EOF)
	}
	most := len(l.got)
	if l.end == nil {
		most -= l.held
	}
	n := copy(p, l.got[:min(most, l.n)])
	if l.got = l.got[n:]; len(l.got) > 0 {
		return n, nil
	}
	return n, l.end
}

func (l *layer) Whole() bool { return l.end != nil || l.under.Whole() }

// changes are what layers do, each as a stream and as a whole.
var changes = []struct {
	stream func() func(dst, p []byte, end bool) []byte
	whole  func(b []byte) []byte
}{
	{ // nothing
		func() func(dst, p []byte, end bool) []byte {
			return func(dst, p []byte, _ bool) []byte { return append(dst, p...) }
		},
		bytes.Clone,
	},
	{ // other bytes
		func() func(dst, p []byte, end bool) []byte {
			return func(dst, p []byte, _ bool) []byte { return append(dst, bytes.ToUpper(p)...) }
		},
		bytes.ToUpper,
	},
	{ // more
		func() func(dst, p []byte, end bool) []byte {
			return func(dst, p []byte, _ bool) []byte {
				for _, c := range p {
					dst = append(dst, c, c)
				}
				return dst
			}
		},
		func(b []byte) (all []byte) {
			for _, c := range b {
				all = append(all, c, c)
			}
			return all
		},
	},
	{ // fewer
		func() func(dst, p []byte, end bool) []byte {
			n := 0
			return func(dst, p []byte, _ bool) []byte {
				for _, c := range p {
					if n++; n%3 != 0 {
						dst = append(dst, c)
					}
				}
				return dst
			}
		},
		func(b []byte) (all []byte) {
			for i, c := range b {
				if (i+1)%3 != 0 {
					all = append(all, c)
				}
			}
			return all
		},
	},
	{ // at the beginning and at the end
		func() func(dst, p []byte, end bool) []byte {
			begun := false
			return func(dst, p []byte, end bool) []byte {
				if !begun {
					begun = true
					dst = append(dst, '<')
				}
				if dst = append(dst, p...); end {
					dst = append(dst, '>')
				}
				return dst
			}
		},
		func(b []byte) []byte { return append(append([]byte{'<'}, b...), '>') },
	},
	{ // nothing but the count: all is held
		func() func(dst, p []byte, end bool) []byte {
			n := 0
			return func(dst, p []byte, end bool) []byte {
				if n += len(p); end {
					dst = append(dst, byte(n), byte(n>>8))
				}
				return dst
			}
		},
		func(b []byte) []byte { return []byte{byte(len(b)), byte(len(b) >> 8)} },
	},
}

// stack puts any layers on b, whose whole content is text, and gives what comes through them.
func stack(t *rapid.T, b *Body, text []byte) []byte {
	for range rapid.IntRange(1, 5).Draw(t, "layers") {
		c := rapid.SampledFrom(changes).Draw(t, "change")
		l := &layer{
			change: c.stream(), n: rapid.IntRange(1, 20).Draw(t, "pieces"), held: rapid.IntRange(0, 30).Draw(t, "held"),
			buf: make([]byte, rapid.IntRange(1, 20).Draw(t, "room")),
		}
		b.Through(&l.under, l, -1)
		text = c.whole(text)
	}
	return text
}

// some pulls all of b, and now and then pushes back what it has, or holds it first.
func some(t *rapid.T, b *Body) ([]byte, error) {
	var all []byte
	buf := make([]byte, rapid.IntRange(1, 16).Draw(t, "buffer"))
	for {
		if rapid.Bool().Draw(t, "look") {
			limit := rapid.IntRange(0, 40).Draw(t, "limit")
			p, whole, err := b.Buffer(limit, buf)
			if whole && err != nil || !whole && err == nil && len(p) <= limit {
				t.Fatalf("held %d of %d, whole %t: %v", len(p), limit, whole, err)
			}
		}
		p, err := b.Next(buf)
		if n := len(p); n > 0 && rapid.Bool().Draw(t, "push back") {
			b.Unread(p[n/2:])
			p = p[:n/2]
		}
		all = append(all, p...)
		if err != nil {
			return all, err
		}
	}
}

func wireOf(t *rapid.T) (*Body, []byte) {
	text := rapid.SliceOfN(rapid.ByteRange('a', 'z'), 1, 300).Draw(t, "text")
	return body(string(text), rapid.IntRange(1, 50).Draw(t, "wire")), text
}

// TestLayers: whatever filters stand one over the other, what is pulled is what they make of it together.
func TestLayers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, text := wireOf(t)
		below := make([]byte, 1000)
		b.Tap(below)
		want := stack(t, b, text)
		if !b.Layered() || b.Length != -1 || b.Empty() || b.Pulled() != 0 {
			t.Fatalf("%+v", b)
		}
		above := make([]byte, 1<<15)
		b.Tap(above)
		got, err := some(t, b)
		if !bytes.Equal(got, want) || err != io.EOF {
			t.Fatalf("%q %v, want %q", got, err, want)
		}
		if p, whole := b.Tapped(); !bytes.Equal(p, want) || !whole {
			t.Fatalf("the copy of what comes through is %q %t", p, whole)
		}
		if p, whole := b.wire().Tapped(); !bytes.Equal(p, text) || !whole {
			t.Fatalf("the copy of what came is %q %t", p, whole)
		}
		if b.Pulled() != int64(len(text)) || !b.Empty() || !b.Whole() {
			t.Fatalf("%d pulled of %d, empty %t, whole %t", b.Pulled(), len(text), b.Empty(), b.Whole())
		}
		b.Count(5)
		if b.Pulled() != int64(len(text))+5 {
			t.Fatal("what did not pass is not counted")
		}
	})
}

// TestLayersBound: the limit is the wire's, whenever it is set.
func TestLayersBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, text := wireOf(t)
		n := rapid.IntRange(1, 300).Draw(t, "bound")
		early := rapid.IntRange(0, 5).Draw(t, "pulled before")
		want := stack(t, b, text)
		var first []byte
		buf := make([]byte, 10)
		for range early {
			p, _ := b.Next(buf)
			first = append(first, p...)
		}
		before := b.Pulled()
		err := b.Bound(int64(n))
		if (err != nil) != (before > int64(n)) || err != nil && err != errTooLarge {
			t.Fatalf("%d pulled of at most %d: %v", before, n, err)
		}
		if err != nil {
			return
		}
		rest, err := some(t, b)
		got := append(first, rest...)
		if len(text) <= n {
			if err != io.EOF || !bytes.Equal(got, want) {
				t.Fatalf("%q %v", got, err)
			}
			return
		}
		if err != errTooLarge || b.Empty() {
			t.Fatalf("%v after %d of %d bytes", err, n, len(text))
		}
		if _, err := b.Next(buf); err != errTooLarge {
			t.Fatal("it stays so:", err)
		}
	})
	b := body("0123456789", 3)
	b.Length = 10
	if b.Bound(9) != errTooLarge || b.Bound(10) != nil || b.Bound(0) != nil || b.Limit != 0 {
		t.Error("what the message says of its length")
	}
}

// TestLayersReplaced: what stands in for the rest of a body is not made anything of, and what comes from beneath is not pulled.
func TestLayersReplaced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, text := wireOf(t)
		stack(t, b, text)
		for range rapid.IntRange(0, 3).Draw(t, "pulled before") {
			_, _ = b.Next(make([]byte, 5))
		}
		before := b.Pulled()
		fails := errors.New("failed")
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			b.Replace([]byte("instead"))
			if got, err := some(t, b); string(got) != "instead" || err != io.EOF || b.Length != 7 {
				t.Fatalf("%q %v", got, err)
			}
		case 1:
			b.Replace(nil)
			if !b.Empty() || !b.Whole() || b.Length != 0 {
				t.Fatal("there is nothing")
			}
		case 2:
			b.Fail(fails)
			if got, err := some(t, b); len(got) > 0 || err != fails || b.Empty() || !b.Whole() {
				t.Fatalf("%q %v", got, err)
			}
		}
		if b.Pulled() != before || !b.Layered() {
			t.Fatalf("%d pulled, %d before", b.Pulled(), before)
		}
		b.reset()
		if b.Layered() || !b.Empty() || b.Pulled() != 0 {
			t.Fatal("not as new")
		}
	})
}

// TestThrough: what had been pushed back, and how the body had ended, goes under the layer.
func TestThrough(t *testing.T) {
	upper := func() *layer { return &layer{change: changes[1].stream(), n: 100, buf: make([]byte, 4)} }
	b := body("hello, world", 5)
	p, _ := b.Next(make([]byte, 5))
	b.Unread(p)
	l := upper()
	b.Through(&l.under, l, 12)
	if b.Length != 12 || b.Empty() || b.Whole() {
		t.Errorf("%+v", b)
	}
	if got, err := pull(b); got != "HELLO, WORLD" || err != io.EOF || b.Read != 12 || b.Pulled() != 12 {
		t.Errorf("%q %v", got, err)
	}

	b, l = &Body{}, upper()
	gone := errors.New("gone")
	b.Init(12, &source{text: "hello", n: 9, end: gone})
	b.Through(&l.under, l, -1)
	for range 2 {
		if _, err := pull(b); err != gone {
			t.Error(err)
		}
	}

	// No body, as Init has it: the layer is not asked.
	b, l = body("hello", 5), upper()
	b.Through(&l.under, l, 0)
	if got, err := pull(b); got != "" || err != io.EOF || !b.Empty() || b.Pulled() != 0 {
		t.Errorf("%q %v", got, err)
	}

	// A layer may make a body where there was none.
	b, l = &Body{}, &layer{change: changes[4].stream(), n: 1, buf: make([]byte, 4)}
	b.Init(0, nil)
	b.Through(&l.under, l, -1)
	if b.Empty() {
		t.Error("nobody knows that yet")
	}
	if got, err := pull(b); got != "<>" || err != io.EOF {
		t.Errorf("%q %v", got, err)
	}
}

// endless gives the same bytes for ever.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	if e.n--; e.n < 0 {
		return 0, io.EOF
	}
	return copy(p, "hello, world"), nil
}

func (*endless) Whole() bool { return true }

// TestLayersAllocateNothing, and bodies without any do not either.
func TestLayersAllocateNothing(t *testing.T) {
	buf := make([]byte, 32)
	for layers := range 4 {
		var b Body
		all := make([]struct {
			layer
			room [256]byte
		}, layers)
		same := changes[0].stream()
		wire := &endless{}
		alloc.Floor(t, func() {
			wire.n = 10
			b.Init(-1, wire)
			for i := range all {
				l := &all[i]
				l.layer = layer{under: l.under, change: same, n: 32, buf: l.room[:32], got: l.room[32:32:256]}
				b.Through(&l.under, l, -1)
			}
			for {
				if _, err := b.Next(buf); err != nil {
					break
				}
			}
			if b.Pulled() != 120 {
				t.Fatal(b.Pulled())
			}
			b.reset()
		})
	}
}
