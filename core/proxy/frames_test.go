package proxy

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// frame makes one WebSocket frame.
func frame(first byte, masked bool, n int) []byte {
	b := []byte{first}
	bit := byte(0)
	if masked {
		bit = 0x80
	}
	switch {
	case n < 126:
		b = append(b, bit|byte(n))
	case n < 1<<16:
		b = append(b, bit|126, byte(n>>8), byte(n))
	default:
		b = append(b, bit|127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	if masked {
		b = append(b, 1, 2, 3, 4)
	}
	return append(b, bytes.Repeat([]byte{0x88}, n)...) // as many bytes that look like a close frame
}

func TestFrames(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, masked := range []bool{false, true} {
		var all []byte
		borders := map[int]bool{0: true}
		for _, n := range []int{0, 1, 125, 126, 127, 1000, 65535, 65536, 70000, 0, 5} {
			all = append(all, frame(0x82, masked, n)...)
			borders[len(all)] = true
		}
		for round := range 200 {
			var f frames
			at := 0
			for at < len(all) {
				most := 1 + r.IntN([]int{3, 200, 80000}[round%3])
				p := all[at:min(at+most, len(all))]
				if round%2 == 0 {
					n := f.toBorder(p)
					if f.border() != borders[at+n] || n < len(p) && !f.border() {
						t.Fatalf("masked %t: after %d bytes: border %t", masked, at+n, f.border())
					}
					at += n
					continue
				}
				f.skip(p)
				at += len(p)
				if f.border() != borders[at] {
					t.Fatalf("masked %t: after %d bytes: border %t", masked, at, f.border())
				}
			}
			if f.closed {
				t.Fatal("a payload was taken for a close frame")
			}
			f.skip(frame(0x88, masked, 2))
			if !f.closed || !f.border() {
				t.Fatal("the close frame was not seen")
			}
		}
	}
	// A length that no frame can have: from there on nothing is known.
	var f frames
	f.skip([]byte{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 1, 0x88, 0})
	if f.border() || f.closed {
		t.Error("border in what is no WebSocket")
	}
}
