package exchange

import (
	"bytes"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirproxy/weir/core/coretest/alloc"
)

// TestNotes compares with a map, whatever is set.
func TestNotes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var n Notes
		want := map[string]string{}
		for range rapid.IntRange(0, 20).Draw(t, "sets") {
			name := rapid.StringN(0, 3, 3).Draw(t, "name")
			value := rapid.StringN(0, 8, 8).Draw(t, "value")
			if !n.Set([]byte(name), []byte(value)) {
				t.Fatal("no room")
			}
			want[name] = value
		}
		for name, v := range want {
			if got, ok := n.Get([]byte(name)); !ok || string(got) != v || cap(got) != len(got) {
				t.Fatalf("%q: %q %t, want %q", name, got, ok, v)
			}
		}
		if _, ok := n.Get([]byte("none of them")); ok {
			t.Fatal("what nobody has set")
		}
		n.reset()
		for name := range want {
			if _, ok := n.Get([]byte(name)); ok {
				t.Fatal("kept over reset")
			}
		}
	})
}

func TestNotesHaveNoRoom(t *testing.T) {
	var n Notes
	name, big := []byte("name"), bytes.Repeat([]byte("v"), maxNotes)
	if n.Set(name, big) {
		t.Error("too large")
	}
	if _, ok := n.Get(name); ok {
		t.Error("kept nevertheless")
	}
	if !n.Set(name, big[:maxNotes-4]) || n.Set(nil, []byte("x")) || !n.Set(nil, nil) {
		t.Error("exactly as much as fits")
	}
	if v, ok := n.Get(name); !ok || len(v) != maxNotes-4 {
		t.Error(len(v), ok)
	}
	n.reset()
	if cap(n.bytes) > 8<<10 {
		t.Error("a large room is kept")
	}
	alloc.Floor(t, func() {
		n.Set(name, big[:10])
		n.Set(big[:3], big[:100])
		if v, ok := n.Get(name); !ok || len(v) != 10 {
			t.Fatal(v, ok)
		}
		n.reset()
	})
}

// TestNotesConcurrently: who reads sees whole values, also while others are set.
func TestNotesConcurrently(t *testing.T) {
	var n Notes
	var all sync.WaitGroup
	for who := range 4 {
		all.Go(func() {
			name := []byte{'a' + byte(who)}
			for i := range 500 {
				value := bytes.Repeat([]byte{byte(i)}, 8)
				if !n.Set(name, value) {
					t.Error("no room")
				}
				if v, ok := n.Get(name); !ok || !bytes.Equal(v, value) {
					t.Errorf("%q %v, want %q", v, ok, value)
				}
				if v, ok := n.Get([]byte{'a' + byte(i)%4}); ok && (len(v) != 8 || v[0] != v[7]) {
					t.Errorf("a mixture: %q", v)
				}
			}
		})
	}
	all.Wait()
}
