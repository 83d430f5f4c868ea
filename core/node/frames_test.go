package node_test

import (
	"bytes"
	"encoding/binary"
	"hash"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/weirproxy/weir/core/coretest"
)

// frameStream makes WebSocket frames up, the same for a seed: of every kind and flag, fragmented, masked and not, of no byte up to a
// MiB.
type frameStream struct {
	r    *rand.Rand
	cut  *rand.Rand // where they are cut when they are written
	mask bool
	buf  []byte
	sum  hash.Hash64
	n    int64
}

func newFrames(seed uint64, mask bool) *frameStream {
	return &frameStream{r: rand.New(rand.NewPCG(seed, 3)), cut: rand.New(rand.NewPCG(seed, 4)), mask: mask, sum: fnv.New64a()}
}

// next gives the frame after, valid until the next call. It is no close frame: that would be the end.
func (f *frameStream) next() []byte {
	n := f.r.IntN(126)
	switch k := f.r.IntN(1000); {
	case k < 2:
		n = 1 << 20
	case k < 20:
		n = f.r.IntN(200_000)
	case k < 200:
		n = f.r.IntN(4000)
	}
	op := [...]byte{0, 1, 2, 9, 10}[f.r.IntN(5)]
	if op >= 9 {
		n = min(n, 125)
	}
	first := op
	if op >= 9 || f.r.IntN(3) > 0 {
		first |= 0x80 // else it goes on in the next
	}
	if op < 9 && f.r.IntN(10) == 0 {
		first |= 0x40 // compressed, says an extension
	}
	b := append(f.buf[:0], first)
	var bit byte
	if f.mask {
		bit = 0x80
	}
	switch {
	case n < 126:
		b = append(b, bit|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, bit|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, bit|127), uint64(n))
	}
	if f.mask {
		b = binary.BigEndian.AppendUint32(b, f.r.Uint32())
	}
	for fill := f.r.Uint64(); n > 0; n -= min(n, 8) {
		b = binary.LittleEndian.AppendUint64(b, fill)[:len(b)+min(n, 8)]
		fill = fill*6364136223846793005 + 1
	}
	f.buf = b
	_, _ = f.sum.Write(b)
	f.n += int64(len(b))
	return b
}

// write sends n frames in pieces of any size, and ends its side.
func (f *frameStream) write(c net.Conn, n int) error {
	defer func() { _ = c.(*net.TCPConn).CloseWrite() }()
	for range n {
		for b := f.next(); len(b) > 0; {
			m := len(b)
			if f.cut.IntN(4) == 0 {
				m = 1 + f.cut.IntN(len(b))
			}
			if _, err := c.Write(b[:m]); err != nil {
				return err
			}
			b = b[m:]
		}
	}
	return nil
}

// TestWebSocketTransparency sends frames of every shape both ways at once: they arrive byte by byte as they were, and when one
// side ends the other may go on. WEIR_FRAMES sets how many.
func TestWebSocketTransparency(t *testing.T) {
	n := coretest.Times(t, "WEIR_FRAMES", 2000)
	type result struct {
		sum uint64
		n   int64
		err error
	}
	read := func(c *coretest.Client) (r result) {
		sum := fnv.New64a()
		r.n, r.err = io.Copy(sum, c.In)
		r.sum = sum.Sum64()
		return r
	}
	down := newFrames(2, false)
	arrived := make(chan result, 1)
	downErr := make(chan error, 1)
	r := through(t, plain, func(u *coretest.Client) {
		u.Head()
		u.Send(switching)
		_ = u.SetDeadline(time.Now().Add(10 * time.Minute))
		got := make(chan result)
		go func() { got <- read(u) }()
		err := down.write(u.Conn, n/2)
		a := <-got // the client has ended its side, the upstream goes on
		arrived <- a
		downErr <- err
	})
	up := newFrames(1, true)
	c := r.Client()
	c.Send(handshake)
	if head := c.Head(); !bytes.Contains([]byte(head), []byte(" 101 ")) {
		t.Fatalf("%q", head)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Minute))
	var both sync.WaitGroup
	both.Go(func() {
		if err := up.write(c.Conn, n/2); err != nil {
			t.Error(err)
		}
	})
	got := read(c)
	both.Wait()
	a := <-arrived
	if err := <-downErr; err != nil {
		t.Error(err)
	}
	differ := 0
	if got.sum != down.sum.Sum64() || got.n != down.n || got.err != nil {
		differ++
		t.Errorf("the client got %d bytes of %d: %v", got.n, down.n, got.err)
	}
	if a.sum != up.sum.Sum64() || a.n != up.n || a.err != nil {
		differ++
		t.Errorf("the upstream got %d bytes of %d: %v", a.n, up.n, a.err)
	}
	t.Logf("%d frames, %d bytes up, %d down", n, a.n, got.n)
	coretest.Score(t, "A16", "frames", float64(n))
	coretest.Score(t, "A16", "differ", float64(differ))
}

// TestHalfClosedTunnel: when the client has said its last word the upstream has time for a long answer.
func TestHalfClosedTunnel(t *testing.T) {
	const frames = 500
	r := through(t, plain, func(u *coretest.Client) {
		u.Head()
		u.Send(switching)
		if _, err := u.Rest(); err == nil {
			_ = newFrames(5, false).write(u.Conn, frames)
		}
	})
	c := r.Client()
	c.Send(handshake)
	c.Head()
	c.Send("\x81\x80abcd")
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	want := newFrames(5, false)
	var all []byte
	for range frames {
		all = append(all, want.next()...)
	}
	if got, err := c.Rest(); err != nil || got != string(all) {
		t.Errorf("%d bytes of %d, %v", len(got), len(all), err)
	}
}
